-- Takes over one entry or dead letter of another engine, once: the mark outlives a
-- move that broke off and begins anew.
-- KEYS: mark, payload, stream, delayed set, delayed jobs, sequence, scheduled, dead
-- letters, account, changed accounts.
-- ARGV: ttl of the mark (ms), 'entry' or 'letter', push id, then for an entry: job,
-- payload, due (ms, 0 = now), place to note or '', end of the noted places (ms), change
-- of the account, its generation or '', its fields and values; for a letter: queue,
-- letter, raw bytes, payload.
-- Returns 1 taken, 0 taken before, or queued again here meanwhile.
if not redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX') then
  return 0
end
if ARGV[2] == 'letter' then
  redis.call('XADD', KEYS[8], '*', 'queue', ARGV[4], 'push', ARGV[3],
    'letter', ARGV[5], 'raw', ARGV[6], 'payload', ARGV[7])
  return 1
end
local push_id, job, due = ARGV[3], ARGV[4], ARGV[6]
if ARGV[10] ~= '' then
  local generation = redis.call('HGET', KEYS[9], 'g')
  if not generation then
    for field = 11, #ARGV, 2 do
      redis.call('HSET', KEYS[9], ARGV[field], ARGV[field + 1])
    end
    redis.call('SADD', KEYS[10], push_id)
  elseif generation ~= ARGV[10] then
    return 0
  end
  account(KEYS[9], KEYS[10], push_id, ARGV[9])
end
if ARGV[5] ~= '' then
  -- Another entry of the same request may have brought it.
  redis.call('HSETNX', KEYS[2], 'body', ARGV[5])
end
redis.call('HINCRBY', KEYS[2], 'jobs', 1)
if due == '0' then
  redis.call('XADD', KEYS[3], '*', 'push', push_id, 'job', job)
  return 1
end
local member = redis.call('INCR', KEYS[6]) .. ':' .. push_id
redis.call('HSET', KEYS[5], member, job)
redis.call('ZADD', KEYS[4], due, member)
if ARGV[7] ~= '' then
  redis.call('RPUSH', KEYS[7], ARGV[7] .. '|' .. member)
  redis.call('PEXPIREAT', KEYS[7], ARGV[8])
end
return 1
