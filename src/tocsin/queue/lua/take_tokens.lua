-- Takes a token for each key in turn, from all its buckets or from none. A bucket
-- is the moment (us) at which it is full again; core/rates.py is the same in Python.
-- KEYS: one per token wanted; each holds the buckets of all limits.
-- ARGV: now (us, '' = the clock of this server), then per limit: us per token, us from empty to full.
-- Returns per key 0, or the ms from which it may be tried again.
local now, answers = tonumber(ARGV[1]), {}
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
for k, key in ipairs(KEYS) do
  local stored, states = redis.call('GET', key), {}
  if stored then
    for number in string.gmatch(stored, '[^,]+') do
      states[#states + 1] = tonumber(number)
    end
  end
  local allowed, latest = 0, 0
  for at = 2, #ARGV, 2 do
    local n, spacing, fill = at / 2, tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local after = math.max(states[n] or 0, now) + spacing
    states[n] = after
    if after - now > fill then
      allowed = math.max(allowed, after - fill)
    end
    latest = math.max(latest, after)
  end
  if allowed == 0 then
    for n, state in ipairs(states) do
      -- Lua's own text of a number this large would lose digits.
      states[n] = string.format('%.0f', state)
    end
    redis.call('SET', key, table.concat(states, ','), 'PX', math.ceil((latest - now) / 1000))
  end
  answers[k] = math.ceil(allowed / 1000)
end
return answers
