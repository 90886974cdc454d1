-- A log for each quota: a sorted set of "number cost" by time. The subject's hash holds "total number" for each,
-- and so knows which logs there are.

local function log_of(key, quota)
  return key .. ':' .. quota.field
end

local function cost_of(entry)
  return tonumber(string.match(entry, ' (%d+)$'))
end

local function sum(entries)
  local total = 0
  for _, entry in ipairs(entries) do
    total = total + cost_of(entry)
  end
  return total
end

local function load(key, quotas)
  for _, quota in ipairs(quotas) do
    quota.log = log_of(key, quota)
    local total, number = string.match(redis.call('HGET', key, quota.field) or '', '^(%d+) (%d+)$')
    if total then
      quota.total, quota.number = tonumber(total), tonumber(number)
    else -- new, or the server has thrown the hash away
      redis.call('DEL', quota.log)
      quota.total, quota.number = 0, 0
    end
    -- What was taken a whole window ago, to the millisecond, still counts (limits' own rule).
    local before = '(' .. string.format('%d', now - quota.window)
    local over = redis.call('ZRANGEBYSCORE', quota.log, '-inf', before)
    if #over > 0 then
      quota.total = math.max(0, quota.total - sum(over))
      quota.is_changed = true
      redis.call('ZREMRANGEBYSCORE', quota.log, '-inf', before)
    end
    -- The log is gone when all of it is over; the hash lives as long as the longest window.
    if quota.total > 0 and redis.call('EXISTS', quota.log) == 0 then
      quota.total, quota.is_changed = 0, true
    end
  end
end

local function used(quota)
  return quota.total
end

local function reset(quota)
  local oldest = redis.call('ZRANGE', quota.log, 0, 0, 'WITHSCORES')
  return oldest[2] and tonumber(oldest[2]) + quota.window + 1 - now or 0
end

local function wait(quota, fitting)
  local over, first = quota.total - fitting, 0
  while true do
    local entries = redis.call('ZRANGE', quota.log, first, first + 99, 'WITHSCORES')
    for i = 1, #entries, 2 do
      over = over - cost_of(entries[i])
      if over <= 0 or (#entries < 200 and i + 1 == #entries) then
        return tonumber(entries[i + 1]) + quota.window + 1 - now
      end
    end
    if #entries == 0 then
      return quota.window
    end
    first = first + 100
  end
end

local function add(quota, cost, at)
  quota.number = quota.number + 1
  quota.total = math.min(quota.total + cost, LARGEST)
  quota.is_changed = true
  -- Of the same length, so that entries of one millisecond stay in order.
  redis.call('ZADD', quota.log, at or now, string.format('%016d %d', quota.number, cost))
  redis.call('PEXPIRE', quota.log, quota.window + 1)
end

local function change(quota, difference, taken_at)
  if difference > 0 then
    -- Where it was taken, so that it leaves, and can be given back, with what it belongs to.
    return add(quota, difference, taken_at >= now - quota.window and taken_at or now)
  end
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', quota.log, taken_at, taken_at)) do
    local cost = cost_of(entry)
    local back = math.min(cost, -difference)
    if back > 0 then
      -- What is left first: a log without entries is gone, and the next one would have no end.
      if cost > back then
        redis.call('ZADD', quota.log, taken_at, string.format('%s %d', string.match(entry, '^%d+'), cost - back))
      end
      redis.call('ZREM', quota.log, entry)
      difference = difference + back
      quota.total = math.max(0, quota.total - back)
      quota.is_changed = true
    end
  end
end

local function save(key, quotas)
  local longest = 0
  for _, quota in ipairs(quotas) do
    if quota.is_changed then
      redis.call('HSET', key, quota.field, string.format('%d %d', quota.total, quota.number))
      longest = math.max(longest, quota.window + 1)
    end
  end
  if longest > 0 and redis.call('PTTL', key) < longest then
    redis.call('PEXPIRE', key, longest)
  end
end
