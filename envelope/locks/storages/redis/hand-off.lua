-- Gives a lease to whoever claims another token. KEYS: holds, objects. ARGV: token, new token, time to claim, keep.
local within, done = tonumber(ARGV[3]), 0
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 't', 'e', 'l', 'r')
  if record[1] == ARGV[2] then
    done = done + 1
  elseif record[4] == ARGV[2] or record[1] ~= ARGV[1] or rest(KEYS[i], record[2], record[3]) <= 0 then
    return '0'
  end
end
if done < #KEYS - 1 then
  for i = 2, #KEYS do
    grant(KEYS[i], ARGV[2], 1, within, tonumber(ARGV[4]))
  end
end
return '1'
