-- Takes back one hand-out of these entries, whoever holds them; how long they were
-- not renewed stays as it is.
-- KEYS: streams. ARGV: group, then pairs: number of stream from 1, id.
local group = ARGV[1]
for at = 2, #ARGV, 2 do
  local stream, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  local held = redis.pcall('XPENDING', stream, group, id, id, 1)
  if not held.err and held[1] and held[1][4] > 1 then
    -- For its own holder and with its own idle time: only the count changes.
    redis.call('XCLAIM', stream, group, held[1][2], 0, id, 'IDLE', held[1][3],
      'RETRYCOUNT', held[1][4] - 1, 'JUSTID')
  end
end
return 1
