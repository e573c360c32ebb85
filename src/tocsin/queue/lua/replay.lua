-- Puts a dead letter back to work with its payload; deleting it first in the same
-- step decides between two operators who replay the same letter.
-- KEYS: dead letters, payload, stream, account, changed accounts.
-- ARGV: letter id, push id, job, payload, change of the account, a fresh generation.
-- Returns 1 replayed, 0 no such letter.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'body', ARGV[4])
end
redis.call('HINCRBY', KEYS[2], 'jobs', 1)
if ARGV[5] ~= '' then
  -- The account may be closed and gone: then this work is counted anew, beside it.
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('HSET', KEYS[4], 'g', ARGV[6])
  end
  redis.call('HDEL', KEYS[4], 'e')
  redis.call('PERSIST', KEYS[4])
  account(KEYS[4], KEYS[5], ARGV[2], ARGV[5])
end
redis.call('XADD', KEYS[3], '*', 'push', ARGV[2], 'job', ARGV[3])
return 1
