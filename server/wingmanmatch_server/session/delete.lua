-- Ends a session, if it lives.
-- KEYS   the session
-- Reply  OK

local session = KEYS[1]

local fields = read(session)
if fields then
  local index, member = index_of(session, fields)
  redis.call('UNLINK', session)
  redis.call('ZREM', index, member)
end
return {'OK'}
