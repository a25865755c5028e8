-- reap.lua - what a registration whose lease has ended has left, a page at a time.
--
-- KEYS     instances, instance:<name>, tenants:<name>, reaper:<name>, reaped, events:<name>,
--          events:<registration that asks>
-- ARGV     name, id of the process that asks, ms for which it claims the name, cursor ("0" at
--          first), entries a page
-- Returns  { what, cursor for the next call, entries... }; what:
--          0 nothing: the name lives, is claimed by another process, or does not exist
--          1 connections: connection, user, ... (perhaps none)
--          2 no connections are left; tenants that it has written
--          3 nothing is left; its name has been removed, and the registration that asks has to raise
--            the events that it had not raised
local instances, held, written, reaper = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local reaped, events, own_events = KEYS[5], KEYS[6], KEYS[7]
local name, claimant, claim_ms, cursor, page = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local REMEMBER_MS = 86400000

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local ends = redis.call("ZSCORE", instances, name)
if not ends or tonumber(ends) > now then return { 0, "0" } end
local owner = redis.call("GET", reaper)
if owner and owner ~= claimant then return { 0, "0" } end
redis.call("SET", reaper, claimant, "PX", claim_ms)
redis.call("ZADD", reaped, now, name)
redis.call("ZREMRANGEBYSCORE", reaped, "-inf", now - REMEMBER_MS)

local function answer(what, next_cursor, entries)
    local reply = { what, next_cursor }
    for _, entry in ipairs(entries) do reply[#reply + 1] = entry end
    return reply
end

if redis.call("HLEN", held) > 0 then
    local found = redis.call("HSCAN", held, cursor, "COUNT", page)
    return answer(1, found[1], found[2])
end
local tenants = redis.call("SRANDMEMBER", written, page)
if #tenants > 0 then return answer(2, "0", tenants) end
local left = redis.call("ZRANGE", events, 0, -1, "WITHSCORES")
for i = 1, #left, 2 do redis.call("ZADD", own_events, left[i + 1], left[i]) end
redis.call("DEL", events, reaper)
redis.call("ZREM", instances, name)
return { 3, "0" }
