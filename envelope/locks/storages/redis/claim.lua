-- Takes what was handed off, once. KEYS: holds, objects. ARGV: token, new token, ttl, keep, process.
local fence, done, record = micros, 0, nil
for i = 2, #KEYS do
  record = redis.call('HMGET', KEYS[i], 't', 'f', 'e', 'l', 's', 'o', 'r')
  if record[1] == ARGV[2] then
    done = done + 1
  elseif record[1] ~= ARGV[1] or record[5] ~= '1' or record[7] == ARGV[2]
      or rest(KEYS[i], record[3], record[4]) <= 0 then
    return '0'
  else
    fence = math.max(fence, record[2] + 1)
  end
end
if done == #KEYS - 1 then
  return record[2] .. ' ' .. record[6]
end
for i = 2, #KEYS do
  grant(KEYS[i], ARGV[2], 0, tonumber(ARGV[3]), tonumber(ARGV[4]), 'f', number(fence), 'w', ARGV[5])
end
return number(fence) .. ' ' .. record[6]
