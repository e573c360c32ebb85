-- Forgets consumers that hold nothing: the one that leaves, and those silent for
-- long. Looking and deleting are one step, since deleting a consumer that holds
-- entries would lose them.
-- KEYS: streams. ARGV: group, leaving consumer or '', least silence (ms).
for _, stream in ipairs(KEYS) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, ARGV[1])
  if not consumers.err then
    for _, flat in ipairs(consumers) do
      local about = {}
      for i = 1, #flat, 2 do
        about[flat[i]] = flat[i + 1]
      end
      local silent = ARGV[3] ~= '' and about.idle >= tonumber(ARGV[3])
      if about.pending == 0 and (about.name == ARGV[2] or silent) then
        redis.call('XGROUP', 'DELCONSUMER', stream, ARGV[1], about.name)
      end
    end
  end
end
return 1
