-- Renews the hold on entries that this consumer still has; a worker that stalled
-- must not take back what was handed to another meanwhile. That worker lives, so
-- the hand-out to the other is not counted: only deaths make a job poison.
-- KEYS: streams. ARGV: group, consumer, then pairs: number of stream from 1, id.
-- Returns the positions (from 0) of the pairs that were lost.
local group, consumer, lost = ARGV[1], ARGV[2], {}
for at = 3, #ARGV, 2 do
  local stream, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  -- A missing group has no holders either.
  local held = redis.pcall('XPENDING', stream, group, id, id, 1)
  if not held.err and held[1] and held[1][2] == consumer then
    -- JUSTID: the hold is new, and the count stays.
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
  else
    if not held.err and held[1] and held[1][4] > 1 then
      -- For its new holder and with its own idle time: only the count changes.
      redis.call('XCLAIM', stream, group, held[1][2], 0, id, 'IDLE', held[1][3],
        'RETRYCOUNT', held[1][4] - 1, 'JUSTID')
    end
    lost[#lost + 1] = (at - 3) / 2
  end
end
return lost
