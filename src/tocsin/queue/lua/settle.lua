-- Ends a delivery and adds what follows from it in one step. The first who
-- settles wins: XACK counts only for an entry that is still pending.
-- KEYS: stream, progress, payload, dead letters, sequence, account, changed accounts,
-- then per queue that follows: stream, delayed set, delayed jobs.
-- ARGV: group, entry id, receipt, push id, change of the account, for how long an ended
-- account is kept (ms), number of jobs that follow, per job:
-- number of its queue from 0, due (ms, 0 = now), bytes; then per dead letter:
-- queue, letter, raw bytes.
-- Returns 1 settled, 0 somebody else settled before.
local group, id, push_id, follow = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[7])
if redis.call('XACK', KEYS[1], group, id) == 0 then
  return 0
end
redis.call('XDEL', KEYS[1], id)
redis.call('HDEL', KEYS[2], ARGV[3])

local at = 8
for _ = 1, follow do
  local k, due, job = 8 + 3 * tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  if due == '0' then
    redis.call('XADD', KEYS[k], '*', 'push', push_id, 'job', job)
  else
    local member = redis.call('INCR', KEYS[5]) .. ':' .. push_id
    redis.call('HSET', KEYS[k + 2], member, job)
    redis.call('ZADD', KEYS[k + 1], due, member)
  end
  at = at + 3
end

if at <= #ARGV then
  -- Copied before the count below may delete it.
  local payload = redis.call('HGET', KEYS[3], 'body') or ''
  while at <= #ARGV do
    redis.call('XADD', KEYS[4], '*', 'queue', ARGV[at], 'push', push_id,
      'letter', ARGV[at + 1], 'raw', ARGV[at + 2], 'payload', payload)
    at = at + 3
  end
end

account(KEYS[6], KEYS[7], push_id, ARGV[5])
count_jobs(KEYS[3], KEYS[6], KEYS[7], push_id, follow - 1, ARGV[6])
return 1
