-- KEYS: done. ARGV: base, limit. Answers how many it was.
return clear(ARGV[2], KEYS[1], ARGV[1])
