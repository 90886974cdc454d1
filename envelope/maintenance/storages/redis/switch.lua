-- What lies under the key, a hash that is there while maintenance is on; times are milliseconds of this server's clock:
--   a  since when        e  the announced end; empty if none is announced
local clock = redis.call('TIME')
local now = math.floor((clock[1] * 1000000 + clock[2]) / 1000)

local function number(value)
  return string.format('%.0f', value)
end

local function describe(since, ends)
  return 'on ' .. number(math.max(0, now - since)) .. ' ' .. (ends == '' and '-' or number(ends - now))
end
