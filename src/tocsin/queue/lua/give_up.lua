-- Forgets one entry that another engine has now; payload and account go with the last.
-- KEYS: stream, progress, payload, delayed set, delayed jobs, account, changed accounts.
-- ARGV: group, 'stream' or 'delayed', entry id or member, receipt, push id.
-- Returns how many were forgotten.
local gone
if ARGV[2] == 'delayed' then
  gone = redis.call('HDEL', KEYS[5], ARGV[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
else
  redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[3])
  gone = redis.call('XDEL', KEYS[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[4])
end
-- HINCRBY alone would make a payload that is gone anew, without a body.
if gone > 0 and redis.call('EXISTS', KEYS[3]) == 1
  and redis.call('HINCRBY', KEYS[3], 'jobs', -gone) <= 0 then
  redis.call('DEL', KEYS[3], KEYS[6])
  redis.call('SREM', KEYS[7], ARGV[5])
end
return gone
