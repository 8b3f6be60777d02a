-- Lets a live session live longer.
-- KEYS   the session
-- ARGV   the milliseconds that it lives from now on, or '' for those it was created with, which never shorten its life
-- Reply  OK and the fields

local session, ttl = KEYS[1], ARGV[1]

local fields, refusal = read(session)
if not fields then return refusal end
local expire_time
if ttl == '' then
  expire_time = math.max(tonumber(fields[6]), now + redis.call('HGET', session, 'ttl'))
else
  expire_time = now + ttl
end
expire_time = math.min(expire_time, tonumber(fields[7]))

redis.call('HSET', session, 'expire_time', expire_time)
local index, member = index_of(session, fields)
expire_at(session, index, member, expire_time)
fields[6] = expire_time
return {'OK', unpack(fields)}
