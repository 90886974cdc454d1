-- A window begins with the first hit after the one before it is over.

local LIFETIME = 1

local function roll(quota, start, current)
  if not start or now >= start + quota.window then
    start, current, quota.is_new = now, 0, true
  elseif now < start then -- the server's clock was set back
    start, quota.is_new = now, true
  end
  quota.start, quota.current, quota.previous = start, current, 0
end

local function used(quota)
  return quota.current
end

local function reset(quota)
  return quota.current > 0 and quota.start + quota.window - now or 0
end

local function wait(quota)
  return quota.start + quota.window - now
end

local function change(quota, difference, taken_at)
  if difference > 0 or (taken_at >= quota.start and quota.current > 0) then
    quota.current = math.min(math.max(0, quota.current + difference), LARGEST)
    quota.is_changed = true
  end
end
