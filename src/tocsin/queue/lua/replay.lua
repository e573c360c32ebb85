-- Puts a dead letter back to work with its payload; deleting it first in the same
-- step decides between two operators who replay the same letter.
-- KEYS: dead letters, payload, stream. ARGV: letter id, push id, job, payload.
-- Returns 1 replayed, 0 no such letter.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'body', ARGV[4])
end
redis.call('HINCRBY', KEYS[2], 'jobs', 1)
redis.call('XADD', KEYS[3], '*', 'push', ARGV[2], 'job', ARGV[3])
return 1
