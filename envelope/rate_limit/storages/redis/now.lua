-- Whole milliseconds of the server's clock: one clock for all who share it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Doubles are exact up to 2^53.
local LARGEST = 9007199254740992
