-- track.lua - connections of one registration that came or went, in their order.
--
-- HEAD     write.lua
-- KEYS     instances, instance:<name>, presence, leaving, events:<name>, pulse, arriving, then
--          connections:<user> for each change
-- ARGV     name, mode, debounce in ms, then four for each change: user, connection,
--          "<opened_at> <tenant>" or "" when it has gone, "1" when the user is known to have been
--          announced as online (Redis may have lost that) or ""
-- Returns  status LOST, or { now, connections of the registration, changes skipped because their
--          key holds another type, n, n numbers of changes without effect, events decided... }
--          The events are also in events:<name> (heartbeat.lua).
--
-- After data loss, while `pulse` says so, a user who seems to come may have been announced by an
-- instance that has not returned yet: they become `arriving`, until that instance had time to say so.
--
-- A full Redis rejects writes. They are ordered so that a rejected one leaves the connection in
-- instance:<name>, where the reaper finds it and removes the rest.
local held, presence, leaving, events = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pulse, arriving = KEYS[6], KEYS[7]
local debounce = tonumber(ARGV[3])
local KEYS_BEFORE, ARGV_BEFORE, ARGV_EACH = 7, 3, 4

local forgot = redis.call("HGET", pulse, "forgot") == "1"
local decided = {}

local function announce(user)
    if redis.call("HSETNX", presence, user, 1) == 0 then return end
    if forgot then
        redis.call("ZADD", arriving, now, user)
        return
    end
    local event = now .. " +" .. user
    redis.call("ZADD", events, now, event)
    decided[#decided + 1] = event
end

local function was_announced(user)
    redis.call("HSETNX", presence, user, 1)
    redis.call("ZREM", arriving, user)
end

local function come(members, user, connection, value, known)
    local new = redis.call("HSET", held, connection, user) == 1
    if is_skipped("HSET", members, name .. ":" .. connection, value) then
        if new then redis.call("HDEL", held, connection) end
        return false
    end
    redis.call("ZREM", leaving, user)
    if known then was_announced(user) else announce(user) end
    return new
end

local function go(members, user, connection)
    if is_skipped("HDEL", members, name .. ":" .. connection) then
        return redis.call("HDEL", held, connection) == 1
    end
    if redis.call("EXISTS", members) == 0 and redis.call("HEXISTS", presence, user) == 1 then
        redis.call("ZADD", leaving, "NX", now + debounce, user)
    end
    return redis.call("HDEL", held, connection) == 1
end

local none = {}
for i = 1, #KEYS - KEYS_BEFORE do
    local members, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + (i - 1) * ARGV_EACH
    local user, connection, value, known = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4] == "1"
    local changed
    if value ~= "" then
        changed = come(members, user, connection, value, known)
    else
        if known then was_announced(user) end
        changed = go(members, user, connection)
    end
    if not changed then none[#none + 1] = i end
end

local reply = { now, redis.call("HLEN", held), skipped, #none }
for _, i in ipairs(none) do reply[#reply + 1] = i end
for _, event in ipairs(decided) do reply[#reply + 1] = event end
return reply
