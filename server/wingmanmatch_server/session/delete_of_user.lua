-- Ends every session of a person, whatever its format version. At an erasure it also deletes the remembered answers, and
-- leaves the mark: what came before this script is gone, and what comes after it is refused.
-- KEYS   the person's index; at an erasure the person's requests and the mark
-- ARGV   at an erasure the milliseconds that the mark stands
-- Reply  OK and how many lived

local index, requests, mark = unpack(KEYS)

local count = 0
for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  count = count + redis.call('UNLINK', session_of(member))
end
redis.call('UNLINK', index)
if mark then
  for _, hash in ipairs(redis.call('ZRANGE', requests, 0, -1)) do redis.call('UNLINK', prefix .. 'request:' .. hash) end
  redis.call('UNLINK', requests)
  redis.call('SET', mark, 1, 'PX', ARGV[1])
end
return {'OK', count}
