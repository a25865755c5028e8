-- track.lua - connections of one registration that came or went, in their order.
--
-- KEYS     instances, instance:<name>, presence, leaving, events:<name>, pulse, arriving, then
--          connections:<user> for each change
-- ARGV     name, debounce in ms, mode, then four for each change: user, connection,
--          "<opened_at> <tenant>" or "" when it has gone, "1" when it is known that the user had been
--          announced as online (Redis may have forgotten) or ""
--          mode: "live", or "reap" to change what belongs to a registration that has ended
-- Returns  status LOST, and nothing is changed, when the registration has ended; else
--          { now, connections of the registration, changes left out because somebody else keeps
--            another kind of key there, n, n numbers of changes that were none,
--            events that were decided... }, which stand in events:<name>, too (heartbeat.lua)
--
-- While Redis is being told again what it has forgotten, a user who seems to come may have been
-- announced by an instance that is not back yet: they arrive, until it has had the time to say so.
--
-- Writes that a full Redis refuses stand where a refusal leaves the connection in instance:<name>:
-- whoever cleans up finds it there and ends what was begun.
local instances, held, presence, leaving, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pulse, arriving = KEYS[6], KEYS[7]
local name, debounce, mode = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local KEYS_BEFORE, ARGV_BEFORE, ARGV_EACH = 7, 3, 4

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if mode ~= "reap" then
    local ends = redis.call("ZSCORE", instances, name)
    if not ends or tonumber(ends) <= now then return redis.status_reply("LOST") end
end

-- Whether the command is not done, because the key is no hash. Any other error is an error.
local strange = 0
local function is_strange(command, key, ...)
    local result = redis.pcall(command, key, ...)
    if type(result) ~= "table" or not result.err then return false end
    if redis.call("TYPE", key).ok == "hash" then redis.call(command, key, ...) end
    strange = strange + 1
    return true
end

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
    if is_strange("HSET", members, name .. ":" .. connection, value) then
        if new then redis.call("HDEL", held, connection) end
        return false
    end
    redis.call("ZREM", leaving, user)
    if known then was_announced(user) else announce(user) end
    return new
end

local function go(members, user, connection)
    if is_strange("HDEL", members, name .. ":" .. connection) then
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

local reply = { now, redis.call("HLEN", held), strange, #none }
for _, i in ipairs(none) do reply[#reply + 1] = i end
for _, event in ipairs(decided) do reply[#reply + 1] = event end
return reply
