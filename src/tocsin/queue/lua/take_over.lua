-- Claims entries whose holder has been silent for too long, with the progress
-- that it recorded; one step, so that two workers never claim the same silence.
-- KEYS: progress, then the streams.
-- ARGV: group, consumer, least idle (ms), limit, then per stream its queue name.
-- Returns {{queue number, entry id, fields, deliveries, progress or nil}, …};
-- fields are empty for an entry that a foreign hand deleted from its stream.
local group, consumer, idle_ms = ARGV[1], ARGV[2], ARGV[3]
local left, streams = tonumber(ARGV[4]), #KEYS - 1
local entries = {}
for q = 1, streams do
  local stream = KEYS[q + 1]
  local want = math.ceil(left / (streams - q + 1))
  -- A missing group is no error: nobody holds anything there.
  local silent = want > 0
    and redis.pcall('XPENDING', stream, group, 'IDLE', idle_ms, '-', '+', want) or {}
  if silent.err then
    if not string.find(silent.err, 'NOGROUP', 1, true) then
      return silent
    end
    silent = {}
  end
  for _, held in ipairs(silent) do
    local id = held[1]
    local claimed = redis.call('XCLAIM', stream, group, consumer, idle_ms, id)
    -- Nothing comes back for an entry that is no longer in its stream.
    if claimed[1] then
      -- held[4] is from before the claim, which has counted one more.
      local done = redis.call('HGET', KEYS[1], ARGV[4 + q] .. '|' .. id)
      entries[#entries + 1] = {q - 1, id, claimed[1][2], held[4] + 1, done}
      left = left - 1
    else
      redis.call('XACK', stream, group, id)
      entries[#entries + 1] = {q - 1, id, {}, held[4] + 1, false}
    end
  end
end
return entries
