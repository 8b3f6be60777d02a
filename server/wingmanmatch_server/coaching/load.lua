-- Returns the format version and the fields of a conversation, absent where there is none, and whether the person is
-- known to be a minor. KEYS: as in save.lua.
local fields = redis.call('HMGET', KEYS[1], 'v', 'version', 'messages', 'summary', 'create_time', 'update_time',
    'expire_time')
fields[#fields + 1] = redis.call('EXISTS', KEYS[3])
return fields
