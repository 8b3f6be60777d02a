-- Stores a conversation if it is as its writer knew it.
-- KEYS: the conversation, the person's conversations. ARGV: known version, body, milliseconds to live, id, now, most.
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
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - tonumber(ARGV[6]))) do
    redis.call('DEL', prefix .. id)
    redis.call('ZREM', KEYS[2], id)
end
if redis.call('PTTL', KEYS[2]) < ttl then
    redis.call('PEXPIRE', KEYS[2], ttl)
end
return -1
