-- Switches maintenance on, or announces another end. KEYS: switch. ARGV: milliseconds until the end, or nothing.
local since = redis.call('HMGET', KEYS[1], 'a')[1] or number(now)
local ends = ARGV[1] == '' and '' or number(now + ARGV[1])
redis.call('HSET', KEYS[1], 'a', since, 'e', ends)
return describe(since, ends)
