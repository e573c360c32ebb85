-- Reads several accounts in one round trip, each in one piece.
-- KEYS: the accounts. Returns the fields and values of each, empty where there is none.
local found = {}
for k, key in ipairs(KEYS) do
  found[k] = redis.call('HGETALL', key)
end
return found
