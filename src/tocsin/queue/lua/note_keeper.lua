-- Keeps the highest number of the send log's keeper. KEYS: it. ARGV: the number now.
-- Returns the highest one before.
local before = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) > before then
  redis.call('SET', KEYS[1], ARGV[1])
end
return before
