-- track.lua - connections of one registration that came or went, in their order.
--
-- HEAD     write.lua
-- KEYS     instances, instance:<name>, presence, leaving, events:<name>, pulse, arriving,
--          departed, then connections:<user> for each change
-- ARGV     name, mode, debounce in ms, then four for each change: user, connection,
--          "<opened_at> <tenant>" or "" when it has gone, whether the user was announced as online:
--          "" unknown; "yes", and not as offline since; of one that has gone "maybe", or when the user
--          was due to be offline: then perhaps as offline since, before Redis lost its data
-- Returns  status LOST, or { end of the lease or 0 when it has not changed, connections of the
--          registration, changes skipped because their key holds another type, 1 when decisions are
--          held back or 0, n, n numbers of changes without effect, events decided... }
--          The events are also in events:<name> (heartbeat.lua).
--
-- `presence` has for each user announced as online the `epoch` in which that was certain. Entries
-- of an earlier epoch are from before a loss of data: the user may have been announced as offline
-- since. Such a user is announced again when they come, and when they leave.
--
-- While decisions are held back (heartbeat.lua), a user who seems to come may have been announced by
-- an instance that has not returned yet: they become `arriving`, until it had time to say so.
--
-- A full Redis rejects writes. They are ordered so that a rejected one leaves the connection in
-- instance:<name>, where the reaper finds it and removes the rest.
local held, presence, leaving, events = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pulse, arriving, departed = KEYS[6], KEYS[7], KEYS[8]
local debounce = tonumber(ARGV[3])
local KEYS_BEFORE, ARGV_BEFORE, ARGV_EACH = 8, 3, 4

local state = redis.call("HMGET", pulse, "calm", "epoch", "contact")
local hold_back, epoch, contact = state[1] == "1", state[2] or "1", tonumber(state[3] or 0)
local decided = {}

-- Whether the last event of a user was online before data was lost: as in presence.lua.
local function is_online_still(user)
    local due = contact > 0 and redis.call("ZSCORE", departed, user)
    if due then redis.call("ZREM", departed, user) end
    return due and tonumber(due) > contact
end

local function announce(user)
    if redis.call("HGET", presence, user) == epoch then return end
    redis.call("HSET", presence, user, epoch)
    if hold_back then
        redis.call("ZADD", arriving, now, user)
        return
    end
    if is_online_still(user) then return end
    local event = now .. " +" .. user
    redis.call("ZADD", events, now, event)
    decided[#decided + 1] = event
end

local function was_announced(user)
    redis.call("HSET", presence, user, epoch)
    redis.call("ZREM", arriving, user)
    redis.call("ZREM", departed, user)
end

local function may_be_announced(user, due)
    redis.call("HSETNX", presence, user, 0)
    if due then redis.call("ZADD", departed, due, user) end
end

local function come(members, user, connection, value, announced)
    local new = redis.call("HSET", held, connection, user) == 1
    if is_skipped("HSET", members, name .. ":" .. connection, value) then
        if new then redis.call("HDEL", held, connection) end
        return false
    end
    redis.call("ZREM", leaving, user)
    if announced == "yes" then was_announced(user) else announce(user) end
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
    local user, connection, value, announced = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local changed
    if value ~= "" then
        changed = come(members, user, connection, value, announced)
    else
        if announced ~= "" then may_be_announced(user, tonumber(announced)) end
        changed = go(members, user, connection)
    end
    if not changed then none[#none + 1] = i end
end

-- An event moves the end of the lease, so that a loss of data shows that includes it (heartbeat.lua).
local ends = 0
if #decided > 0 then ends = tonumber(redis.call("ZINCRBY", KEYS[1], 1, name)) end
local reply = { ends, redis.call("HLEN", held), skipped, hold_back and 1 or 0, #none }
for _, i in ipairs(none) do reply[#reply + 1] = i end
for _, event in ipairs(decided) do reply[#reply + 1] = event end
return reply
