-- Denies a key until a time. A higher value that is there already stays.
-- KEYS: the key. ARGV: value, expire_at in Unix seconds or 0 for ever.
local value = tonumber(ARGV[1])
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known > value then
  value = known
end
-- SET also drops an expiry that was there: EXPIREAT gives the new one.
redis.call('SET', KEYS[1], string.format('%.0f', value))
if tonumber(ARGV[2]) > 0 then
  redis.call('EXPIREAT', KEYS[1], ARGV[2])
end
return 1
