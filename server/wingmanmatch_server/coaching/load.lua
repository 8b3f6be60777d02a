-- Returns the version and the body of a conversation, absent where there is none, and whether the person told to be a
-- minor. KEYS: as in save.lua.
local fields = redis.call('HMGET', KEYS[1], 'version', 'body')
return { fields[1], fields[2], redis.call('EXISTS', KEYS[3]) }
