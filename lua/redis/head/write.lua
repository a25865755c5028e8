-- write.lua - the head of track.lua and tenants.lua, which change what a registration has in Redis.
--
-- KEYS     instances, ...
-- ARGV     name, mode, ...
--          mode: "live", or "reap" to change what a registration that has ended has left
-- Returns  status LOST, and nothing is changed, when the registration has ended; else what follows
--          returns
local instances, name, mode = KEYS[1], ARGV[1], ARGV[2]

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if mode ~= "reap" then
    local ends = redis.call("ZSCORE", instances, name)
    if not ends or tonumber(ends) <= now then return redis.status_reply("LOST") end
end

-- Whether the command was skipped, because the key holds another type. Other errors are raised.
local skipped = 0
local function is_skipped(command, key, ...)
    local result = redis.pcall(command, key, ...)
    if type(result) ~= "table" or not result.err then return false end
    if redis.call("TYPE", key).ok == "hash" then redis.call(command, key, ...) end
    skipped = skipped + 1
    return true
end
