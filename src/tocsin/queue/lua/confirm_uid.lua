-- Marks a claim as accepted; one that expired meanwhile stays gone, since a field
-- alone would be a claim of nobody without an end.
-- KEYS: uid. ARGV: epoch of the queue that has its work.
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'accepted', '1', 'epoch', ARGV[1])
end
return 1
