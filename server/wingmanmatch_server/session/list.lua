-- Reads a person's live sessions, newest first.
-- KEYS   the person's index
-- ARGV   how many at most, and the id behind which to begin, or ''
-- Reply  OK, 1 if there are more or 0, then the fields of each session; RECORD_VERSION_UNKNOWN rather than a list
--        that silently lacks one

local index = KEYS[1]
local page_size, after = tonumber(ARGV[1]), ARGV[2]

sweep(index)
local members = redis.call('ZRANGE', index, 0, -1)
table.sort(members, function(left, right) return left > right end)

local reply = {'OK', 0}
for _, member in ipairs(members) do
  if after == '' or string.sub(member, 1, ID_LENGTH) < after then
    local fields, refusal = read(session_of(member))
    if refusal == NOT_FOUND then
      redis.call('ZREM', index, member)
    elseif #reply - 2 == page_size then
      reply[2] = 1
      break
    elseif refusal then
      return refusal
    else
      reply[#reply + 1] = fields
    end
  end
end
return reply
