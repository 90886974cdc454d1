-- Frees the objects that this token has. KEYS: holds, objects. ARGV: token, keep, how many holds are remembered.
local token, keep, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local mine = 0
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 't', 'a', 'o', 'r')
  if record[1] == token then
    if mine == 0 then
      local known = redis.call('HGET', KEYS[1], record[3])
      local lasted = number(math.max(0, now - record[2]))
      if known then
        local _, commas = known:gsub(',', '')
        if commas + 1 >= most then
          known = known:match(',(.*)')
        end
        redis.call('HSET', KEYS[1], record[3], known .. ',' .. lasted)
      elseif redis.call('HLEN', KEYS[1]) < 1000 then
        redis.call('HSET', KEYS[1], record[3], lasted)
        redis.call('PEXPIRE', KEYS[1], 86400000)
      end
    end
    mine = mine + 1
    free(KEYS[i], keep)
    redis.call('HSET', KEYS[i], 'r', token)
  elseif record[4] == token then
    mine = mine + 1
  else
    -- Whoever asked for it gave up; the acquire may still be on its way.
    redis.call('HSET', KEYS[i], 'r', token)
    if not record[1] then
      redis.call('PEXPIRE', KEYS[i], keep)
    end
  end
end
return mine == #KEYS - 1 and '1' or '0'
