-- Moves due delayed jobs into their streams, then reads new entries fairly: in
-- rounds of equal shares, so that a flooded queue cannot starve the others. Queues
-- that stand behind come after the rest, save for a share that is theirs. A
-- move is one step here, so no crash loses a job and no rival doubles it. A
-- missing group is made here too, at 0, so that entries written before the first
-- worker came are read; an error half-way would strand what was read before it.
-- KEYS: per queue: stream, delayed set, delayed jobs.
-- ARGV: group, consumer, now (ms, '' = the clock of this server), limit, most jobs
-- to move per queue, number of queues in front, entries kept for those behind.
-- Returns {ms until the next is due or -1, {{queue number, entry id, fields}, …}}.
local group, consumer, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local left, most = tonumber(ARGV[4]), ARGV[5]

local function move(stream, delayed, jobs)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.0f', now), 'LIMIT', 0, most)) do
    local job = redis.call('HGET', jobs, member)
    if job then
      redis.call('XADD', stream, '*', 'push', string.match(member, '^%d+:(.*)$'), 'job', job)
    end
    redis.call('ZREM', delayed, member)
    redis.call('HDEL', jobs, member)
  end
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  return head[2] and tonumber(head[2])
end

local function read(stream, count)
  local command = {'XREADGROUP', 'GROUP', group, consumer,
    'COUNT', count, 'STREAMS', stream, '>'}
  local reply = redis.pcall(unpack(command))
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    reply = redis.call(unpack(command))
  end
  return reply and reply[1][2] or {}
end

local next_due, front, behind = -1, {}, {}
for k = 1, #KEYS, 3 do
  local due = move(KEYS[k], KEYS[k + 1], KEYS[k + 2])
  if due and (next_due < 0 or due < next_due) then
    next_due = due
  end
  local side = (k - 1) / 3 < tonumber(ARGV[6]) and front or behind
  side[#side + 1] = k
end

local entries = {}
-- Reads at most `count` entries of these queues; returns those that may have more.
local function take(open, count)
  while count > 0 and #open > 0 do
    local share, still_open = math.max(1, math.floor(count / #open)), {}
    for _, k in ipairs(open) do
      local want = math.min(share, count)
      if want > 0 then
        local found = read(KEYS[k], want)
        for _, entry in ipairs(found) do
          entries[#entries + 1] = {(k - 1) / 3, entry[1], entry[2]}
        end
        count, left = count - #found, left - #found
        if #found == want then
          still_open[#still_open + 1] = k
        end
      else
        still_open[#still_open + 1] = k
      end
    end
    open = still_open
  end
  return open
end
behind = take(behind, math.min(left, tonumber(ARGV[7])))
take(front, left)
take(behind, left)
return {next_due < 0 and -1 or math.max(0, next_due - now), entries}
