-- Token buckets as GCRA: of each bucket only the instant is kept at which it will be full again, in microseconds of the
-- server's clock, with the interval that a token took when it was written. A bucket that is full has no key.
--
-- KEYS   the buckets in the order asked, one perhaps more than once; then, with a fingerprint, the key of the answer
-- ARGV   'each' or 'all'; 'spend' or 'peek'; the fingerprint of a request that may be repeated, or '';
--        then for each run of buckets that are asked the same INTERVAL:CAPACITY:ENFORCED:COST:COUNT, the cost negative
--        to put tokens back
-- Reply  0, or 1 if the fingerprint is not the one remembered; how many keys held no bucket's value; the microseconds
--        until each bucket is full; then nothing where all costs pass, else the microseconds until each could: 0 where
--        it passes, -1 where it never can, -2 where the key is of another type
--
-- Where tokens are put back, the key is published to rl:forget: whoever remembers a denial of it must ask again.
-- Numbers reach 2^53 without loss, but Lua writes large ones as 1.8e+15, hence %.0f.

local GRACE = 1000
local REMEMBERED = 10000
local FIRST_RUN = 4
local NEVER, BROKEN = -1, -2

local call, ceil, max, min, match, format = redis.call, math.ceil, math.max, math.min, string.match, string.format
local all, spend, fingerprint = ARGV[1] == 'all', ARGV[2] == 'spend', ARGV[3]

if fingerprint ~= '' then
  local answer = call('GET', KEYS[#KEYS])
  if answer then
    if string.sub(answer, 1, #fingerprint) ~= fingerprint then return {1, 0} end
    return cmsgpack.unpack(string.sub(answer, #fingerprint + 1))
  end
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local before, debts, intervals = {}, {}, {}
local malformed = 0

-- What was used stays used when a limit changes. A debt beyond an empty bucket is a clock that was set back.
-- Returns false for a key of another type.
local function stored_debt(key, interval, full)
  local value = redis.pcall('GET', key)
  if not value then return 0 end
  if type(value) == 'table' then return false end
  local full_at, written = match(value, '^(%d+):([1-9]%d*)$')
  if not full_at then
    malformed = malformed + 1
    return 0
  end
  local debt = full_at - now
  written = tonumber(written)
  if written ~= interval then debt = ceil(debt * interval / written) end
  return min(max(debt, 0), full)
end

local waits, after_each, refused, waiting, last = {}, {}, false, false, 0
for run = FIRST_RUN, #ARGV do
  local interval, capacity, enforced, cost, count = match(ARGV[run], '^(%d+):(%d+):(%d):(-?%d+):(%d+)$')
  interval, capacity, cost, count = tonumber(interval), tonumber(capacity), tonumber(cost), tonumber(count)
  local full, charge = interval * capacity, interval * cost
  for i = last + 1, last + count do
    local key, wait = KEYS[i], 0
    local debt = debts[key]
    if debt == nil then
      debt = stored_debt(key, interval, full)
      before[key] = debt or 0
    end
    if not debt then
      wait = BROKEN
    elseif cost > capacity then
      wait = NEVER
    elseif cost > 0 and debt + charge > full then
      wait = debt + charge - full
    end
    if wait == 0 then
      debt = max(debt + charge, 0)
      if cost ~= 0 then intervals[key] = interval end
    else
      waiting = true
      refused = refused or enforced == '1' or wait == BROKEN
    end
    debts[key], waits[i], after_each[i] = debt, wait, debt or 0
  end
  last = last + count
end

if spend and not (all and refused) then
  for key, interval in pairs(intervals) do
    local debt = debts[key]
    if debt > 0 then
      call('SET', key, format('%.0f:%.0f', now + debt, interval), 'PX', ceil(debt / 1000) + GRACE)
    elseif before[key] > 0 then
      call('DEL', key)
    end
    if debt < before[key] then call('PUBLISH', 'rl:forget', key) end
  end
else
  for i = 1, last do after_each[i] = before[KEYS[i]] end
end

local reply = {0, malformed, after_each, waiting and waits or {}}
if fingerprint ~= '' then
  call('SET', KEYS[#KEYS], fingerprint .. cmsgpack.pack(reply), 'PX', REMEMBERED)
end
return reply
