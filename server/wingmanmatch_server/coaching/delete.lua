-- Forgets one conversation, or with an empty id all that is kept of a person, whatever the format version; returns
-- how many conversations there were.
-- KEYS: as in save.lua. ARGV: id.
local ids = { ARGV[1] }
local prefix = string.sub(KEYS[1], 1, -1 - string.len(ARGV[1]))
if ARGV[1] == '' then
    ids = redis.call('ZRANGE', KEYS[2], 0, -1)
    redis.call('DEL', KEYS[3])
end
local count = 0
for _, id in ipairs(ids) do
    count = count + redis.call('DEL', prefix .. id)
    redis.call('ZREM', KEYS[2], id)
end
return count
