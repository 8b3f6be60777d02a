-- Stands before each script. Times are milliseconds since 1970 of the server's clock, which all replicas share.
-- A session's user and index are named in the session itself; their keys have the hash tag of KEYS[1], hence its slot.
-- Every reply begins with OK, SESSION_NOT_FOUND, SESSION_VERSION_MISMATCH or REQUEST_ID_REUSED.

local FIELDS = {'id', 'user_id', 'version', 'create_time', 'update_time', 'expire_time', 'max_expire_time', 'data'}
local ID_LENGTH = 36
local REMEMBERED = 86400000

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local prefix = string.match(KEYS[1], '^session:{%x+}:')

local function session_of(member) return prefix .. 'token:' .. string.sub(member, ID_LENGTH + 2) end

-- Returns the session's fields, or nil. A session without a user is one that another program's key stands for.
local function read(session)
  local fields = redis.call('HMGET', session, unpack(FIELDS))
  if fields[2] then return fields end
end

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
  local first = cmsgpack.unpack(packed)
  if first.fingerprint ~= fingerprint then return {'REQUEST_ID_REUSED'} end
  return first.answer
end

local function remember(request, fingerprint, answer)
  if request then
    redis.call('SET', request, cmsgpack.pack({fingerprint = fingerprint, answer = answer}), 'PX', REMEMBERED)
  end
  return answer
end

