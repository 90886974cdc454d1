-- Prolongs a lease that has not ended, and creates none. KEYS: holds, objects. ARGV: token, ttl, keep.
local ttl = tonumber(ARGV[2])
local is_whole = true
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 't', 'e', 'l')
  if record[1] == ARGV[1] and rest(KEYS[i], record[2], record[3]) > 0 then
    -- First, because a server without memory refuses only a script that has changed nothing yet.
    redis.call('PEXPIRE', KEYS[i], ttl)
    grant(KEYS[i], ARGV[1], 0, ttl, tonumber(ARGV[3]))
  else
    is_whole = false
  end
end
return is_whole and '1' or '0'
