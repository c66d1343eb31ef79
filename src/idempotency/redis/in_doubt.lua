-- KEYS: open. ARGV: base, limit. Answers id, fence, last checkpoint and age of each, oldest first.
local doubts = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
    local held = redis.call('HMGET', ARGV[1] .. id, 'fence', 'phase', 'ends_at')
    doubts[#doubts + 1] = {id, tonumber(held[1]), tonumber(held[2]), now - held[3]}
end
return doubts
