-- Takes a token's place or returns the one that stands, in one step: of two offers
-- at once exactly one wins.
-- One that was made later than this server's now allows comes from a wrong clock: it
-- stands for nobody, and an offer like that is handed back.
-- KEYS: token. ARGV: value, made at (ms), made after (ms), ttl (ms), most that it may
-- be ahead (ms). Returns {value, made at}.
local time = redis.call('TIME')
local latest = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5]
local standing = redis.call('HMGET', KEYS[1], 'value', 'made_at_ms')
local made_at = tonumber(standing[2])
if made_at and made_at > tonumber(ARGV[3]) and made_at <= latest then
  return standing
end
if tonumber(ARGV[2]) > latest then
  return {ARGV[1], ARGV[2]}
end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'made_at_ms', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {ARGV[1], ARGV[2]}
