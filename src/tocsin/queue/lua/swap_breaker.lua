-- Replaces a field of the hash of breakers, if it is still as the caller knows it.
-- KEYS: the hash. ARGV: the field, what it has to be, what it becomes; an empty text
-- stands for no field.
local before = redis.call('HGET', KEYS[1], ARGV[1])
if (before or '') ~= ARGV[2] then
    return 0
end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
