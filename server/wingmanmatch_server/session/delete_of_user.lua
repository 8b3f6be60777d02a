-- Ends every session of a person, whatever its format version.
-- KEYS   the person's index
-- Reply  OK and how many lived

local index = KEYS[1]

local count = 0
for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  count = count + redis.call('UNLINK', session_of(member))
end
redis.call('UNLINK', index)
return {'OK', count}
