-- Replaces a live session's data, or repeats the answer of the request that did.
-- KEYS   the session, and with a request_id the request
-- ARGV   data, the version to be replaced or '' for any, the fingerprint
-- Reply  OK and the fields without data; or SESSION_VERSION_MISMATCH and the version there is

local session, request = KEYS[1], KEYS[2]
local data, expected_version, fingerprint = unpack(ARGV)

local fields, refusal = read(session)
if not fields then return refusal end
local first = recall(request, fingerprint)
if first then return first end

local id, user_id, version, create_time, _, expire_time, max_expire_time = unpack(fields)
if expected_version ~= '' and expected_version ~= version then return {'SESSION_VERSION_MISMATCH', version} end
version = redis.call('HINCRBY', session, 'version', 1)
redis.call('HSET', session, 'update_time', now, 'data', data)
return remember(request, user_id, fingerprint, {'OK', id, user_id, version, create_time, now, expire_time, max_expire_time})
