-- Applies one chunk's effects to one partition, whole or not at all.
--
-- Lua does not roll back: every check comes before the first write. All comparisons are of strings, because Lua's
-- numbers are doubles; the caller sends the next sequence ready made. Binary values pass through as they are.
--
-- KEYS  meta, deadlines, names, forgotten, outbox, state keys to set, state keys to erase
-- ARGV  token, sequence, start, next sequence, position, watermark, adopt_until, complete_since (-1: as it is), outbox,
--       number of states set, of deadlines set, of deadlines removed, of names, of tombstones set, of tombstones removed,
--       then states, then score and member of each deadline set, then members removed, then subject and name of each name,
--       then customer and time of each tombstone set, then customers whose tombstone is removed
-- gives verdict, token, sequence, position, watermark, adopt_until, complete_since (as found, or as after the commit)

local META, DEADLINES, NAMES, FORGOTTEN, OUTBOX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local FIXED_KEYS, FIXED_ARGS = 5, 15
local BLOCK = 1000 -- arguments of one call: unpack() fails near 8,000

local token, sequence, start = ARGV[1], ARGV[2], ARGV[3]
local next_sequence, position, watermark, adopt_until = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local complete_since, outbox = ARGV[8], ARGV[9]
local states, due, undue = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local names, buried, raised = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])

-- 1. Checks. Reading meta, deadlines, names and forgotten fails here, before any write, if something else lives there.

local meta = redis.call('HMGET', META, 'token', 'sequence', 'position', 'watermark', 'adopt_until', 'complete_since')
redis.call('ZCARD', DEADLINES)
redis.call('HLEN', NAMES)
redis.call('HLEN', FORGOTTEN)
local found = { meta[1] or '', meta[2] or '0', meta[3] or '-1', meta[4] or '-1', meta[5] or '-1', meta[6] or '-1' }

local function answer(verdict)
  return { verdict, found[1], found[2], found[3], found[4], found[5], found[6] }
end

if found[1] ~= token then
  return answer('fenced')
end
if found[2] == next_sequence and found[3] == position then
  return answer('already')
end
if found[2] ~= sequence or (found[3] ~= start and found[3] ~= '-1') then
  return answer('gap')
end

-- A right that this user does not have would be missed half-way. (Redis 7.0 or later can be asked.)
local NEEDED = {
  { 'HSET', META, 'token', '' }, { 'SET', OUTBOX, '' }, { 'MSET', OUTBOX, '' }, { 'UNLINK', OUTBOX },
  { 'ZADD', DEADLINES, '0', '' }, { 'ZREM', DEADLINES, '' }, { 'HDEL', FORGOTTEN, '' },
}
for _, command in ipairs(redis.acl_check_cmd and NEEDED or {}) do
  if not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM this user may not run ' .. command[1] .. ', which the commit script needs')
  end
end

-- 2. Writes. The first of them is one that Redis refuses when it is out of memory; after it, it refuses none.

redis.call('HSET', META, 'sequence', next_sequence, 'position', position, 'watermark', watermark,
  'adopt_until', adopt_until)
if complete_since == '-1' then
  complete_since = found[6]
else
  redis.call('HSET', META, 'complete_since', complete_since)
end
redis.call('SET', OUTBOX, outbox)

local function in_blocks(command, key, list, first, last)
  for from = first, last, BLOCK do
    redis.call(command, key, unpack(list, from, math.min(from + BLOCK - 1, last)))
  end
end

local pairs_of_block, filled = {}, 0
for i = 1, states do
  pairs_of_block[filled + 1] = KEYS[FIXED_KEYS + i]
  pairs_of_block[filled + 2] = ARGV[FIXED_ARGS + i]
  filled = filled + 2
  if filled == BLOCK or i == states then
    redis.call('MSET', unpack(pairs_of_block, 1, filled))
    filled = 0
  end
end
for from = FIXED_KEYS + states + 1, #KEYS, BLOCK do
  redis.call('UNLINK', unpack(KEYS, from, math.min(from + BLOCK - 1, #KEYS)))
end

local at = FIXED_ARGS + states
in_blocks('ZADD', DEADLINES, ARGV, at + 1, at + 2 * due)
at = at + 2 * due
in_blocks('ZREM', DEADLINES, ARGV, at + 1, at + undue)
at = at + undue
in_blocks('HSET', NAMES, ARGV, at + 1, at + 2 * names)
at = at + 2 * names
in_blocks('HSET', FORGOTTEN, ARGV, at + 1, at + 2 * buried)
at = at + 2 * buried
in_blocks('HDEL', FORGOTTEN, ARGV, at + 1, at + raised)

found = { token, next_sequence, position, watermark, adopt_until, complete_since }
return answer('ok')
