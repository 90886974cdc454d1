-- Tells whether maintenance is on. KEYS: switch.
local record = redis.call('HMGET', KEYS[1], 'a', 'e')
return record[1] and describe(record[1], record[2]) or 'off'
