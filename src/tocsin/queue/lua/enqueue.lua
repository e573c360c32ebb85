-- Accepts a request whole or not at all: the once marker, the backlog limit, the
-- payload and every job in one step, so that a crash leaves nothing half stored.
-- Jobs that are due later wait beside their streams; where they are is written
-- down under the uid, for the one who takes them back.
-- An account says that the request is accepted, too: so what is queued again after a
-- loss is queued once. One that comes without jobs has ended: it was taken back.
-- KEYS: once marker, payload, sequence, scheduled, account, changed accounts, then per
-- queue: stream, delayed set, delayed jobs, and stream and delayed set of its retries,
-- which count too.
-- ARGV: once ttl (ms, 0 = no marker), push id, payload, limit, due (ms, 0 = now),
-- end of the written-down places (ms), number of fields and values of the account, these,
-- then per queue: its name, the number of its jobs and their bytes.
-- Returns the number of this request, from 1 on, or 0 accepted earlier, -1 a queue is
-- full. Numbers only rise: one that does not tells that data was lost.
local once_ttl_ms, limit, due = tonumber(ARGV[1]), tonumber(ARGV[4]), ARGV[5]
local first = 8 + tonumber(ARGV[7])
if redis.call('EXISTS', KEYS[1], KEYS[5]) > 0 then
  return 0
end

-- All limits before the first write: Redis does not roll a script back.
local total, at = 0, first
for k = 7, #KEYS, 5 do
  local count = tonumber(ARGV[at + 1])
  local unfinished = redis.call('XLEN', KEYS[k]) + redis.call('ZCARD', KEYS[k + 1])
    + redis.call('XLEN', KEYS[k + 3]) + redis.call('ZCARD', KEYS[k + 4])
  if unfinished + count > limit then
    return -1
  end
  total, at = total + count, at + count + 2
end

if once_ttl_ms > 0 then
  redis.call('SET', KEYS[1], '1', 'PX', once_ttl_ms)
end
for field = 8, first - 1, 2 do
  redis.call('HSET', KEYS[5], ARGV[field], ARGV[field + 1])
end
if first > 8 then
  redis.call('SADD', KEYS[6], ARGV[2])
end
-- A request without jobs counts, but has no payload to keep.
if total == 0 then
  return redis.call('INCR', KEYS[3])
end
redis.call('HSET', KEYS[2], 'body', ARGV[3])
redis.call('HINCRBY', KEYS[2], 'jobs', total)
at = first
for k = 7, #KEYS, 5 do
  local queue, count = ARGV[at], tonumber(ARGV[at + 1])
  for job = at + 2, at + count + 1 do
    if due == '0' then
      redis.call('XADD', KEYS[k], '*', 'push', ARGV[2], 'job', ARGV[job])
    else
      -- The number makes the member unique; the push id is read back from it.
      local member = redis.call('INCR', KEYS[3]) .. ':' .. ARGV[2]
      redis.call('HSET', KEYS[k + 2], member, ARGV[job])
      redis.call('ZADD', KEYS[k + 1], due, member)
      redis.call('RPUSH', KEYS[4], queue .. '|' .. member)
    end
  end
  at = at + count + 2
end
if due ~= '0' then
  redis.call('PEXPIREAT', KEYS[4], ARGV[6])
end
return redis.call('INCR', KEYS[3])
