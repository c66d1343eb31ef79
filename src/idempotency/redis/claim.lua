-- KEYS: record, open, done, fence. ARGV: id, base, fingerprint, owner, lease, policy.
-- Answers what was found, the answer or false, and two numbers.
local id, base, fingerprint, owner = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('HMGET', KEYS[1], 'state', 'fingerprint', 'owner', 'fence', 'phase', 'ends_at')
local state, ends_at = held[1], tonumber(held[6])

local function lease()
    redis.call('HSET', KEYS[1], 'ends_at', now + ARGV[5])
    redis.call('ZADD', KEYS[2], now + ARGV[5], id)
end

local function start(phase)
    -- First, because a server without memory refuses it, and after the first write it would refuse nothing.
    local fence = redis.call('INCR', KEYS[4])
    -- More than one, so that what is over cannot pile up.
    clear(2, KEYS[3], base)
    redis.call('ZREM', KEYS[3], id)
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'state', 'in progress', 'fingerprint', fingerprint, 'owner', owner,
        'fence', fence, 'phase', phase)
    lease()
    return {'granted', false, fence, tonumber(phase)}
end

if not state or (state == 'done' and ends_at <= now) then
    return start(0)
elseif held[2] ~= fingerprint then
    return {'mismatch', false, 0, 0}
elseif state == 'done' then
    return {'done', redis.call('HGET', KEYS[1], 'answer'), 0, 0}
elseif state == 'in doubt' then
    return {'in doubt', false, 0, 0}
elseif held[3] == owner then
    let_pass()
    lease()
    return {'granted', false, tonumber(held[4]), tonumber(held[5])}
elseif ends_at > now then
    return {'in progress', false, ends_at - now, 0}
elseif ARGV[6] == 'in doubt' then
    let_pass()
    redis.call('HSET', KEYS[1], 'state', 'in doubt')
    return {'in doubt', false, 0, 0}
else
    return start(ARGV[6] == 'resume' and held[5] or 0)
end
