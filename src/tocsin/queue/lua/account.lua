-- The account of a send, for the scripts that end or begin work: this text stands
-- before theirs. core/accounts.py says what its parts mean, and does the same in
-- Python. The fields of the hash:
--   g generation, v version, m matched, e 1 once no work is left, n entries unread
--   p:<part>  recipients that ended      k:<how>  walks that ended unread
--   w:<walk>  page, cursor, until        o:<unit> open, s:<unit> start and until,
--   x:<unit>:<part> those of a unit that ended while others of it are open
local PARTS = {'delivered', 'unconfirmed', 'removed', 'expired', 'cancelled',
  'dropped', 'online', 'dead_lettered'}

-- Makes a change, given as JSON with fields like those above, in the account at `key`;
-- sends of older releases have none. `changed` is the set of accounts to be read.
local function account(key, changed, push_id, text)
  if text == '' or redis.call('EXISTS', key) == 0 then
    return
  end
  local change, open = cjson.decode(text), nil
  redis.call('HINCRBY', key, 'v', 1)
  if change.m then
    redis.call('HINCRBY', key, 'm', change.m)
  end
  if change.n then
    redis.call('HINCRBY', key, 'n', change.n)
  end
  if change.u then
    open = redis.call('HINCRBY', key, 'o:' .. change.u, change.o)
    if change.s then
      redis.call('HSET', key, 's:' .. change.u, change.s)
    end
  end
  for part, number in pairs(change.p or {}) do
    redis.call('HINCRBY', key, 'p:' .. part, number)
    if open and open ~= 0 then
      redis.call('HINCRBY', key, 'x:' .. change.u .. ':' .. part, number)
    end
  end
  if open == 0 then
    local gone = {'o:' .. change.u, 's:' .. change.u}
    for _, part in ipairs(PARTS) do
      gone[#gone + 1] = 'x:' .. change.u .. ':' .. part
    end
    redis.call('HDEL', key, unpack(gone))
  end
  if change.w then
    if change.g then
      redis.call('HSET', key, 'w:' .. change.w, change.g)
    else
      redis.call('HDEL', key, 'w:' .. change.w)
    end
    if change.k then
      redis.call('HINCRBY', key, 'k:' .. change.k, change.c)
    end
  end
  redis.call('SADD', changed, push_id)
end

-- Counts jobs of a payload up or down. The payload goes with the last one, and the
-- account is marked as ended; whoever reads it takes it away, or it goes by itself.
local function count_jobs(payload, key, changed, push_id, number, kept_ms)
  -- HINCRBY alone would make a payload that is gone anew, without a body.
  if number == 0 or redis.call('EXISTS', payload) == 0 then
    return
  end
  if redis.call('HINCRBY', payload, 'jobs', number) <= 0 then
    redis.call('DEL', payload)
    if redis.call('EXISTS', key) == 1 then
      redis.call('HSET', key, 'e', 1)
      redis.call('HINCRBY', key, 'v', 1)
      redis.call('PEXPIRE', key, kept_ms)
      redis.call('SADD', changed, push_id)
    end
  end
end

