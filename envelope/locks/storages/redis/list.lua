-- Tells who has which object, a few at once. KEYS: holds. ARGV: pattern of the keys of objects, cursor.
-- Returns the next cursor, how many keys are not ours, and for each object its key's digest, its name and what
-- describe says of it. So many keys, and so many records, keep the server busy for about a millisecond.
local MOST_STEPS, MOST_RECORDS = 10, 50

local function tell(key)
  local record = redis.call('HMGET', key, 't', 'e', 'l', 'n')
  if not record[1] or rest(key, record[2], record[3]) <= 0 then
    return nil
  end
  local words = key:match('[^:]*$') .. ' ' .. describe(KEYS[1], key, record[4])
  local _, count = words:gsub('%S+', '')
  return count == 11 and words or error('a word is missing, or has a space')
end

local cursor, foreign, reply, steps, records = ARGV[2], 0, {'', ''}, 0, 0
repeat
  local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 100)
  cursor, steps = found[1], steps + 1
  for _, key in ipairs(found[2]) do
    if key ~= KEYS[1] then
      local is_ours, words = pcall(tell, key)
      records = records + 1
      if not is_ours then
        foreign = foreign + 1
      elseif words then
        reply[#reply + 1] = words
      end
    end
  end
until cursor == '0' or steps == MOST_STEPS or records >= MOST_RECORDS
reply[1], reply[2] = cursor, foreign
return table.concat(reply, ' ')
