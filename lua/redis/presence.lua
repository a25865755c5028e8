-- presence.lua - decides on users who are due: which of those in `arriving` are online, and which of
-- those in `leaving` are offline.
--
-- KEYS     instances, presence, leaving, events:<name>, arriving, departed, pulse, then
--          connections:<user> for each
-- ARGV     name of the registration that asks, then the users
-- Returns  status LOST, and nothing is changed, when the registration has ended; else { end of its
--          lease or 0 when it has not changed, events decided... }
--          The events are also in events:<name>, and move the end of the lease (heartbeat.lua).
--
-- `departed` has users who were announced as online before Redis lost its data, and when they were due
-- to be offline. If no instance was in contact with Redis after that (pulse, contact), that was their
-- last event, and they are not announced again.
--
-- The first call removes the user from `arriving` and `leaving`, so each event is decided once.
local instances, presence, leaving, events, arriving = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local departed, pulse = KEYS[6], KEYS[7]
local KEYS_BEFORE, CONNECTION_LEN = 7, 11
local name = ARGV[1]

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function runs(registration)
    local ends = redis.call("ZSCORE", instances, registration)
    return ends and tonumber(ends) > now
end

if not runs(name) then return redis.status_reply("LOST") end

-- A key of another type holds no connection of bellhop.
local function is_online(members)
    if redis.call("TYPE", members).ok ~= "hash" then return false end
    for _, member in ipairs(redis.call("HKEYS", members)) do
        if runs(member:sub(1, -CONNECTION_LEN - 2)) then return true end
    end
    return false
end

local contact = tonumber(redis.call("HGET", pulse, "contact") or 0)
local function is_online_still(user)
    local due = redis.call("ZSCORE", departed, user)
    return due and tonumber(due) > contact
end

local reply = { 0 }
local function decide(event)
    redis.call("ZADD", events, now, event)
    reply[#reply + 1] = event
end

for i = 1, #KEYS - KEYS_BEFORE do
    local user = ARGV[i + 1]
    if redis.call("ZREM", arriving, user) == 1 and not is_online_still(user) then decide(now .. " +" .. user) end
    redis.call("ZREM", departed, user)
    local due = redis.call("ZSCORE", leaving, user)
    if due and tonumber(due) <= now then
        redis.call("ZREM", leaving, user)
        if not is_online(KEYS[KEYS_BEFORE + i]) and redis.call("HDEL", presence, user) == 1 then
            decide(now .. " -" .. user)
        end
    end
end
if #reply > 1 then reply[1] = tonumber(redis.call("ZINCRBY", instances, 1, name)) end
return reply
