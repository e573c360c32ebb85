-- Takes back delayed jobs of one request. The move into the stream is one step
-- too, so of both exactly one gets each job.
-- KEYS: payload, account, changed accounts, then per queue: delayed set, delayed jobs.
-- ARGV: push id, for how long an ended account is kept (ms), then triples: number of
-- the queue from 0, member, change of the account.
-- Returns the jobs that were taken back.
local taken = {}
for at = 3, #ARGV, 3 do
  local k = 4 + 2 * tonumber(ARGV[at])
  local job = redis.call('HGET', KEYS[k + 1], ARGV[at + 1])
  if job then
    redis.call('ZREM', KEYS[k], ARGV[at + 1])
    redis.call('HDEL', KEYS[k + 1], ARGV[at + 1])
    taken[#taken + 1] = job
    account(KEYS[2], KEYS[3], ARGV[1], ARGV[at + 2])
  end
end
count_jobs(KEYS[1], KEYS[2], KEYS[3], ARGV[1], -#taken, ARGV[2])
return taken
