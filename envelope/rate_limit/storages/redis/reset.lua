-- Forgets subjects. KEYS: the hash of each, whose fields name its logs, if the strategy keeps logs.

for _, key in ipairs(KEYS) do
  for _, field in ipairs(redis.call('HKEYS', key)) do
    redis.call('UNLINK', key .. ':' .. field)
  end
  redis.call('UNLINK', key)
end

return ''
