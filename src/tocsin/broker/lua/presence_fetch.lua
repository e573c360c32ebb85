-- Reads a channel's entries after dropping those that were not renewed in time.
-- KEYS: data, expiry. Time is that of this server: a node whose clock is ahead must
-- not drop what others keep. Returns client, info, client, info, …
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '0', redis.call('TIME')[1])
-- In parts: unpack has a limit on how many values it returns.
for at = 1, #over, 1000 do
  local some = {unpack(over, at, math.min(at + 999, #over))}
  redis.call('HDEL', KEYS[1], unpack(some))
  redis.call('ZREM', KEYS[2], unpack(some))
end
return redis.call('HGETALL', KEYS[1])
