-- Frees an object whose lease has this fence. KEYS: holds, object. ARGV: fence, keep.
local record = redis.call('HMGET', KEYS[2], 't', 'f', 'e', 'l')
if record[1] and record[2] == ARGV[1] and rest(KEYS[2], record[3], record[4]) > 0 then
  free(KEYS[2], ARGV[2])
  return '1'
end
return '0'
