-- What lies under the key of an object, a hash; all times are milliseconds of this server's clock:
--   t  token of whoever has the object; absent when nobody has it
--   f  fence of the last lease: stays while the key lives, so that the next one is greater
--   e  when the lease ends        l  how long it was given for      s  1 while it waits to be claimed, else 0
--   a  when it became busy        h  when the holder was last heard of
--   o  operation                  w  host and process id            n  name of the object
--   r  the last token that was released: another release of it is no error, a late acquire with it no lease
-- and under the first key of each script, by operation, how long its last holds lasted.
local clock = redis.call('TIME')
local micros = clock[1] * 1000000 + clock[2]
local now = math.floor(micros / 1000)

local function number(value)
  return string.format('%.0f', value)
end

-- How long the lease still lasts. If this clock was set back, not longer than it was given for.
local function rest(key, ends, given)
  local left = tonumber(ends) - now
  if left > tonumber(given) then
    left = tonumber(given)
    redis.call('HSET', key, 'e', number(now + left))
  end
  return left
end

-- What holds the object under a key, as ten words; the first one is what the asker calls it.
local function describe(holds, key, called)
  local record = redis.call('HMGET', key, 'f', 'e', 'l', 'a', 'h', 's', 'o', 'w')
  local left = rest(key, record[2], record[3])
  return table.concat({
    called, record[1], math.max(0, now - record[4]), math.max(0, now - record[5]), left, record[3],
    record[6], record[7], record[8], redis.call('HGET', holds, record[7]) or '-',
  }, ' ')
end

local function free(key, keep)
  redis.call('HDEL', key, 't', 'e', 'l', 'a', 'h', 's', 'o', 'w', 'n')
  redis.call('PEXPIRE', key, keep)
end

local function grant(key, token, state, ttl, keep, ...)
  redis.call('HSET', key, 't', token, 's', state, 'e', number(now + ttl), 'l', ttl, 'h', number(now), ...)
  redis.call('PEXPIRE', key, ttl + keep)
end
