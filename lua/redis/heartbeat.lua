-- heartbeat.lua - the lease of a registration: begin, renew, end; and the work that it has to do for
-- the cluster.
--
-- KEYS     instances, instance:<name>, leaving, reaped, pulse, events:<name>, arriving, restoring,
--          departed, then events:<earlier> for each earlier registration of this process
-- ARGV     mode, name, "1" when it is complete or "", lease in ms, gap in ms, hold back in ms, the
--          last complete registration of this process or "", the end of its lease, since when it was
--          without one or 0, its epoch or 0, how many registrations lived when it last saw all
--          instances, then two for each earlier one: name, "end" or "keep"
--          mode: "begin" creates the lease, "beat" renews it if it still runs, "end" ends it
-- Returns  { end of the lease, or 0 when it does not run; connections of the registration; epoch,
--            the state of the last one: 0 it stands, 1 it is being reaped, 2 Redis has lost data,
--            3 the same, and the others may have announced its users as offline,
--            registrations that live, or 0 when some may not have returned yet,
--            n, n names whose leases have ended, m, m events to raise, users to be decided on... }
--
-- An event is "<when> +<user>" or "<when> -<user>". It is in events:<name> until the instance that
-- had it decided has raised it and removes it, so no event is lost with a reply.
--
-- Redis may go back to an older state: none after a FLUSHALL, a snapshot, that of a replica. Each
-- renewal of a lease, and each event that a registration decides, moves the end of its lease, so a
-- process that begins a registration sees by its last one that Redis has lost data of this process.
-- The first one to see it begins the next epoch: what `presence` says is from then on uncertain until
-- it is confirmed (track.lua). All others see that the epoch is not theirs, and register again, too.
--
-- When Redis was without a heartbeat for longer than `gap`, has lost data, or may have (an instance
-- has lost its link, and no other had one since), instances may be on their way back. Then decisions are held
-- back: no lease counts as ended, no user as offline, and no user as new (track.lua), until each lease
-- has been renewed, or ended, since then, and as many live as before; at most for `hold back` ms. In
-- the hash `pulse`: at, the last heartbeat of any instance; epoch; calm, 1 while decisions are held
-- back or 0; calm_since, calm_until; silent_since; expected, how many lived; contact, the last
-- heartbeat before data was lost, as far as the instances that have returned know.
local DEAD_MAX, EVENTS_MAX, DUE_MAX = 10, 200, 100
local STANDS, REAPED, FORGOTTEN, LATE = 0, 1, 2, 3
local KEYS_BEFORE, ARGV_BEFORE = 9, 11
local CLOCK_ERROR_MS = 100
local instances, held, leaving, reaped, pulse = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, arriving, restoring, departed = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local mode, name, complete, lease = ARGV[1], ARGV[2], ARGV[3] == "1", tonumber(ARGV[4])
local gap, hold_back_ms, last = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local last_ends, ended_at, own_epoch, lived = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local state = redis.call("HMGET", pulse, "at", "calm", "calm_since", "calm_until", "silent_since", "expected", "epoch",
                         "contact")
local at, hold_back = tonumber(state[1] or ""), state[2] == "1"
local since, hold_until = tonumber(state[3] or 0), tonumber(state[4] or 0)
local silent_since, expected = tonumber(state[5] or 0), tonumber(state[6] or 0)
local epoch, contact = tonumber(state[7] or 1), tonumber(state[8] or 0)

-- A lease that somebody has ended has the end 0.
local recorded = last ~= "" and redis.call("ZSCORE", instances, last)
local is_missing, is_reaped = last ~= "" and not recorded, last ~= "" and redis.call("ZSCORE", reaped, last)
local is_older = recorded and tonumber(recorded) > 0 and tonumber(recorded) < last_ends

-- Events in an older state were raised long ago.
for i = 1, #KEYS - KEYS_BEFORE do
    local from, earlier, what = KEYS[KEYS_BEFORE + i], ARGV[ARGV_BEFORE + 2 * i - 1], ARGV[ARGV_BEFORE + 2 * i]
    if what == "end" then
        redis.call("ZADD", instances, "XX", 0, earlier)
        redis.call("ZREM", restoring, earlier)
    end
    local moved = is_older and {} or redis.call("ZRANGE", from, 0, -1, "WITHSCORES")
    for j = 1, #moved, 2 do redis.call("ZADD", events, moved[j + 1], moved[j]) end
    redis.call("DEL", from)
end

local ends = redis.call("ZSCORE", instances, name)
local is_lost = mode == "beat" and epoch <= own_epoch and (not ends and not is_reaped or last == name and is_older)
local runs = mode == "begin" or mode == "beat" and ends and tonumber(ends) > now and not is_lost and epoch == own_epoch
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

local function must_hold_back()
    if redis.call("ZCOUNT", instances, "(0", "(" .. since + lease) > 0 then return true end
    redis.call("ZREMRANGEBYSCORE", restoring, "-inf", now)
    return redis.call("ZCOUNT", instances, now, "+inf") - redis.call("ZCARD", restoring) < expected
end

if mode == "begin" and epoch <= own_epoch and (is_missing and not is_reaped or is_older or epoch < own_epoch) then
    epoch, contact, is_lost = own_epoch + 1, 0, true
    redis.call("DEL", departed)
end
local has_lost = is_lost or own_epoch > 0 and own_epoch < epoch
local returns_first = mode == "begin" and last ~= "" and at and at <= ended_at + CLOCK_ERROR_MS
if is_lost or at and now - at > gap or returns_first and not hold_back then
    if not hold_back then silent_since, expected = at or now, 0 end
    hold_back, since, hold_until = true, now, now + hold_back_ms
end
if has_lost then expected = math.max(expected, lived, 1) end
if has_lost and mode == "begin" then contact = math.max(contact, last_ends - lease) end
hold_back = hold_back and now < hold_until and must_hold_back()
redis.call("HSET", pulse, "at", now, "epoch", epoch, "calm", hold_back and 1 or 0, "calm_since", since,
           "calm_until", hold_until, "silent_since", silent_since, "expected", expected, "contact", contact)

local function state_of_last()
    if is_reaped and (hold_back or not has_lost) then return REAPED end
    if not has_lost then return STANDS end
    if recorded and not is_older then return FORGOTTEN end
    local may_be_reaped = contact >= last_ends
    return (is_lost or hold_back) and not may_be_reaped and FORGOTTEN or LATE
end

local living = hold_back and 0 or redis.call("ZCOUNT", instances, now, "+inf")
local reply = { runs and now + lease or 0, redis.call("HLEN", held), epoch, state_of_last(), living, 0 }
if not hold_back then
    for _, other in ipairs(redis.call("ZRANGEBYSCORE", instances, "-inf", now, "LIMIT", 0, DEAD_MAX)) do
        if other ~= name then
            reply[#reply + 1] = other
            reply[6] = reply[6] + 1
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
