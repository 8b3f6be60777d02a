-- Token buckets as GCRA: of each bucket only the instant is kept at which it will be full again, in microseconds of the
-- server's clock, with the interval that a token took when it was written: `1:INSTANT:INTERVAL`, where 1 is the
-- format version. A bucket that is full has no key. docs/redis-records.md says when to raise the version.
--
-- KEYS   the buckets in the order asked, one perhaps more than once; then, with a fingerprint, the key of the answer
-- ARGV   'each' or 'all'; 'spend' or 'peek'; the fingerprint of a request that may be repeated, or '';
--        then for each run of buckets that are asked the same INTERVAL:CAPACITY:ENFORCED:COST:COUNT, the cost negative
--        to put tokens back
-- Reply  0, or 1 if the fingerprint is not the one remembered, or 2 if what is remembered has another format version;
--        the microseconds until each bucket is full; then nothing where all costs pass, else the microseconds until
--        each could: 0 where it passes, -1 where it never can, -2 where the key holds no bucket of this format
--        version, which is left as it is
--
-- Where tokens are put back, the key is published to rl:forget: whoever remembers a denial of it must ask again.
-- Numbers reach 2^53 without loss, but Lua writes large ones as 1.8e+15, hence %.0f.

local GRACE = 1000
local REMEMBERED = 10000
local FIRST_RUN = 4
local NEVER, BROKEN = -1, -2
local BUCKET, WRITTEN = '^1:(%d+):([1-9]%d*)$', '1:%.0f:%.0f'
local ANSWER = '1:'

local call, ceil, max, min = redis.call, math.ceil, math.max, math.min
local match, sub, format = string.match, string.sub, string.format
local all, spend, fingerprint = ARGV[1] == 'all', ARGV[2] == 'spend', ARGV[3]

if fingerprint ~= '' then
  fingerprint = ANSWER .. fingerprint
  local answer = call('GET', KEYS[#KEYS])
  if answer then
    if sub(answer, 1, #fingerprint) == fingerprint then return cmsgpack.unpack(sub(answer, #fingerprint + 1)) end
    return {sub(answer, 1, #ANSWER) == ANSWER and 1 or 2}
  end
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local before, debts, intervals, charged = {}, {}, {}, {}

-- What was used stays used when a limit changes. A debt beyond an empty bucket is a clock that was set back.
-- Returns false for a key that holds something else.
local function stored_debt(key, interval, full)
  local value = redis.pcall('GET', key)
  if not value then return 0 end
  if type(value) == 'table' then return false end
  local full_at, written = match(value, BUCKET)
  if not full_at then
    -- A newer server's bucket has an end. What has none would be decided without Redis for ever, so it ends when any
    -- bucket of this limit would be full again.
    if spend and call('PTTL', key) == -1 then call('PEXPIRE', key, ceil(full / 1000) + GRACE) end
    return false
  end
  local debt = full_at - now
  written = tonumber(written)
  if written ~= interval then debt = ceil(debt * interval / written) end
  return min(max(debt, 0), full)
end

-- A bucket may be asked again under another limit. Debts count in the interval of the last one.
local function rescale(key, interval, full)
  local known = intervals[key]
  if not known or known == interval then return end
  debts[key] = debts[key] and min(ceil(debts[key] * interval / known), full)
  before[key] = min(ceil(before[key] * interval / known), full)
end

local waits, after_each, before_each, refused, broken, waiting, last = {}, {}, {}, false, false, false, 0
for run = FIRST_RUN, #ARGV do
  local interval, capacity, enforced, cost, count = match(ARGV[run], '^(%d+):(%d+):(%d):(-?%d+):(%d+)$')
  interval, capacity, cost, count = tonumber(interval), tonumber(capacity), tonumber(cost), tonumber(count)
  local full, charge = interval * capacity, interval * cost
  for i = last + 1, last + count do
    local key, wait = KEYS[i], 0
    rescale(key, interval, full)
    intervals[key] = interval
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
      if cost ~= 0 then charged[key] = true end
    else
      waiting = true
      broken = broken or wait == BROKEN
      refused = refused or broken or enforced == '1'
    end
    debts[key], waits[i], after_each[i], before_each[i] = debt, wait, debt or 0, before[key]
  end
  last = last + count
end

-- A request that may be repeated is done as a whole, once every bucket can be read, or not at all.
local undone = broken and fingerprint ~= ''
if spend and not (all and refused) and not undone then
  for key in pairs(charged) do
    local debt, interval = debts[key], intervals[key]
    if debt > 0 then
      call('SET', key, format(WRITTEN, now + debt, interval), 'PX', ceil(debt / 1000) + GRACE)
    elseif before[key] > 0 then
      call('DEL', key)
    end
    if debt < before[key] then call('PUBLISH', 'rl:forget', key) end
  end
else
  after_each = before_each
end

local reply = {0, after_each, waiting and waits or {}}
if fingerprint ~= '' and not broken then
  call('SET', KEYS[#KEYS], fingerprint .. cmsgpack.pack(reply), 'PX', REMEMBERED)
end
return reply
