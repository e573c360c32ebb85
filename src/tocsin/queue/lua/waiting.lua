-- Counts what nobody holds; one step, so that a job on its way from the delayed
-- set into the stream is counted once.
-- KEYS: per queue: stream, delayed set. ARGV: group, now (ms; '+inf' counts also
-- what is due later). Returns one count per queue.
local counts = {}
for k = 1, #KEYS, 2 do
  local held = redis.pcall('XPENDING', KEYS[k], ARGV[1])
  counts[#counts + 1] = redis.call('XLEN', KEYS[k])
    + redis.call('ZCOUNT', KEYS[k + 1], '-inf', ARGV[2])
    - (held.err and 0 or held[1])
end
return counts
