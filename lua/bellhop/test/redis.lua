-- bellhop.test.redis - a fake Redis for specs, with the commands that policies use most. Scripts run in Lua 5.4; the real
-- Redis has Lua 5.1.
--
--     local redis = require("bellhop.test.redis").new(now)   -- now() is the time in seconds
--     local value, why = redis("GET", "key")                 -- nil, why is an error reply
--
-- A keyspace (db) has entries { kind, value, expires }. Commands raise { text } for an error reply.
local core = require "bellhop.test.core"

local WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"

local function integer(text)
    local n = math.tointeger(tonumber(text))
    if not n then error({ "ERR value is not an integer or out of range" }, 0) end
    return n
end

local function sorted(set)
    local list = {}
    for member in pairs(set) do list[#list + 1] = member end
    table.sort(list)
    return list
end

-- --- keys ---

local function new_keyspace(now)
    local db = { keys = {}, now = now }

    function db.find(key, kind)
        local entry = db.keys[key]
        if entry and entry.expires and entry.expires <= now() then
            db.keys[key], entry = nil, nil
        end
        if entry and kind and entry.kind ~= kind then error({ WRONGTYPE }, 0) end
        return entry
    end

    function db.make(key, kind)
        local entry = db.find(key, kind)
        if not entry then
            entry = { kind = kind, value = kind == "string" and "" or {} }
            db.keys[key] = entry
        end
        return entry
    end

    return db
end

-- Removes members of a hash, a set or a sorted set. The key is removed with the last one.
local function remove(db, key, kind, ...)
    local entry, n = db.find(key, kind), 0
    for _, member in ipairs { ... } do
        if entry and entry.value[member] ~= nil then n, entry.value[member] = n + 1, nil end
    end
    if entry and next(entry.value) == nil then db.keys[key] = nil end
    return n
end

-- A part of a list. Indexes start at 0, as in Redis.
local function range(list, from, to)
    local first, last = integer(from), integer(to)
    if first < 0 then first = math.max(#list + first, 0) end
    if last < 0 then last = #list + last end
    return table.move(list, first + 1, math.min(last + 1, #list), 1, {})
end

-- --- commands, by kind of key ---

local function add_strings(db, commands)
    function commands.PING(text) return text or "PONG" end

    function commands.SET(key, value, ...)
        local words, expires, when = { ... }, nil, nil
        local i = 1
        while i <= #words do
            local word = words[i]:upper()
            if word == "EX" or word == "PX" then
                expires = db.now() + integer(words[i + 1]) / (word == "EX" and 1 or 1000)
                i = i + 1
            elseif word == "NX" or word == "XX" then
                when = word
            else
                error({ "ERR syntax error" }, 0)
            end
            i = i + 1
        end
        local there = db.find(key) ~= nil
        if when == "NX" and there or when == "XX" and not there then return nil end
        db.keys[key] = { kind = "string", value = value, expires = expires }
        return "OK"
    end

    function commands.GET(key)
        local entry = db.find(key, "string")
        return entry and entry.value
    end

    function commands.DEL(...)
        local n = 0
        for _, key in ipairs { ... } do
            if db.find(key) then n, db.keys[key] = n + 1, nil end
        end
        return n
    end

    function commands.EXISTS(...)
        local n = 0
        for _, key in ipairs { ... } do n = n + (db.find(key) and 1 or 0) end
        return n
    end

    function commands.INCRBY(key, by)
        local entry = db.find(key, "string")
        local n = integer(entry and entry.value or "0") + integer(by)
        if entry then
            entry.value = tostring(n)
        else
            db.keys[key] = { kind = "string", value = tostring(n) }
        end
        return n
    end

    function commands.INCR(key) return commands.INCRBY(key, "1") end
    function commands.DECR(key) return commands.INCRBY(key, "-1") end

    function commands.PEXPIRE(key, ms)
        local entry = db.find(key)
        if not entry then return 0 end
        entry.expires = db.now() + integer(ms) / 1000
        return 1
    end

    function commands.EXPIRE(key, seconds)
        return commands.PEXPIRE(key, tostring(integer(seconds) * 1000))
    end

    function commands.PTTL(key)
        local entry = db.find(key)
        if not entry then return -2 end
        return entry.expires and math.floor((entry.expires - db.now()) * 1000 + 0.5) or -1
    end

    function commands.TTL(key)
        local ms = commands.PTTL(key)
        return ms < 0 and ms or (ms + 500) // 1000
    end

    function commands.TIME()
        local time = db.now()
        return { ("%.0f"):format(time // 1), ("%.0f"):format(time % 1 * 1000000 // 1) }
    end
end

local function add_hashes(db, commands)
    function commands.HSET(key, ...)
        local words, entry, new = { ... }, db.make(key, "hash"), 0
        for i = 1, #words, 2 do
            if entry.value[words[i]] == nil then new = new + 1 end
            entry.value[words[i]] = words[i + 1]
        end
        return new
    end

    function commands.HSETNX(key, name, value)
        local entry = db.make(key, "hash")
        if entry.value[name] ~= nil then return 0 end
        entry.value[name] = value
        return 1
    end

    function commands.HGET(key, name)
        local entry = db.find(key, "hash")
        return entry and entry.value[name]
    end

    function commands.HEXISTS(key, name) return commands.HGET(key, name) and 1 or 0 end

    function commands.HMGET(key, ...)
        local entry, list = db.find(key, "hash"), {}
        for i, name in ipairs { ... } do list[i] = entry and entry.value[name] or false end
        return list
    end

    function commands.HGETALL(key)
        local entry, list = db.find(key, "hash"), {}
        for _, name in ipairs(sorted(entry and entry.value or {})) do
            list[#list + 1] = name
            list[#list + 1] = entry.value[name]
        end
        return list
    end

    function commands.HDEL(key, ...) return remove(db, key, "hash", ...) end

    function commands.HLEN(key)
        local entry = db.find(key, "hash")
        return #sorted(entry and entry.value or {})
    end

    function commands.HINCRBY(key, name, by)
        local entry = db.make(key, "hash")
        local n = integer(entry.value[name] or "0") + integer(by)
        entry.value[name] = tostring(n)
        return n
    end
end

local function add_sets(db, commands)
    function commands.SADD(key, ...)
        local entry, n = db.make(key, "set"), 0
        for _, member in ipairs { ... } do
            if not entry.value[member] then n, entry.value[member] = n + 1, true end
        end
        return n
    end

    function commands.SREM(key, ...) return remove(db, key, "set", ...) end

    function commands.SMEMBERS(key)
        local entry = db.find(key, "set")
        return sorted(entry and entry.value or {})
    end

    function commands.SISMEMBER(key, member)
        local entry = db.find(key, "set")
        return entry and entry.value[member] and 1 or 0
    end

    function commands.SCARD(key)
        local entry = db.find(key, "set")
        return #sorted(entry and entry.value or {})
    end

    function commands.SRANDMEMBER(key, count)
        local members = commands.SMEMBERS(key)
        if not count then return members[1] end
        return table.move(members, 1, math.min(#members, integer(count)), 1, {})
    end
end

local function add_lists(db, commands)
    function commands.RPUSH(key, ...)
        local entry = db.make(key, "list")
        for _, value in ipairs { ... } do entry.value[#entry.value + 1] = value end
        return #entry.value
    end

    function commands.LPUSH(key, ...)
        local entry = db.make(key, "list")
        for _, value in ipairs { ... } do table.insert(entry.value, 1, value) end
        return #entry.value
    end

    function commands.LLEN(key)
        local entry = db.find(key, "list")
        return entry and #entry.value or 0
    end

    function commands.LRANGE(key, from, to)
        local entry = db.find(key, "list")
        return range(entry and entry.value or {}, from, to)
    end

    function commands.LTRIM(key, from, to)
        local entry = db.find(key, "list")
        if not entry then return "OK" end
        entry.value = commands.LRANGE(key, from, to)
        if #entry.value == 0 then db.keys[key] = nil end
        return "OK"
    end
end

local function score(text)
    local bare = text:match "^%(?(.+)$"
    local n = bare == "-inf" and -math.huge or bare:find "^%+?inf$" and math.huge or tonumber(bare)
    if not n then error({ "ERR min or max is not a float" }, 0) end
    return n, text:sub(1, 1) == "("
end

local function add_sorted_sets(db, commands)
    local function ranked(key)
        local entry = db.find(key, "zset")
        local members = sorted(entry and entry.value or {})
        local scores = entry and entry.value or {}
        table.sort(members, function(a, b)
            if scores[a] ~= scores[b] then return scores[a] < scores[b] end
            return a < b
        end)
        return members, scores
    end

    function commands.ZADD(key, ...)
        local words, n, only_new = { ... }, 0, false
        if words[1]:upper() == "NX" then
            only_new = true
            table.remove(words, 1)
        end
        local entry = db.make(key, "zset")
        for i = 1, #words, 2 do
            local there = entry.value[words[i + 1]] ~= nil
            if not there then n = n + 1 end
            if not (there and only_new) then entry.value[words[i + 1]] = score(words[i]) end
        end
        return n
    end

    function commands.ZREM(key, ...) return remove(db, key, "zset", ...) end

    function commands.ZSCORE(key, member)
        local entry = db.find(key, "zset")
        local n = entry and entry.value[member]
        return n and ("%.17g"):format(n)
    end

    function commands.ZCARD(key) return #(ranked(key)) end

    function commands.ZRANGE(key, from, to)
        return range((ranked(key)), from, to)
    end

    function commands.ZRANGEBYSCORE(key, min, max, limit, offset, count)
        local low, above = score(min)
        local high, below = score(max)
        local members, scores = ranked(key)
        local list = {}
        for _, member in ipairs(members) do
            local n = scores[member]
            local fits = (above and n > low or not above and n >= low) and (below and n < high or not below and n <= high)
            if fits then list[#list + 1] = member end
        end
        if not limit then return list end
        return table.move(list, integer(offset) + 1, math.min(integer(offset) + integer(count), #list), 1, {})
    end

    function commands.ZLEXCOUNT(key, min, max)
        local function bound(text) return text:sub(2), text:sub(1, 1) == "(" end
        local low, above = bound(min)
        local high, below = bound(max)
        local n = 0
        for _, member in ipairs((ranked(key))) do
            local from = min == "-" or member > low or member == low and not above
            local to = max == "+" or member < high or member == high and not below
            if from and to then n = n + 1 end
        end
        return n
    end
end

-- --- scripts ---

local function to_script(value)
    if value == nil then return false end
    if value == "OK" or value == "PONG" then return { ok = value } end
    if type(value) ~= "table" then return value end
    local list = {}
    for i, element in ipairs(value) do list[i] = to_script(element) end
    return list
end

local function from_script(value)
    if value == true then return 1 end
    if type(value) == "number" then return math.tointeger(value // 1) end
    if type(value) ~= "table" then return value or nil end
    if value.err then error({ value.err }, 0) end
    if value.ok then return value.ok end
    local list = {}
    for i, element in ipairs(value) do list[i] = from_script(element) or false end
    return list
end

local function add_scripts(db, commands, run)
    local scripts = {}

    local function call(name, ...)
        local words = { ... }
        for i, word in ipairs(words) do
            words[i] = type(word) == "number" and ("%.17g"):format(word) or tostring(word)
        end
        local value, why = run(name, table.unpack(words))
        if value == nil and why then error({ err = why }, 0) end
        return to_script(value)
    end

    local function pcall_command(...)
        local ok, value = pcall(call, ...)
        if ok or type(value) == "table" then return value end
        error(value, 0)
    end

    function commands.EVAL(text, count, ...)
        local words, n = { ... }, integer(count)
        local env = {
            KEYS = table.move(words, 1, n, 1, {}), ARGV = table.move(words, n + 1, #words, 1, {}),
            redis = { call = call, pcall = pcall_command, error_reply = function(why) return { err = why } end,
                status_reply = function(status) return { ok = status } end },
            cjson = { encode = core.encode, decode = core.decode },
            string = string, table = table, math = math, unpack = table.unpack, tonumber = tonumber, tostring = tostring,
            type = type, pairs = pairs, ipairs = ipairs, next = next, select = select, error = error, assert = assert,
            pcall = pcall,
        }
        local chunk, why = load(text, "=user_script", "t", env)
        if not chunk then error({ "ERR Error compiling script " .. why }, 0) end
        scripts[core.sha1(text)] = text
        local ok, value = pcall(chunk)
        if ok then return from_script(value) end
        error({ type(value) == "table" and value.err or "ERR " .. tostring(value) }, 0)
    end

    function commands.EVALSHA(sha, ...)
        if not scripts[sha:lower()] then error({ "NOSCRIPT No matching script. Please use EVAL." }, 0) end
        return commands.EVAL(scripts[sha:lower()], ...)
    end

    function commands.FLUSHALL()
        db.keys, scripts = {}, {}
        return "OK"
    end
end

-- --- the server ---

local redis = {}

function redis.new(now)
    local db, commands = new_keyspace(now), {}

    local function run(name, ...)
        local command = commands[name:upper()]
        if not command then
            return nil, ("ERR the fake Redis does not support %s; use your own: load(file, { redis = "):format(name)
                .. "function(command, ...) ... end })"
        end
        local ok, value, why = pcall(command, ...)
        if ok then return value, why end
        if type(value) == "table" then return nil, value[1] end
        error(value, 0)
    end

    for _, add in ipairs { add_strings, add_hashes, add_sets, add_lists, add_sorted_sets, add_scripts } do
        add(db, commands, run)
    end
    return run
end

return redis
