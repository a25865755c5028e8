-- heartbeat.lua - a registration's lease: begun, prolonged, and what it has to know of the others.
--
-- KEYS     instances, instance:<name>, leaving, epoch
-- ARGV     mode, name, lease in ms, a random epoch, then names whose leases end now
--          mode: "begin" makes the lease, "beat" prolongs it if it still runs, "end" ends it
-- Returns  { 1 when the lease runs or 0, connections of the instance, now, epoch,
--            n, n other names whose leases have ended, users who may be due to be offline... }
local DEAD_MAX, DUE_MAX = 10, 100
local instances, held, leaving, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local mode, name, lease, new_epoch = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 5, #ARGV do redis.call("ZADD", instances, "XX", 0, ARGV[i]) end

local runs = mode == "begin"
if mode == "begin" then
    redis.call("SET", epoch, new_epoch, "NX")
elseif mode == "beat" then
    local ends = redis.call("ZSCORE", instances, name)
    runs = ends and tonumber(ends) > now
else
    redis.call("ZADD", instances, "XX", 0, name)
end
if runs then redis.call("ZADD", instances, now + lease, name) end

local reply = { runs and 1 or 0, redis.call("HLEN", held), now, redis.call("GET", epoch) or "", 0 }
for _, other in ipairs(redis.call("ZRANGEBYSCORE", instances, "-inf", now, "LIMIT", 0, DEAD_MAX)) do
    if other ~= name then
        reply[#reply + 1] = other
        reply[5] = reply[5] + 1
    end
end
for _, user in ipairs(redis.call("ZRANGEBYSCORE", leaving, "-inf", now, "LIMIT", 0, DUE_MAX)) do
    reply[#reply + 1] = user
end
return reply
