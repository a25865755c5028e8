-- heartbeat.lua - a registration's lease: begun, prolonged, ended; and what it has to know of the
-- others.
--
-- KEYS     instances, instance:<name>, leaving, reaped, pulse, events:<name>, arriving, then
--          events:<earlier> for each earlier registration of this process
-- ARGV     mode, name, lease in ms, gap in ms, calm in ms, the last complete registration before
--          this one or "", then two for each earlier one: name, "end" or "keep"
--          mode: "begin" makes the lease, "beat" prolongs it if it still runs, "end" ends it
-- Returns  { 1 when the lease runs or 0, connections of the registration, now,
--            what became of the last one: 0 it stands, 1 others clean up after it, 2 no trace of it,
--            n, n names whose leases have ended, m, m events to raise, users due to be offline... }
--
-- An event is "<when> +<user>" or "<when> -<user>". It stands in events:<name> until whoever had it
-- decided has raised it and removes it: so a reply that was lost loses none.
--
-- When Redis has been silent for longer than `gap`, or has lost its memory, others may be on their
-- way back: until calm_until nobody is called dead or away, and who lost their lease after silent_since
-- still counts. Until forgot_until nobody is called new, either (track.lua).
local DEAD_MAX, EVENTS_MAX, DUE_MAX = 10, 200, 100
local STANDS, REAPED, FORGOTTEN = 0, 1, 2
local KEYS_BEFORE, ARGV_BEFORE = 7, 6
local instances, held, leaving, reaped, pulse = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, arriving = KEYS[6], KEYS[7]
local mode, name, lease, gap, calm = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local last = ARGV[6]

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 1, #KEYS - KEYS_BEFORE do
    local from, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + 2 * i - 1
    if ARGV[at + 1] == "end" then redis.call("ZADD", instances, "XX", 0, ARGV[at]) end
    local moved = redis.call("ZRANGE", from, 0, -1, "WITHSCORES")
    for j = 1, #moved, 2 do redis.call("ZADD", events, moved[j + 1], moved[j]) end
    if #moved > 0 then redis.call("DEL", from) end
end

local fate = STANDS
if last ~= "" and not redis.call("ZSCORE", instances, last) then
    fate = redis.call("ZSCORE", reaped, last) and REAPED or FORGOTTEN
end

local ends = redis.call("ZSCORE", instances, name)
local runs = mode == "begin" or mode == "beat" and ends and tonumber(ends) > now
if runs then
    redis.call("ZADD", instances, now + lease, name)
elseif mode == "end" then
    redis.call("ZADD", instances, "XX", 0, name)
end

local at, calm_until = unpack(redis.call("HMGET", pulse, "at", "calm_until"))
calm_until = tonumber(calm_until or 0)
local gone = mode == "beat" and not ends and not redis.call("ZSCORE", reaped, name)
local forgot = fate == FORGOTTEN or gone
local silent = at and now - at > gap
if forgot or silent then
    if now >= calm_until then redis.call("HSET", pulse, "silent_since", at or now) end
    calm_until = now + calm
    redis.call("HSET", pulse, "calm_until", calm_until)
    if forgot then redis.call("HSET", pulse, "forgot_until", calm_until) end
end
redis.call("HSET", pulse, "at", now)

local reply = { runs and 1 or 0, redis.call("HLEN", held), now, fate, 0 }
if now >= calm_until then
    for _, other in ipairs(redis.call("ZRANGEBYSCORE", instances, "-inf", now, "LIMIT", 0, DEAD_MAX)) do
        if other ~= name then
            reply[#reply + 1] = other
            reply[5] = reply[5] + 1
        end
    end
end
local raise = redis.call("ZRANGE", events, 0, EVENTS_MAX - 1)
reply[#reply + 1] = #raise
for _, event in ipairs(raise) do reply[#reply + 1] = event end
if now >= calm_until then
    for _, due in ipairs { arriving, leaving } do
        for _, user in ipairs(redis.call("ZRANGEBYSCORE", due, "-inf", now, "LIMIT", 0, DUE_MAX)) do
            reply[#reply + 1] = user
        end
    end
end
return reply
