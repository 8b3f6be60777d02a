-- Token buckets as GCRA: of each bucket only the instant is kept at which it will be full again, in microseconds of the
-- server's clock, with the interval that a token took when it was written. A bucket that is full has no key.
--
-- KEYS   the buckets in the order asked, one perhaps more than once; then, with a fingerprint, the key of the answer
-- ARGV   'each' or 'all'; 'spend' or 'peek'; the fingerprint of a request that may be repeated, or '';
--        then for each bucket INTERVAL:CAPACITY:ENFORCED:COST, the cost negative to put tokens back
-- Reply  0, or 1 if the fingerprint is not the one remembered; how many keys held no bucket's value;
--        then for each bucket: allowed (0 or 1; 2: the key is of another type), whole tokens left, microseconds until the cost could pass (-1 never),
--        microseconds until the bucket is full
--
-- Where tokens are put back, the key is published to rl:forget: whoever remembers a denial of it must ask again.
-- Numbers reach 2^53 without loss, but Lua writes large ones as 1.8e+15, hence %.0f.

local GRACE = 1000
local REMEMBERED = 10000
local BROKEN = -2

local call, ceil, floor, max, min, match = redis.call, math.ceil, math.floor, math.max, math.min, string.match
local all, spend, fingerprint = ARGV[1] == 'all', ARGV[2] == 'spend', ARGV[3]
local count = #ARGV - 3

if fingerprint ~= '' then
  local answer = call('GET', KEYS[count + 1])
  if answer then
    if string.sub(answer, 1, #fingerprint) ~= fingerprint then return {1, 0} end
    return cmsgpack.unpack(string.sub(answer, #fingerprint + 1))
  end
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local asked, before, debts, changed = {}, {}, {}, {}
local malformed, refused = 0, false

-- Many buckets are asked the same, so that most of it is worked out once.
local function ask_of(text)
  local ask = asked[text]
  if not ask then
    local interval, capacity, enforced, cost = match(text, '^(%d+):(%d+):(%d):(-?%d+)$')
    ask = {interval = tonumber(interval), capacity = tonumber(capacity), enforced = enforced == '1', cost = tonumber(cost)}
    ask.full = ask.interval * ask.capacity
    ask.charge = ask.interval * ask.cost
    asked[text] = ask
  end
  return ask
end

-- What was used stays used when a limit changes. A debt beyond an empty bucket is a clock that was set back.
local function stored_debt(key, ask)
  local value = redis.pcall('GET', key)
  if not value then return 0 end
  if type(value) == 'table' then return nil end
  local full_at, interval = match(value, '^(%d+):([1-9]%d*)$')
  if not full_at then
    malformed = malformed + 1
    return 0
  end
  local debt, written = full_at - now, tonumber(interval)
  if written ~= ask.interval then debt = ceil(debt * ask.interval / written) end
  return min(max(debt, 0), ask.full)
end

local waits, left = {}, {}
for i = 1, count do
  local key, ask = KEYS[i], ask_of(ARGV[3 + i])
  if not debts[key] then
    debts[key] = stored_debt(key, ask)
    before[key] = debts[key]
  end
  if not debts[key] then
    refused, waits[i], left[i], before[key] = true, BROKEN, 0, 0
  else
    local after, wait = max(debts[key] + ask.charge, 0), 0
    if ask.cost > ask.capacity then
      wait = -1
    elseif ask.cost > 0 and after > ask.full then
      wait = after - ask.full
    end
    if wait == 0 then
      debts[key] = after
      if ask.cost ~= 0 then changed[key] = ask end
    elseif ask.enforced then
      refused = true
    end
    waits[i], left[i] = wait, debts[key]
  end
end

local charge = spend and not (all and refused)
if charge then
  for key, ask in pairs(changed) do
    local debt = debts[key]
    if debt > 0 then
      local value = string.format('%.0f:%.0f', now + debt, ask.interval)
      call('SET', key, value, 'PX', ceil(debt / 1000) + GRACE)
    elseif before[key] > 0 then
      call('DEL', key)
    end
    if debt < before[key] then call('PUBLISH', 'rl:forget', key) end
  end
end

local reply = {0, malformed}
for i = 1, count do
  local ask, wait, n = ask_of(ARGV[3 + i]), waits[i], 4 * i - 2
  local debt = charge and left[i] or before[KEYS[i]]
  reply[n + 1] = wait == 0 and 1 or wait == BROKEN and 2 or 0
  reply[n + 2] = max(floor((ask.full - debt) / ask.interval), 0)
  reply[n + 3] = wait
  reply[n + 4] = debt
end

if fingerprint ~= '' then
  call('SET', KEYS[count + 1], fingerprint .. cmsgpack.pack(reply), 'PX', REMEMBERED)
end
return reply
