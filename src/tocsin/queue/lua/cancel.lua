-- Takes back delayed jobs of one request. The move into the stream is one step
-- too, so of both exactly one gets each job.
-- KEYS: payload, then per queue: delayed set, delayed jobs.
-- ARGV: pairs: number of the queue from 0, member.
-- Returns the jobs that were taken back.
local taken = {}
for at = 1, #ARGV, 2 do
  local k = 2 + 2 * tonumber(ARGV[at])
  local job = redis.call('HGET', KEYS[k + 1], ARGV[at + 1])
  if job then
    redis.call('ZREM', KEYS[k], ARGV[at + 1])
    redis.call('HDEL', KEYS[k + 1], ARGV[at + 1])
    taken[#taken + 1] = job
  end
end
-- HINCRBY alone would make a payload that is gone anew, without a body.
if #taken > 0 and redis.call('EXISTS', KEYS[1]) == 1
  and redis.call('HINCRBY', KEYS[1], 'jobs', -#taken) <= 0 then
  redis.call('DEL', KEYS[1])
end
return taken
