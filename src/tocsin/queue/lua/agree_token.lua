-- Takes a token's place or returns the one that stands, in one step: of two offers
-- at once exactly one wins.
-- KEYS: token. ARGV: value, made at (ms), made after (ms), ttl (ms).
-- Returns {value, made at}.
local standing = redis.call('HMGET', KEYS[1], 'value', 'made_at_ms')
if standing[1] and tonumber(standing[2]) > tonumber(ARGV[3]) then
  return standing
end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'made_at_ms', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {ARGV[1], ARGV[2]}
