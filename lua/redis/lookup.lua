-- lookup.lua - the connections of users, or of tenants, that are under a lease.
--
-- KEYS     instances, pulse, then connections:<user> for each user, or tenant:<tenant> for each tenant
-- ARGV     what: "online", "connections" or "tenants"; gap in ms, as for heartbeat.lua; id of the
--          instance that asks; "1" when its own connections are all registered or ""; names that are asked
--          for at the same time, here and in other parts
-- Returns  { now, 1 or 0 when the answer is uncertain, a count for each... }; for "connections":
--          { now, 1 or 0, { instance, connection, "<opened_at> <tenant>", ... } for each... }
--
-- In an uncertain answer some may be missing, or have gone, because Redis was away or rejects writes.
-- The connections of the instance that asks are left out of it: it knows them better.
--
-- While an instance registers again, its connections are there under two marks: each counts once. Of
-- a user with very many only a part is read: the rest is counted unseen, and not listed. A key of
-- another type, which another client has written, holds no connection.
local instances, pulse, what, gap = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local asking, complete = ARGV[3], ARGV[4] == "1"
local CONNECTION_LEN, EACH_MAX, ALL_MAX, SMALL = 11, 1000, 100000, 100

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A lease that ended while no instance could renew it counts as running.
local alive_after, certain = now, 1
local beat = redis.call("HMGET", pulse, "at", "calm", "silent_since")
if not beat[1] or now - beat[1] > gap then
    alive_after, certain = tonumber(beat[1] or now), 0
elseif beat[2] == "1" then
    alive_after, certain = tonumber(beat[3]), 0
end
if not complete then certain = 0 end

-- name of a registration -> the instance's id while the lease runs, else false
local ids = {}
local function id_of(name)
    local id = ids[name]
    if id == nil then
        local ends = redis.call("ZSCORE", instances, name)
        id = ends and tonumber(ends) > alive_after and (name:match("^(.*)~") or name) or false
        if id == asking and certain == 0 then id = false end
        ids[name] = id
    end
    return id
end

local function is_hash(key) return redis.call("TYPE", key).ok == "hash" end

local most = math.min(EACH_MAX, math.floor(ALL_MAX / math.max(1, tonumber(ARGV[5]))))

-- HSCAN costs twice as much, so it is for large hashes only.
local function next_page(members, size, cursor)
    if size <= SMALL then return { "0", redis.call("HGETALL", members) } end
    return redis.call("HSCAN", members, cursor, "COUNT", most)
end

-- Calls see(id, connection, value) for each under a lease; returns how many it did not read.
local function walk(members, see)
    local known, read_count, cursor = {}, 0, "0"
    if not is_hash(members) then return 0 end
    local size = redis.call("HLEN", members)
    repeat
        local page = next_page(members, size, cursor)
        cursor = page[1]
        for i = 1, #page[2], 2 do
            local member = page[2][i]
            local connection = member:sub(-CONNECTION_LEN)
            local id = id_of(member:sub(1, -CONNECTION_LEN - 2))
            read_count = read_count + 1
            if id and not known[connection] and read_count <= most then
                known[connection] = true
                see(id, connection, page[2][i + 1])
            end
        end
    until cursor == "0" or read_count >= most
    local whole = cursor == "0" and read_count <= most
    return whole and 0 or math.max(0, size - most)
end

local function count(members)
    local n = 0
    local unseen = walk(members, function() n = n + 1 end)
    return n + unseen
end

local function list(members)
    local found = {}
    walk(members, function(id, connection, value)
        found[#found + 1] = id
        found[#found + 1] = connection
        found[#found + 1] = value
    end)
    return found
end

local function total(counts)
    local of, sum = {}, 0
    local all = is_hash(counts) and redis.call("HGETALL", counts) or {}
    for i = 1, #all, 2 do
        local id = id_of(all[i])
        if id then of[id] = math.max(of[id] or 0, tonumber(all[i + 1]) or 0) end
    end
    for _, n in pairs(of) do sum = sum + n end
    return sum
end

local answer = what == "connections" and list or what == "tenants" and total or count
local reply = { now, certain }
for i = 3, #KEYS do reply[i] = answer(KEYS[i]) end
return reply
