-- Corrects what was taken.
-- KEYS: the subject of each change.
-- ARGV: for each change the quota's field, its window in milliseconds, the difference, and when it was taken.

for i, key in ipairs(KEYS) do
  local quota = {field = ARGV[4 * i - 3], window = tonumber(ARGV[4 * i - 2])}
  load(key, {quota})
  change(quota, tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i]))
  save(key, {quota})
end

return ''
