-- Takes accounts that were read, in the state in which they were read, off the list of
-- changed ones; ended ones are forgotten if the reader asks for that.
-- KEYS: changed accounts, then the accounts. ARGV: per account: push id, version, 1 to
-- forget it once it has ended.
-- Returns how many had not changed meanwhile.
local settled = 0
for k = 2, #KEYS do
  local at = 3 * k - 5
  local push_id, version = ARGV[at], ARGV[at + 1]
  local now = redis.call('HGET', KEYS[k], 'v')
  if not now or now == version then
    redis.call('SREM', KEYS[1], push_id)
    settled = settled + 1
    if now and ARGV[at + 2] == '1' and redis.call('HGET', KEYS[k], 'e') then
      redis.call('DEL', KEYS[k])
    end
  end
end
return settled
