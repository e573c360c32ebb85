-- Counts what nobody holds; one step, so that a job on its way from the delayed
-- set into the stream is counted once.
-- KEYS: per queue: stream, delayed set. ARGV: group, now (ms; '' = the clock of this
-- server; '+inf' counts also what is due later). Returns one count per queue.
local counts, now = {}, ARGV[2]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
for k = 1, #KEYS, 2 do
  local held = redis.pcall('XPENDING', KEYS[k], ARGV[1])
  counts[#counts + 1] = redis.call('XLEN', KEYS[k])
    + redis.call('ZCOUNT', KEYS[k + 1], '-inf', now)
    - (held.err and 0 or held[1])
end
return counts
