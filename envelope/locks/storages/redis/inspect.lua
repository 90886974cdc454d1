-- Tells who has an object. KEYS: holds, object.
local record = redis.call('HMGET', KEYS[2], 't', 'e', 'l')
if record[1] and rest(KEYS[2], record[2], record[3]) > 0 then
  return describe(KEYS[1], KEYS[2], 0)
end
return ''
