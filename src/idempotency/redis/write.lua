-- KEYS: record, open, done. ARGV: id, owner, what, a number, 'answer' and the answer or neither.
-- Answers 1, or 0 where the claim is not the owner's.
local id, owner, what, number = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('HMGET', KEYS[1], 'state', 'owner', 'ends_at')
local state = held[1]

if held[2] ~= owner then
    return 0
elseif state ~= 'in progress' then
    -- The same again is fine.
    local again = (what == 'doubt' and state == 'in doubt')
        or (what == 'complete' and state == 'done' and tonumber(held[3]) > now)
    return again and 1 or 0
end

let_pass()
if what == 'renew' then
    redis.call('HSET', KEYS[1], 'ends_at', now + number)
    redis.call('ZADD', KEYS[2], now + number, id)
elseif what == 'checkpoint' then
    redis.call('HSET', KEYS[1], 'phase', number)
elseif what == 'doubt' then
    redis.call('HSET', KEYS[1], 'state', 'in doubt', 'ends_at', now)
    redis.call('ZADD', KEYS[2], now, id)
elseif what == 'release' then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], id)
else
    finish(id, number, 5)
end
return 1
