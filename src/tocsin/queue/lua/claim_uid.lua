-- Takes a uid or returns the claim that stands, in one step: of two first claims
-- at once exactly one wins.
-- KEYS: uid. ARGV: fingerprint, push id, ttl (ms).
-- Returns {fingerprint, push id, '1' if accepted, epoch of the queue or nil}.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'push', ARGV[2], 'accepted', '0')
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'fingerprint', 'push', 'accepted', 'epoch')
