-- Keeps one stream: removes it when idle, trims it, and says what is left. One call, so nothing can be written in between.
-- KEYS: the stream. ARGV: MAXLEN or MINID; ~ or =; entries, or milliseconds kept; milliseconds until idle.
-- Answers: trimmed, removed, exists, milliseconds that a stream which lost entries still holds (-1: it lost none).
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then return {0, 0, 0, -1} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local flat, info = redis.call('XINFO', 'STREAM', key), {}
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
local function clock(id) return tonumber(string.match(id, '^%d+')) end
local last = clock(info['last-generated-id'])
-- Ids that are no times (XADD with an explicit small id) say nothing about age: such a stream is neither idle nor old.
local timed = last > 1000000000000
local idle = tonumber(ARGV[4])
if timed and last + idle <= now then
  redis.call('UNLINK', key)
  return {0, 1, 0, -1}
end
-- A gateway sets an expiry when it publishes. Where others have written since, it would end a living room: this sweep does the job then.
if timed then
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 and now + ttl < last + idle - 1000 then redis.call('PERSIST', key) end
end
local trimmed = 0
if ARGV[1] == 'MAXLEN' then
  trimmed = redis.call('XTRIM', key, 'MAXLEN', ARGV[2], ARGV[3])
elseif timed then
  trimmed = redis.call('XTRIM', key, 'MINID', ARGV[2], string.format('%.0f', now - ARGV[3]))
end
local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
local added = info['entries-added'] or (info['length'] + trimmed)
local holds = -1
if timed and first and (trimmed > 0 or added > info['length']) then holds = now - clock(first[1]) end
return {trimmed, 0, 1, holds}
