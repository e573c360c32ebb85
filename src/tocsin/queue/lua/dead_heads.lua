-- Reads dead letters without their payloads, of which only the beginning is told: a
-- payload may be long, and a look at all letters must not move all of them.
-- KEYS: dead letters. ARGV: first id, last id, most, bytes of the payload.
-- Returns {{id, queue, push id, letter, beginning of the payload}, …}.
local heads = {}
for at, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local fields = {}
  for i = 1, #entry[2], 2 do
    fields[entry[2][i]] = entry[2][i + 1]
  end
  heads[at] = {entry[1], fields.queue, fields.push, fields.letter,
    string.sub(fields.payload, 1, tonumber(ARGV[4]))}
end
return heads
