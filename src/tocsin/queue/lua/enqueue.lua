-- Accepts a request whole or not at all: the once marker, the backlog limit, the
-- payload and every job in one step, so that a crash leaves nothing half stored.
-- KEYS: once marker, payload, then per queue: stream, delayed set.
-- ARGV: once ttl (ms, 0 = no marker), push id, payload, limit, then per queue:
-- the number of its jobs and their bytes.
-- Returns 1 accepted, 0 accepted earlier, -1 a queue is full.
local once_ttl_ms, limit = tonumber(ARGV[1]), tonumber(ARGV[4])
if once_ttl_ms > 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end

local total, at = 0, 5
for k = 3, #KEYS, 2 do
  local count = tonumber(ARGV[at])
  local unfinished = redis.call('XLEN', KEYS[k]) + redis.call('ZCARD', KEYS[k + 1])
  if unfinished + count > limit then
    return -1
  end
  total, at = total + count, at + count + 1
end

if once_ttl_ms > 0 then
  redis.call('SET', KEYS[1], '1', 'PX', once_ttl_ms)
end
if total > 0 then
  redis.call('HSET', KEYS[2], 'body', ARGV[3])
  redis.call('HINCRBY', KEYS[2], 'jobs', total)
end
at = 5
for k = 3, #KEYS, 2 do
  local count = tonumber(ARGV[at])
  for job = at + 1, at + count do
    redis.call('XADD', KEYS[k], '*', 'push', ARGV[2], 'job', ARGV[job])
  end
  at = at + count + 1
end
return 1
