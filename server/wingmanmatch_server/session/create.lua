-- Opens a session, or repeats the answer of the request that did.
-- KEYS   the session, the person's index, the mark of the person's erasure, and with a request_id the request
-- ARGV   user_id, data, the time to live and the greatest age in milliseconds, 62 random bits as the last two groups of
--        a UUID; then the fingerprint and the sealed token
-- Reply  OK, the sealed token, the fields without data; or ERASED_RECENTLY and the milliseconds that the mark stands

local session, index, mark, request = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user_id, data, ttl, max_age, random, fingerprint, sealed = unpack(ARGV)

local marked = redis.call('PTTL', mark)
if marked > 0 then return {'ERASED_RECENTLY', marked} end
local first = recall(request, fingerprint)
if first then return first end

-- UUID version 7, its fraction of a millisecond included: ids sort as sessions were created.
local fraction = math.floor(clock[2] % 1000 * 4.096)
local id = string.format('%08x-%04x-7%03x-%s', math.floor(now / 65536), now % 65536, fraction, random)
local max_expire_time = now + max_age
local expire_time = math.min(now + ttl, max_expire_time)

redis.call('HSET', session, 'v', SESSION_VERSION, 'id', id, 'user_id', user_id, 'version', 1, 'create_time', now,
  'update_time', now, 'expire_time', expire_time, 'max_expire_time', max_expire_time, 'ttl', ttl, 'data', data)
sweep(index)
expire_at(session, index, id .. ':' .. string.sub(session, #prefix + #'token:' + 1), expire_time)
return remember(request, user_id, fingerprint, {'OK', sealed, id, user_id, 1, now, now, expire_time, max_expire_time})
