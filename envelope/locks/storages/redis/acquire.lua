-- Takes all the objects or none. KEYS: holds, objects. ARGV: token, ttl, keep, operation, process, names.
local token, ttl, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local fence, had, mine, busy = micros, '', 0, {}
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 't', 'f', 'e', 'l', 'r')
  if record[5] == token then
    return 'busy' -- a late one: whoever asked has given up
  end
  if record[1] and rest(KEYS[i], record[3], record[4]) > 0 then
    if record[1] == token then
      mine, had = mine + 1, record[2]
    else
      busy[#busy + 1] = describe(KEYS[1], KEYS[i], i - 2)
    end
  end
  if record[2] then
    fence = math.max(fence, record[2] + 1)
  end
end
if #busy > 0 then
  return 'busy ' .. table.concat(busy, ' ')
end
if mine == #KEYS - 1 then
  return 'granted ' .. had
end
for i = 2, #KEYS do
  grant(KEYS[i], token, 0, ttl, keep,
    'f', number(fence), 'a', number(now), 'o', ARGV[4], 'w', ARGV[5], 'n', ARGV[4 + i])
end
return 'granted ' .. number(fence)
