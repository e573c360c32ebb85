-- Reads a stream and its position in one step; makes the epoch where there is
-- none yet, and renews the lifetime of the position.
-- KEYS: stream, meta.
-- ARGV: epoch for a new stream, meta ttl (s), limit (0 = position only, below 0 =
-- all), since offset or '', 1 for reverse.
-- Returns {offset, epoch, entries}; entries are those of XRANGE.
local meta = redis.call('HMGET', KEYS[2], 'e', 's')
local epoch, offset = meta[1], meta[2] or '0'
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[2], 'e', epoch)
end
redis.call('EXPIRE', KEYS[2], ARGV[2])

local limit, since = tonumber(ARGV[3]), ARGV[4]
if limit == 0 or offset == '0' then
  return {offset, epoch, {}}
end
local command
if ARGV[5] == '1' then
  local from = '+'
  if since ~= '' then
    local there = redis.call('XRANGE', KEYS[1], since .. '-0', since .. '-0')
    if #there == 0 then
      -- The element it starts from is gone, or never was.
      return {offset, epoch, {}}
    end
    from = '(' .. since .. '-0'
  end
  command = {'XREVRANGE', KEYS[1], from, '-'}
else
  -- The bracket leaves out the entry at `since` itself.
  command = {'XRANGE', KEYS[1], since == '' and '-' or '(' .. since .. '-0', '+'}
end
if limit > 0 then
  command[#command + 1] = 'COUNT'
  command[#command + 1] = limit
end
return {offset, epoch, redis.call(unpack(command))}
