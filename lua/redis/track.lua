-- track.lua - connections of one registration that came or went, in their order.
--
-- KEYS     instances, instance:<name>, presence, leaving, then connections:<user> for each change
-- ARGV     name, debounce in ms, mode, then four for each change: user, connection,
--          "<opened_at> <tenant>" or "" when it has gone, "1" when its coming is no news or ""
--          mode: "live", or "reap" to change what belongs to a registration that has ended
-- Returns  status LOST, and nothing is changed, when the registration has ended; else
--          { now, connections of the registration, changes left out because somebody else keeps
--            another kind of key there, n, n numbers of changes that were none,
--            users who came online... }
--
-- Writes that a full Redis refuses stand where a refusal leaves the connection in instance:<name>:
-- whoever cleans up finds it there and ends what was begun.
local instances, held, presence, leaving = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, debounce, mode = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local KEYS_BEFORE, ARGV_BEFORE, ARGV_EACH = 4, 3, 4

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

local function come(members, user, connection, value)
    local new = redis.call("HSET", held, connection, user) == 1
    if is_strange("HSET", members, name .. ":" .. connection, value) then
        if new then redis.call("HDEL", held, connection) end
        return false, false
    end
    redis.call("ZREM", leaving, user)
    return new, redis.call("HSETNX", presence, user, 1) == 1
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

local none, online = {}, {}
for i = 1, #KEYS - KEYS_BEFORE do
    local members, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + (i - 1) * ARGV_EACH
    local user, connection, value, quiet = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local changed, announce
    if value == "" then
        changed = go(members, user, connection)
    else
        changed, announce = come(members, user, connection, value)
    end
    if not changed then none[#none + 1] = i end
    if announce and quiet == "" then online[#online + 1] = user end
end

local reply = { now, redis.call("HLEN", held), strange, #none }
for _, i in ipairs(none) do reply[#reply + 1] = i end
for _, user in ipairs(online) do reply[#reply + 1] = user end
return reply
