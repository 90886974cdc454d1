-- Counted windows: one hash for each subject, a field for each quota: "start current previous".
-- Wants roll(quota, start, current, previous) and LIFETIME, in windows, from the strategy.

local function load(key, quotas)
  local fields = {}
  for i, quota in ipairs(quotas) do
    fields[i] = quota.field
  end
  for i, text in ipairs(redis.call('HMGET', key, unpack(fields))) do
    local start, current, previous
    if text then
      start, current, previous = string.match(text, '^(%d+) (%d+) (%d+)$')
    end
    roll(quotas[i], tonumber(start), tonumber(current) or 0, tonumber(previous) or 0)
  end
end

local function add(quota, cost)
  quota.current = math.min(quota.current + cost, LARGEST)
  quota.is_changed = true
end

local function save(key, quotas)
  local values, expires_at = {}, 0
  for _, quota in ipairs(quotas) do
    if quota.is_changed then
      values[#values + 1] = quota.field
      values[#values + 1] = string.format('%d %d %d', quota.start, quota.current, quota.previous)
      if quota.is_new then
        expires_at = math.max(expires_at, quota.start + LIFETIME * quota.window)
      end
    end
  end
  if #values == 0 then
    return
  end
  redis.call('HSET', key, unpack(values))
  -- Only a new window can need the hash for longer than it lives already.
  if expires_at > 0 and redis.call('PTTL', key) < expires_at - now then
    redis.call('PEXPIRE', key, expires_at - now)
  end
end
