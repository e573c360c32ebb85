-- Tells which data this is and how much it has accepted; the name is given with the
-- first question, so that whoever emptied the server also took it.
-- KEYS: origin, sequence. ARGV: a fresh name.
-- Returns {name, number}.
local name = redis.call('GET', KEYS[1])
if not name then
  redis.call('SET', KEYS[1], ARGV[1])
  name = ARGV[1]
end
return {name, tonumber(redis.call('GET', KEYS[2]) or '0')}
