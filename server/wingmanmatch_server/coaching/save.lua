-- Stores a conversation if it is as its writer knew it; returns -1, or else the version that it has, or -2 if its
-- format version is another. Fields that this server does not know stay as they are.
-- KEYS: the conversation, the person's conversations, that the person is a minor.
-- ARGV: format version, known version, milliseconds to live, id, now, most, 1 for a minor; then names and values of
-- the fields to be stored.
local format = redis.call('HGET', KEYS[1], 'v')
if format ~= ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then
    return -2
end
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if version ~= tonumber(ARGV[2]) then
    return version
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'version', version + 1, unpack(ARGV, 8))
redis.call('PEXPIRE', KEYS[1], ARGV[3])

local now, ttl = tonumber(ARGV[5]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ttl, ARGV[4])
-- A person's conversations are in the slot of KEYS[1]: they differ only behind the hash tag.
local prefix = string.sub(KEYS[1], 1, -1 - string.len(ARGV[4]))
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])

-- Those of another format are left to servers that know it; their entries go once they are gone themselves.
local function may_go(id)
    local key = prefix .. id
    return id ~= ARGV[4] and (redis.call('HGET', key, 'v') == ARGV[1] or redis.call('EXISTS', key) == 0)
end

-- The one just stored stays, though it may be the first to expire while it waits for its first answer.
for _, id in ipairs(surplus > 0 and redis.call('ZRANGE', KEYS[2], 0, -1) or {}) do
    if surplus > 0 and may_go(id) then
        redis.call('DEL', prefix .. id)
        redis.call('ZREM', KEYS[2], id)
        surplus = surplus - 1
    end
end
if ARGV[7] == '1' then
    redis.call('SETNX', KEYS[3], '1')
end
-- What is known beside a conversation lives as long as the last of them.
for _, key in ipairs({ KEYS[2], KEYS[3] }) do
    if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ttl)
    end
end
return -1
