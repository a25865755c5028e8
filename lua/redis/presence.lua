-- presence.lua - users whose time to leave has come: who of them is offline now.
--
-- KEYS     instances, presence, leaving, then connections:<user> for each user
-- ARGV     the users
-- Returns  { now, users who went offline... }
--
-- Whoever runs it first takes the user out of `leaving`, so each event is returned once.
local instances, presence, leaving = KEYS[1], KEYS[2], KEYS[3]
local KEYS_BEFORE, CONNECTION_LEN = 3, 11

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What is no hash is somebody else's, and holds no connection.
local function lives(members)
    if redis.call("TYPE", members).ok ~= "hash" then return false end
    for _, member in ipairs(redis.call("HKEYS", members)) do
        local ends = redis.call("ZSCORE", instances, member:sub(1, -CONNECTION_LEN - 2))
        if ends and tonumber(ends) > now then return true end
    end
    return false
end

local reply = { now }
for i, user in ipairs(ARGV) do
    local due = redis.call("ZSCORE", leaving, user)
    if due and tonumber(due) <= now then
        redis.call("ZREM", leaving, user)
        if not lives(KEYS[KEYS_BEFORE + i]) and redis.call("HDEL", presence, user) == 1 then
            reply[#reply + 1] = user
        end
    end
end
return reply
