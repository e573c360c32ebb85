-- Publishes once, in one step: idempotency, epoch, version, offset, history,
-- fan-out. No two publishes of a channel can be seen in different orders.
-- KEYS: stream, meta, result of the idempotency key.
-- ARGV: pub/sub channel, publication, history size (0 = none), history ttl (s),
-- meta ttl (s), epoch for a new stream, result ttl (s, 0 = no key), version,
-- version epoch, 1 for delta.
-- Returns {offset, epoch, reason}: reason 0 published, 1 idempotency, 2 version.
local result_ttl = tonumber(ARGV[7])
if result_ttl > 0 then
  local known = redis.call('HMGET', KEYS[3], 's', 'e')
  if known[1] then
    return {known[1], known[2], 1}
  end
end

-- Versions are 64-bit: as numbers of this language they would lose digits.
local function not_newer(version, stored)
  if #version ~= #stored then
    return #version < #stored
  end
  return version <= stored
end

local offset, epoch = '0', ''
if tonumber(ARGV[3]) > 0 then
  epoch = redis.call('HGET', KEYS[2], 'e')
  if not epoch then
    epoch = ARGV[6]
    redis.call('HSET', KEYS[2], 'e', epoch)
  end
  if ARGV[8] ~= '0' then
    local stored = redis.call('HMGET', KEYS[2], 'v', 've', 's')
    local same = ARGV[9] == '' or ARGV[9] == stored[2]
    if stored[1] and same and not_newer(ARGV[8], stored[1]) then
      return {stored[3] or '0', epoch, 2}
    end
    redis.call('HSET', KEYS[2], 'v', ARGV[8], 've', ARGV[9])
  end
  offset = redis.call('HINCRBY', KEYS[2], 's', 1)
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  local before = ''
  if offset == 1 then
    -- The meta was forgotten: what an older life left has other offsets.
    redis.call('DEL', KEYS[1])
  elseif ARGV[10] == '1' then
    local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
    before = last[1] and last[1][2][2] or ''
  end
  -- The id is the offset, so a position is read straight from the stream.
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], offset .. '-0', 'd', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  local head
  if before ~= '' then
    head = '__d1:' .. offset .. ':' .. epoch .. ':' .. #before .. ':' .. before
      .. ':' .. #ARGV[2] .. ':'
  else
    head = '__p1:' .. offset .. ':' .. epoch .. '__'
  end
  redis.call('PUBLISH', ARGV[1], head .. ARGV[2])
else
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end

if result_ttl > 0 then
  redis.call('HSET', KEYS[3], 's', offset, 'e', epoch)
  redis.call('EXPIRE', KEYS[3], result_ttl)
end
return {tostring(offset), epoch, 0}
