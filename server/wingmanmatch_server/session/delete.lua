-- Ends a session, if it lives, whatever its format version: who signs out is signed out.
-- KEYS   the session
-- Reply  OK

local session = KEYS[1]

local fields = redis.call('HMGET', session, 'id', 'user_id')
redis.call('UNLINK', session)
if fields[1] and fields[2] then
  local index, member = index_of(session, fields)
  redis.call('ZREM', index, member)
end
return {'OK'}
