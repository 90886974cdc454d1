-- The window before counts with the share of it that the sliding window still covers: windows.py in Lua.

local LIFETIME = 2

local function roll(quota, start, current, previous)
  local window = quota.window
  if not start or now >= start + 2 * window then
    start, current, previous, quota.is_new = now, 0, 0, true
  elseif now >= start + window then
    start, current, previous, quota.is_new = start + window, 0, current, true
  elseif now < start then -- the server's clock was set back
    start, quota.is_new = now, true
  end
  quota.start, quota.current, quota.previous = start, current, previous
  quota.left = start + window - now
end

local function used(quota)
  return quota.current + math.floor(quota.previous * quota.left / quota.window)
end

local function reset(quota)
  local weighted = math.floor(quota.previous * quota.left / quota.window)
  if weighted > 0 then
    return quota.left - math.floor((weighted * quota.window - 1) / quota.previous)
  end
  return quota.current > 0 and quota.left or 0
end

local function wait(quota, fitting)
  if quota.current <= fitting then
    return quota.left - math.floor(((fitting - quota.current + 1) * quota.window - 1) / quota.previous)
  end
  return quota.left + quota.window - math.floor(((fitting + 1) * quota.window - 1) / quota.current)
end

local function change(quota, difference, taken_at)
  if taken_at >= quota.start - quota.window and taken_at < quota.start and quota.previous > 0 then
    quota.previous = math.min(math.max(0, quota.previous + difference), LARGEST)
    quota.is_changed = true
  elseif difference > 0 or (taken_at >= quota.start and quota.current > 0) then
    quota.current = math.min(math.max(0, quota.current + difference), LARGEST)
    quota.is_changed = true
  end
end
