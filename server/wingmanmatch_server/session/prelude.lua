-- Stands before each script, behind a line that sets the format versions. Times are milliseconds since 1970 of the
-- server's clock, which all replicas share.
-- A session's user and index are named in the session itself; their keys have the hash tag of KEYS[1], hence its slot.
-- Every reply begins with OK, SESSION_NOT_FOUND, SESSION_VERSION_MISMATCH, REQUEST_ID_REUSED, ERASED_RECENTLY or
-- RECORD_VERSION_UNKNOWN, behind which stands the kind of record.

local FIELDS = {'id', 'user_id', 'version', 'create_time', 'update_time', 'expire_time', 'max_expire_time', 'data',
  'v'}
local ID_LENGTH = 36
local REMEMBERED = 86400000
local REQUEST_PREFIX = REQUEST_VERSION .. ':'
local NOT_FOUND = {'SESSION_NOT_FOUND'}

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local prefix = string.match(KEYS[1], '^session:{%x+}:')

local function session_of(member) return prefix .. 'token:' .. string.sub(member, ID_LENGTH + 2) end

-- Returns the session's fields but for its format version; or nil and the reply that says why there are none.
local function read(session)
  local fields = redis.call('HMGET', session, unpack(FIELDS))
  local version = table.remove(fields)
  if version == SESSION_VERSION then return fields end
  if version or fields[2] then return nil, {'RECORD_VERSION_UNKNOWN', 'session'} end
  return nil, NOT_FOUND
end

-- `fields` begin with the session's id and user.
local function index_of(session, fields)
  local hash = string.sub(session, #prefix + #'token:' + 1)
  return prefix .. 'user:' .. fields[2], fields[1] .. ':' .. hash
end

-- The index lives exactly as long as the session in it that lives longest.
local function expire_at(session, index, member, time)
  redis.call('PEXPIREAT', session, time)
  redis.call('ZADD', index, time, member)
  redis.call('PEXPIREAT', index, redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2])
end

local function sweep(index) redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. now) end

-- Returns the answer of a request that came before, or nil.
local function recall(request, fingerprint)
  local packed = request and redis.call('GET', request)
  if not packed then return nil end
  if string.sub(packed, 1, #REQUEST_PREFIX) ~= REQUEST_PREFIX then return {'RECORD_VERSION_UNKNOWN', 'request'} end
  local first = cmsgpack.unpack(string.sub(packed, #REQUEST_PREFIX + 1))
  if first.fingerprint ~= fingerprint then return {'REQUEST_ID_REUSED'} end
  return first.answer
end

-- An answer names the person, so the person's erasure has to find it: by the index of requests, which lives as long.
local function remember(request, user_id, fingerprint, answer)
  if request then
    local packed = cmsgpack.pack({fingerprint = fingerprint, answer = answer})
    redis.call('SET', request, REQUEST_PREFIX .. packed, 'PX', REMEMBERED)
    local requests = prefix .. 'requests:' .. user_id
    sweep(requests)
    redis.call('ZADD', requests, now + REMEMBERED, string.sub(request, #prefix + #'request:' + 1))
    redis.call('PEXPIRE', requests, REMEMBERED)
  end
  return answer
end

