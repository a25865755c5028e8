-- tenants.lua - how many connections of each tenant a registration has.
--
-- KEYS     instances, tenants:<name>, then tenant:<tenant> for each tenant
-- ARGV     name, mode ("live" or "reap", as for track.lua), then two for each: tenant, connections
-- Returns  status LOST, and nothing is changed, when the registration has ended; else
--          { tenants left out because somebody else keeps another kind of key there }
local instances, written = KEYS[1], KEYS[2]
local name, mode = ARGV[1], ARGV[2]
local KEYS_BEFORE, ARGV_BEFORE = 2, 2

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

for i = 1, #KEYS - KEYS_BEFORE do
    local counts, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + (i - 1) * 2
    local tenant, connections = ARGV[at + 1], ARGV[at + 2]
    if connections == "0" then
        is_strange("HDEL", counts, name)
        redis.call("SREM", written, tenant)
    else
        redis.call("SADD", written, tenant)
        is_strange("HSET", counts, name, connections)
    end
end
return { strange }
