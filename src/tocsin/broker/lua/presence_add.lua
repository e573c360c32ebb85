-- Puts or renews one entry of a channel.
-- KEYS: data, expiry. ARGV: client, info, now (s), ttl (s).
redis.call('ZADD', KEYS[2], ARGV[3] + ARGV[4], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
