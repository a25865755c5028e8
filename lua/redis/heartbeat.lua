-- heartbeat.lua - the lease of a registration: begin, renew, end; and the work that it has to do for
-- the cluster.
--
-- KEYS     instances, instance:<name>, leaving, reaped, pulse, events:<name>, arriving, restoring,
--          then events:<earlier> for each earlier registration of this process
-- ARGV     mode, name, "1" when it is complete or "", lease in ms, gap in ms, hold back in ms, the
--          last complete registration before this one or "", how many registrations lived when this
--          process last saw all instances, then two for each earlier one: name, "end" or "keep"
--          mode: "begin" creates the lease, "beat" renews it if it still runs, "end" ends it
-- Returns  { 1 when the lease runs or 0, connections of the registration,
--            the state of the last one: 0 it stands, 1 it is being reaped, 2 Redis has lost it,
--            registrations that live, or 0 when some may not have returned yet,
--            n, n names whose leases have ended, m, m events to raise, users to be decided on... }
--
-- An event is "<when> +<user>" or "<when> -<user>". It is in events:<name> until the instance that
-- had it decided has raised it and removes it, so no event is lost with a reply.
--
-- When Redis was without a heartbeat for longer than `gap`, or has lost its data, instances may be on
-- their way back. Then decisions are held back: no lease counts as ended, no user as offline, and
-- after data loss no user as new (track.lua), until each lease has been renewed, or ended, since then,
-- and as many live as before the loss; at most for `hold back` ms. In the hash `pulse`: at, the last
-- heartbeat of any instance; calm, 1 while decisions are held back or 0; calm_since, calm_until;
-- silent_since; forgot, 1 after data loss or 0; expected, how many lived.
local DEAD_MAX, EVENTS_MAX, DUE_MAX = 10, 200, 100
local STANDS, REAPED, FORGOTTEN = 0, 1, 2
local KEYS_BEFORE, ARGV_BEFORE = 8, 8
local instances, held, leaving, reaped, pulse = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, arriving, restoring = KEYS[6], KEYS[7], KEYS[8]
local mode, name, complete, lease = ARGV[1], ARGV[2], ARGV[3] == "1", tonumber(ARGV[4])
local gap, hold_back_ms, last, lived = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 1, #KEYS - KEYS_BEFORE do
    local from, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + 2 * i - 1
    if ARGV[at + 1] == "end" then
        redis.call("ZADD", instances, "XX", 0, ARGV[at])
        redis.call("ZREM", restoring, ARGV[at])
    end
    local moved = redis.call("ZRANGE", from, 0, -1, "WITHSCORES")
    for j = 1, #moved, 2 do redis.call("ZADD", events, moved[j + 1], moved[j]) end
    if #moved > 0 then redis.call("DEL", from) end
end

local previous = STANDS
if last ~= "" and not redis.call("ZSCORE", instances, last) then
    previous = redis.call("ZSCORE", reaped, last) and REAPED or FORGOTTEN
end

local ends = redis.call("ZSCORE", instances, name)
local runs = mode == "begin" or mode == "beat" and ends and tonumber(ends) > now
if runs then
    redis.call("ZADD", instances, now + lease, name)
elseif mode == "end" then
    redis.call("ZADD", instances, "XX", 0, name)
end
if runs and not complete then
    redis.call("ZADD", restoring, now + lease, name)
else
    redis.call("ZREM", restoring, name)
end

local function must_hold_back(since, expected)
    if redis.call("ZCOUNT", instances, "(0", "(" .. since + lease) > 0 then return true end
    redis.call("ZREMRANGEBYSCORE", restoring, "-inf", now)
    return redis.call("ZCOUNT", instances, now, "+inf") - redis.call("ZCARD", restoring) < expected
end

local known = redis.call("HMGET", pulse, "at", "calm", "calm_since", "calm_until", "silent_since",
                         "expected", "forgot")
local at, hold_back, forgot = known[1], known[2] == "1", known[7] == "1"
local since, hold_until = tonumber(known[3] or 0), tonumber(known[4] or 0)
local silent_since, expected = tonumber(known[5] or 0), tonumber(known[6] or 0)
local lost = previous == FORGOTTEN or mode == "beat" and not ends and not redis.call("ZSCORE", reaped, name)
if lost or at and now - at > gap then
    if not hold_back then silent_since, expected = tonumber(at or now), 0 end
    hold_back, since, hold_until, forgot = true, now, now + hold_back_ms, forgot or lost
    if lost then expected = math.max(expected, lived) end
end
hold_back = hold_back and now < hold_until and must_hold_back(since, expected)
forgot = forgot and hold_back
redis.call("HSET", pulse, "at", now, "calm", hold_back and 1 or 0, "calm_since", since, "calm_until", hold_until,
           "silent_since", silent_since, "expected", expected, "forgot", forgot and 1 or 0)

local living = hold_back and 0 or redis.call("ZCOUNT", instances, now, "+inf")
local reply = { runs and 1 or 0, redis.call("HLEN", held), previous, living, 0 }
if not hold_back then
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
if not hold_back then
    for _, due in ipairs { arriving, leaving } do
        for _, user in ipairs(redis.call("ZRANGEBYSCORE", due, "-inf", now, "LIMIT", 0, DUE_MAX)) do
            reply[#reply + 1] = user
        end
    end
end
return reply
