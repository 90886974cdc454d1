-- Frees the objects that this token has. KEYS: holds, objects. ARGV: token, keep, how many holds are remembered.
local token, keep, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local mine, since, operation = 0, nil, nil
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 't', 'a', 'o', 'r')
  if record[1] == token then
    mine, since, operation = mine + 1, record[2], record[3]
    free(KEYS[i], keep)
  elseif record[4] == token then
    mine = mine + 1
  end
  -- Also if it had nothing: the acquire of whoever gave up may still be on its way.
  redis.call('HSET', KEYS[i], 'r', token)
  if not record[1] then
    redis.call('PEXPIRE', KEYS[i], keep)
  end
end
if operation then
  -- Last, because a server without memory refuses this, but not to free something.
  local known = redis.call('HGET', KEYS[1], operation)
  local lasted = number(math.max(0, now - since))
  if known then
    local _, commas = known:gsub(',', '')
    if commas + 1 >= most then
      known = known:match(',(.*)')
    end
    redis.call('HSET', KEYS[1], operation, known .. ',' .. lasted)
  elseif redis.call('HLEN', KEYS[1]) < 1000 then
    redis.call('HSET', KEYS[1], operation, lasted)
    redis.call('PEXPIRE', KEYS[1], 86400000)
  end
end
return mine == #KEYS - 1 and '1' or '0'
