-- Tells what is counted for a subject. KEYS: its hash.
-- Returns the fields as words, percent-encoded; "!" if the key is not ours.
local fields = redis.pcall('HKEYS', KEYS[1])
if fields.err then
  return '!'
end
for i, field in ipairs(fields) do
  fields[i] = field:gsub('[^%w/~:]', function(byte)
    return string.format('%%%02X', byte:byte())
  end)
end
return table.concat(fields, ' ')
