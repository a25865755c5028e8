-- audit.lua - whether the connections of a registration are still in the keys of their users, a page
-- at a time.
--
-- KEYS     instance:<name>, then connections:<user> for each connection of the page before
-- ARGV     name, cursor ("0" at first), entries a page, then two for each connection of the page
--          before: connection, user
-- Returns  { how many of those are missing there, cursor for the next call, connection, user, ... }
--
-- An eviction or a DEL of a user's key leaves instance:<name> as it was. A connection that has gone
-- since the page was read is in neither.
local held, name, cursor, page = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local KEYS_BEFORE, ARGV_BEFORE, ARGV_EACH = 1, 3, 2

local function is_there(members, connection)
    return redis.call("TYPE", members).ok == "hash"
        and redis.call("HEXISTS", members, name .. ":" .. connection) == 1
end

local missing = 0
for i = 1, #KEYS - KEYS_BEFORE do
    local at = ARGV_BEFORE + (i - 1) * ARGV_EACH
    local connection, user = ARGV[at + 1], ARGV[at + 2]
    if redis.call("HGET", held, connection) == user and not is_there(KEYS[KEYS_BEFORE + i], connection) then
        missing = missing + 1
    end
end

local found = redis.call("HSCAN", held, cursor, "COUNT", page)
local reply = { missing, found[1] }
for _, entry in ipairs(found[2]) do reply[#reply + 1] = entry end
return reply
