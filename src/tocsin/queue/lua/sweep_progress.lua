-- Drops progress that was recorded after its entry had been settled; a record
-- that is still pending stays.
-- KEYS: progress, then streams. ARGV: group, then triples: number of stream from
-- 1, entry id, receipt. Returns how many were dropped.
local dropped = 0
for at = 2, #ARGV, 3 do
  local held = redis.pcall('XPENDING', KEYS[1 + tonumber(ARGV[at])], ARGV[1],
    ARGV[at + 1], ARGV[at + 1], 1)
  if held.err or not held[1] then
    dropped = dropped + redis.call('HDEL', KEYS[1], ARGV[at + 2])
  end
end
return dropped
