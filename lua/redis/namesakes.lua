-- namesakes.lua - living registrations under the id of this instance that are not of its process.
--
-- KEYS     instances, restoring, pulse
-- ARGV     id of the instance, gap in ms as for heartbeat.lua, n, n names to leave out, then three for each
--          that was seen before: name, end of its lease, when it was first seen with that end
-- Returns  { now, n, n names whose leases were ended, then two for each other one: name, end of its lease }
--
-- The lease of one that has not been renewed for `gap` is ended, so that it is reaped: its process has
-- died. Not while decisions are held back (heartbeat.lua): then others may not have been able to renew.
local instances, restoring, pulse = KEYS[1], KEYS[2], KEYS[3]
local id, gap, left_out = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local ARGV_BEFORE, ARGV_EACH = 3, 3

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local skip, seen = {}, {}
for i = 1, left_out do skip[ARGV[ARGV_BEFORE + i]] = true end
for i = ARGV_BEFORE + left_out + 1, #ARGV, ARGV_EACH do
    seen[ARGV[i]] = { ends = tonumber(ARGV[i + 1]), since = tonumber(ARGV[i + 2]) }
end

local beat = redis.call("HMGET", pulse, "at", "calm")
local may_end = beat[1] and now - beat[1] <= gap and beat[2] ~= "1"

local function has_died(name, ends)
    local before = seen[name]
    return may_end and before and before.ends == ends and now - before.since >= gap
end

local ended, others = {}, {}
local living = redis.call("ZRANGEBYSCORE", instances, "(" .. now, "+inf", "WITHSCORES")
for i = 1, #living, 2 do
    local name, ends = living[i], tonumber(living[i + 1])
    if name:match("^(.*)~") == id and not skip[name] then
        if has_died(name, ends) then
            redis.call("ZADD", instances, "XX", 0, name)
            redis.call("ZREM", restoring, name)
            ended[#ended + 1] = name
        else
            others[#others + 1] = name
            others[#others + 1] = ends
        end
    end
end

local reply = { now, #ended }
for _, name in ipairs(ended) do reply[#reply + 1] = name end
for _, one in ipairs(others) do reply[#reply + 1] = one end
return reply
