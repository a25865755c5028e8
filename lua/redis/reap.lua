-- reap.lua - what a registration whose lease has ended left behind, a page at a time.
--
-- KEYS     instances, instance:<name>, tenants:<name>, reaper:<name>
-- ARGV     name, who asks, for how long this is theirs in ms, cursor ("0" at first), entries a page
-- Returns  { what, cursor for the next call, entries... }; what:
--          0 nothing for whoever asks: it lives, is another's, or has gone
--          1 connections: connection, user, ... (perhaps none)
--          2 its connections have gone; tenants that it has written
--          3 nothing was left; its name has been removed
local instances, held, written, reaper = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local name, asker, claim, cursor, page = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local ends = redis.call("ZSCORE", instances, name)
if not ends or tonumber(ends) > now then return { 0, "0" } end
local owner = redis.call("GET", reaper)
if owner and owner ~= asker then return { 0, "0" } end
redis.call("SET", reaper, asker, "PX", claim)

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
redis.call("ZREM", instances, name)
redis.call("DEL", reaper)
return { 3, "0" }
