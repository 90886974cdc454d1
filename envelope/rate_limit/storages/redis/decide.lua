-- Takes every demand of a request or none, for any number of requests, one after the other.
-- KEYS: the subject of each demand.
-- ARGV: for each request the number of its demands; for each demand its cost and the number of its quotas; for
-- each quota its field, amount, window in milliseconds, and 1 if it is in shadow.
-- Returns one string of numbers, which costs a client less than an array: the time in milliseconds; for each
-- quota what remains, milliseconds until there is more, milliseconds until the cost fits (0: it does).

local reply, key, arg = {string.format('%d', now)}, 0, 0

local function next_number()
  arg = arg + 1
  return tonumber(ARGV[arg])
end

local function read_demand()
  key = key + 1
  local demand = {key = KEYS[key], cost = next_number()}
  for i = 1, next_number() do
    demand[i] = {field = ARGV[arg + 1], amount = tonumber(ARGV[arg + 2]), window = tonumber(ARGV[arg + 3]),
                 is_shadow = ARGV[arg + 4] == '1'}
    arg = arg + 4
  end
  return demand
end

local function decide(demands)
  local is_admitted = true
  for _, demand in ipairs(demands) do
    load(demand.key, demand)
    for _, quota in ipairs(demand) do
      quota.fits = demand.cost == 0 or used(quota) <= quota.amount - demand.cost
      is_admitted = is_admitted and (quota.fits or quota.is_shadow)
    end
  end
  for _, demand in ipairs(demands) do
    if is_admitted and demand.cost > 0 then
      for _, quota in ipairs(demand) do
        if quota.fits then
          add(quota, demand.cost)
        end
      end
    end
    save(demand.key, demand)
  end
end

while arg < #ARGV do
  local demands = {}
  for i = 1, next_number() do
    demands[i] = read_demand()
  end
  local is_decided, problem = pcall(decide, demands)
  if not is_decided and not string.find(type(problem) == 'table' and problem.err or problem, 'WRONGTYPE', 1, true) then
    error(problem)
  end
  for _, demand in ipairs(demands) do
    for _, quota in ipairs(demand) do
      if is_decided then
        reply[#reply + 1] = string.format('%d %d %d', math.max(0, quota.amount - used(quota)), reset(quota),
                                          quota.fits and 0 or wait(quota, quota.amount - demand.cost))
      else -- somebody else's key: the requests beside this one need not suffer
        reply[#reply + 1] = '-1 -1 -1'
      end
    end
  end
end

return table.concat(reply, ' ')
