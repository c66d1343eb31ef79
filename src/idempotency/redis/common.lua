-- Stands before each script. Time is the server's, in milliseconds since 1970.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A server without memory left refuses the first write of a script if that takes memory, and none after it: this one takes none.
-- So what is known goes on and can end, and only new keys are refused.
local function let_pass()
    redis.call('HDEL', KEYS[1], '')
end

-- Forgets at most `limit` of the outcomes whose retention is over.
local function clear(limit, done, base)
    local over = redis.call('ZRANGEBYSCORE', done, '-inf', now, 'LIMIT', 0, limit)
    for _, id in ipairs(over) do
        redis.call('DEL', base .. id)
        redis.call('ZREM', done, id)
    end
    return #over
end

-- Keeps the outcome that stands in ARGV at `from`, with its name before it; nothing there is a tombstone.
local function finish(id, retention, from)
    redis.call('HSET', KEYS[1], 'state', 'done', 'ends_at', now + retention, unpack(ARGV, from))
    redis.call('ZREM', KEYS[2], id)
    redis.call('ZADD', KEYS[3], now + retention, id)
end
