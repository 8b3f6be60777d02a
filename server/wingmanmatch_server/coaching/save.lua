-- Stores a conversation if it is as its writer knew it; returns -1, or else the version that it has.
-- KEYS: the conversation, the person's conversations, that the person is a minor.
-- ARGV: known version, body, milliseconds to live, id, now, most, 1 for a minor.
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if version ~= tonumber(ARGV[1]) then
    return version
end
redis.call('HSET', KEYS[1], 'version', version + 1, 'body', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])

local now, ttl = tonumber(ARGV[5]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ttl, ARGV[4])
-- A person's conversations are in the slot of KEYS[1]: they differ only behind the hash tag.
local prefix = string.sub(KEYS[1], 1, -1 - string.len(ARGV[4]))
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])
-- The one just stored stays, though it may be the first to expire while it waits for its first answer.
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus)) do
    if surplus > 0 and id ~= ARGV[4] then
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
