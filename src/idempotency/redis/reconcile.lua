-- KEYS: record, open, done. ARGV: id, fence, verdict, retention, 'answer' and the answer or neither.
-- Answers 1, or 0 where this claim is not in doubt.
local held = redis.call('HMGET', KEYS[1], 'state', 'fence', 'ends_at')
local doubted = held[1] == 'in doubt' or (held[1] == 'in progress' and tonumber(held[3]) <= now)
if not doubted or held[2] ~= ARGV[2] then
    return 0
end

if ARGV[3] == 'absent' then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
else
    let_pass()
    finish(ARGV[1], ARGV[4], 5)
    redis.call('HDEL', KEYS[1], 'owner')
end
return 1
