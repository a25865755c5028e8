-- bellhop.test.redis - a fake Redis for specs, with the commands that policies use most. Scripts run in Lua 5.4; the real
-- Redis has Lua 5.1.
--
--     local redis = require("bellhop.test.redis").new(now)   -- now() is the time in seconds
--     local value, why = redis("GET", "key")                 -- nil, why is an error reply
--
-- A command is checked as by Redis: its name, its number of words, its numbers and its options. What Redis knows and this
-- one does not is an error that says so.
--
-- A keyspace (db) has entries { kind, value, expires }. Commands raise { text } for an error reply.
local arity = require "bellhop.test.redis_arity"
local core = require "bellhop.test.core"

local WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
local SYNTAX = "ERR syntax error"

local function fail(text) error({ text }, 0) end

local function unsupported(what)
    return ("ERR the fake Redis does not support %s; use your own: load(file, { redis = function(command, ...) ... end })")
        :format(what)
end

local function wrong_arity(name)
    return ("ERR wrong number of arguments for '%s' command"):format(name:lower())
end

-- Redis takes only the form that it writes itself: no sign +, no zeros in front, no fraction.
local function integer(text, why)
    local n = math.tointeger(tonumber(text))
    if not n or tostring(n) ~= text then fail(why or "ERR value is not an integer or out of range") end
    return n
end

local function is_among(word, list)
    return (" " .. list .. " "):find(" " .. word:upper() .. " ", 1, true) ~= nil
end

-- An optional word that this Redis does not have. known: those that the real one has there.
local function refuse_option(name, word, known, why)
    if word and is_among(word, known) then fail(unsupported(name .. " with " .. word:upper())) end
    if word then fail(why or SYNTAX) end
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
        if entry and kind and entry.kind ~= kind then fail(WRONGTYPE) end
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
    function commands.PING(...)
        if select("#", ...) > 1 then fail(wrong_arity "ping") end
        return ... or "PONG"
    end

    local function expiry(word, amount)
        local n = integer(amount or fail(SYNTAX))
        if n <= 0 then fail "ERR invalid expire time in 'set' command" end
        return db.now() + n / (word == "EX" and 1 or 1000)
    end

    function commands.SET(key, value, ...)
        local words, expires, when = { ... }, nil, nil
        local i = 1
        while i <= #words do
            local word = words[i]:upper()
            if (word == "EX" or word == "PX") and not expires then
                expires = expiry(word, words[i + 1])
                i = i + 1
            elseif (word == "NX" or word == "XX") and (when or word) == word then
                when = word
            else
                refuse_option("SET", word, "EXAT PXAT KEEPTTL GET")
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

    local function expire(name, key, ms, option)
        refuse_option(name, option, "NX XX GT LT", option and "ERR Unsupported option " .. option)
        local entry = db.find(key)
        if not entry then return 0 end
        entry.expires = db.now() + ms / 1000
        return 1
    end

    function commands.PEXPIRE(key, ms, option) return expire("PEXPIRE", key, integer(ms), option) end
    function commands.EXPIRE(key, s, option) return expire("EXPIRE", key, integer(s) * 1000, option) end

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
        local words, new = { ... }, 0
        if #words % 2 == 1 then fail(wrong_arity "hset") end
        local entry = db.make(key, "hash")
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
        local entry, more = db.find(key, "hash"), integer(by)
        local n = integer(entry and entry.value[name] or "0", "ERR hash value is not an integer") + more
        db.make(key, "hash").value[name] = tostring(n)
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
        local members, n = commands.SMEMBERS(key), count and integer(count)
        if not n then return members[1] end
        if n < 0 then fail(unsupported "SRANDMEMBER with a negative count") end
        return table.move(members, 1, math.min(#members, n), 1, {})
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
        local entry, left = db.find(key, "list"), commands.LRANGE(key, from, to)
        if not entry then return "OK" end
        entry.value = left
        if #entry.value == 0 then db.keys[key] = nil end
        return "OK"
    end
end

local function score(text, why)
    local infinite = text:lower():match "^([+-]?)inf$"
    local n = infinite and (infinite == "-" and -math.huge or math.huge) or tonumber(text)
    return n or fail(why or "ERR value is not a valid float")
end

-- A bound of a range of scores, and whether it is excluded.
local function score_bound(text)
    return score(text:match "^%(?(.*)$", "ERR min or max is not a float"), text:sub(1, 1) == "("
end

local function name_bound(text)
    local first = text:sub(1, 1)
    if text == "-" or text == "+" or first == "(" or first == "[" then return text:sub(2), first == "(" end
    fail "ERR min or max not valid string range item"
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
        local words, scores, n = { ... }, {}, 0
        local only_new = is_among(words[1], "NX")
        if only_new then table.remove(words, 1) end
        if is_among(words[1], "XX GT LT CH INCR") then refuse_option("ZADD", words[1], "XX GT LT CH INCR") end
        if #words == 0 or #words % 2 == 1 then fail(SYNTAX) end
        for i = 1, #words, 2 do scores[i] = score(words[i]) end
        local entry = db.make(key, "zset")
        for i = 1, #words, 2 do
            local there = entry.value[words[i + 1]] ~= nil
            if not there then n = n + 1 end
            if not (there and only_new) then entry.value[words[i + 1]] = scores[i] end
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

    function commands.ZRANGE(key, from, to, option)
        refuse_option("ZRANGE", option, "BYSCORE BYLEX REV LIMIT WITHSCORES")
        return range((ranked(key)), from, to)
    end

    -- LIMIT offset count -> the first and the last index; a negative count is all.
    local function limited(n, option, offset, count, more)
        if not option then return 1, n end
        if option:upper() ~= "LIMIT" or not count then refuse_option("ZRANGEBYSCORE", option, "WITHSCORES") end
        refuse_option("ZRANGEBYSCORE", more, "WITHSCORES")
        local first, many = integer(offset) + 1, integer(count)
        return first, many < 0 and n or math.min(first - 1 + many, n)
    end

    function commands.ZRANGEBYSCORE(key, min, max, ...)
        local low, above = score_bound(min)
        local high, below = score_bound(max)
        local members, scores = ranked(key)
        local list = {}
        for _, member in ipairs(members) do
            local n = scores[member]
            local fits = (above and n > low or not above and n >= low) and (below and n < high or not below and n <= high)
            if fits then list[#list + 1] = member end
        end
        local first, last = limited(#list, ...)
        return first < 1 and {} or table.move(list, first, last, 1, {})
    end

    function commands.ZLEXCOUNT(key, min, max)
        local low, above = name_bound(min)
        local high, below = name_bound(max)
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

-- The words of a command. Numbers become text, as a client of Redis sends them; .wrong is the place of the first word that
-- is neither.
local function text_words(...)
    local words = table.pack(...)
    for i = 1, words.n do
        local word = words[i]
        if math.type(word) == "float" then
            words[i] = ("%.17g"):format(word)
        elseif type(word) == "number" then
            words[i] = tostring(word)
        elseif type(word) ~= "string" then
            words.wrong = words.wrong or i
        end
    end
    return words
end

local function add_scripts(db, commands, run)
    local scripts = {}

    -- Redis words these errors in another way for scripts.
    local in_scripts = {
        ["ERR unknown command"] = "ERR Unknown Redis command called from script",
        ["ERR wrong number of arguments"] = "ERR Wrong number of args calling Redis command from script",
    }

    local function call(...)
        local words = text_words(...)
        if words.n == 0 then error({ err = "ERR Please specify at least one argument for this redis lib call" }, 0) end
        if words.wrong then error({ err = "ERR Lua redis lib command arguments must be strings or integers" }, 0) end
        local value, why = run(table.unpack(words, 1, words.n))
        if value ~= nil or not why then return to_script(value) end
        for start, other in pairs(in_scripts) do
            if why:sub(1, #start) == start then why = other end
        end
        error({ err = why }, 0)
    end

    local function pcall_command(...)
        local ok, value = pcall(call, ...)
        if ok or type(value) == "table" then return value end
        error(value, 0)
    end

    function commands.EVAL(text, count, ...)
        local words, n = { ... }, integer(count)
        if n < 0 then fail "ERR Number of keys can't be negative" end
        if n > #words then fail "ERR Number of keys can't be greater than number of args" end
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
        if not chunk then fail("ERR Error compiling script " .. why) end
        scripts[core.sha1(text)] = text
        local ok, value = pcall(chunk)
        if ok then return from_script(value) end
        error({ type(value) == "table" and value.err or "ERR " .. tostring(value) }, 0)
    end

    function commands.EVALSHA(sha, ...)
        if not scripts[sha:lower()] then fail "NOSCRIPT No matching script. Please use EVAL." end
        return commands.EVAL(scripts[sha:lower()], ...)
    end

    function commands.FLUSHALL(option, more)
        if option and (more or not option:upper():find "^A?SYNC$") then fail(SYNTAX) end
        db.keys, scripts = {}, {}
        return "OK"
    end
end

-- --- the server ---

local redis = {}

local function unknown_command(words)
    local list = {}
    for i = 2, words.n do list[i - 1] = ("'%s' "):format(words[i]) end
    return ("ERR unknown command '%s', with args beginning with: %s"):format(words[1], table.concat(list))
end

-- The error reply of a command that does not get as far as its keys, or nil.
local function refusal(words, command)
    local name = words[1]:upper()
    local n = arity[name]
    if not n then return unknown_command(words) end
    if n > 0 and words.n ~= n or words.n < -n then return wrong_arity(name) end
    return not command and unsupported(name) or nil
end

function redis.new(now)
    local db, commands = new_keyspace(now), {}

    local function run(...)
        local words = text_words(...)
        if words.n == 0 then words.wrong = 1 end
        if words.wrong then
            local kind = type(words[words.wrong])
            error(("redis: word %d of the command must be a string or a number, not a %s"):format(words.wrong, kind), 2)
        end
        local command = commands[words[1]:upper()]
        local wrong = refusal(words, command)
        if wrong then return nil, wrong end
        local ok, value, why = pcall(command, table.unpack(words, 2, words.n))
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
