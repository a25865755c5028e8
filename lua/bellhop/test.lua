-- bellhop.test - specs of policies, run by `bellhop test SPEC...`.
--
--     local t = require("bellhop.test").load "policy.lua"
--     it("answers ping", function()
--         local phone = t.connect { headers = { authorization = "Bearer " .. t.jwt { sub = "u1" } } }
--         phone:recv '{"type":"ping"}'
--         assert.same({ '{"type":"pong"}' }, phone.sent)
--     end)
--
-- The policy runs in the real core with the real runtime. What is not real is outside of it: the
-- clients (a phone says what the spec says and keeps what it is sent), Redis (a function of the
-- spec, or a small one that keeps values), HTTP servers, and the clock, which stands still until
-- t.advance moves it.
local core = require "bellhop.test.core"

---@class bellhop.test
local test = { now = core.now, secret = ("k"):rep(32), encode = core.encode, decode = core.decode }

-- --- a Redis that keeps values: the commands that policies use most ---

local WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"

local function new_redis(now)
    local keys, commands = {}, {}

    local function find(key, kind)
        local entry = keys[key]
        if entry and entry.ends and entry.ends <= now() then
            keys[key], entry = nil, nil
        end
        if entry and kind and entry.kind ~= kind then error({ WRONGTYPE }, 0) end
        return entry
    end

    local function make(key, kind)
        local entry = find(key, kind)
        if not entry then
            entry = { kind = kind, value = kind == "string" and "" or {} }
            keys[key] = entry
        end
        return entry
    end

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

    function commands.PING(text) return text or "PONG" end

    function commands.SET(key, value, ...)
        local words, ends, when = { ... }, nil, nil
        local i = 1
        while i <= #words do
            local word = words[i]:upper()
            if word == "EX" or word == "PX" then
                ends = now() + integer(words[i + 1]) / (word == "EX" and 1 or 1000)
                i = i + 1
            elseif word == "NX" or word == "XX" then
                when = word
            else
                error({ "ERR syntax error" }, 0)
            end
            i = i + 1
        end
        local there = find(key) ~= nil
        if when == "NX" and there or when == "XX" and not there then return nil end
        keys[key] = { kind = "string", value = value, ends = ends }
        return "OK"
    end

    function commands.GET(key)
        local entry = find(key, "string")
        return entry and entry.value
    end

    function commands.DEL(...)
        local n = 0
        for _, key in ipairs { ... } do
            if find(key) then n, keys[key] = n + 1, nil end
        end
        return n
    end

    function commands.EXISTS(...)
        local n = 0
        for _, key in ipairs { ... } do n = n + (find(key) and 1 or 0) end
        return n
    end

    function commands.INCRBY(key, by)
        local entry = find(key, "string")
        local n = integer(entry and entry.value or "0") + integer(by)
        if entry then
            entry.value = tostring(n)
        else
            keys[key] = { kind = "string", value = tostring(n) }
        end
        return n
    end

    function commands.INCR(key) return commands.INCRBY(key, "1") end
    function commands.DECR(key) return commands.INCRBY(key, "-1") end

    function commands.PEXPIRE(key, ms)
        local entry = find(key)
        if not entry then return 0 end
        entry.ends = now() + integer(ms) / 1000
        return 1
    end

    function commands.EXPIRE(key, seconds)
        return commands.PEXPIRE(key, tostring(integer(seconds) * 1000))
    end

    function commands.PTTL(key)
        local entry = find(key)
        if not entry then return -2 end
        return entry.ends and math.floor((entry.ends - now()) * 1000 + 0.5) or -1
    end

    function commands.TTL(key)
        local ms = commands.PTTL(key)
        return ms < 0 and ms or (ms + 500) // 1000
    end

    function commands.HSET(key, ...)
        local words, entry, new = { ... }, make(key, "hash"), 0
        for i = 1, #words, 2 do
            if entry.value[words[i]] == nil then new = new + 1 end
            entry.value[words[i]] = words[i + 1]
        end
        return new
    end

    function commands.HGET(key, name)
        local entry = find(key, "hash")
        return entry and entry.value[name]
    end

    function commands.HMGET(key, ...)
        local entry, list = find(key, "hash"), {}
        for i, name in ipairs { ... } do list[i] = entry and entry.value[name] or false end
        return list
    end

    function commands.HGETALL(key)
        local entry, list = find(key, "hash"), {}
        for _, name in ipairs(sorted(entry and entry.value or {})) do
            list[#list + 1] = name
            list[#list + 1] = entry.value[name]
        end
        return list
    end

    function commands.HDEL(key, ...)
        local entry, n = find(key, "hash"), 0
        for _, name in ipairs { ... } do
            if entry and entry.value[name] ~= nil then n, entry.value[name] = n + 1, nil end
        end
        if entry and next(entry.value) == nil then keys[key] = nil end
        return n
    end

    function commands.HLEN(key)
        local entry = find(key, "hash")
        return #sorted(entry and entry.value or {})
    end

    function commands.HINCRBY(key, name, by)
        local entry = make(key, "hash")
        local n = integer(entry.value[name] or "0") + integer(by)
        entry.value[name] = tostring(n)
        return n
    end

    function commands.SADD(key, ...)
        local entry, n = make(key, "set"), 0
        for _, member in ipairs { ... } do
            if not entry.value[member] then n, entry.value[member] = n + 1, true end
        end
        return n
    end

    function commands.SREM(key, ...)
        local entry, n = find(key, "set"), 0
        for _, member in ipairs { ... } do
            if entry and entry.value[member] then n, entry.value[member] = n + 1, nil end
        end
        if entry and next(entry.value) == nil then keys[key] = nil end
        return n
    end

    function commands.SMEMBERS(key)
        local entry = find(key, "set")
        return sorted(entry and entry.value or {})
    end

    function commands.SISMEMBER(key, member)
        local entry = find(key, "set")
        return entry and entry.value[member] and 1 or 0
    end

    function commands.SCARD(key)
        local entry = find(key, "set")
        return #sorted(entry and entry.value or {})
    end

    function commands.RPUSH(key, ...)
        local entry = make(key, "list")
        for _, value in ipairs { ... } do entry.value[#entry.value + 1] = value end
        return #entry.value
    end

    function commands.LPUSH(key, ...)
        local entry = make(key, "list")
        for _, value in ipairs { ... } do table.insert(entry.value, 1, value) end
        return #entry.value
    end

    function commands.LLEN(key)
        local entry = find(key, "list")
        return entry and #entry.value or 0
    end

    function commands.LRANGE(key, from, to)
        local entry = find(key, "list")
        local all, list = entry and entry.value or {}, {}
        local first, last = integer(from), integer(to)
        if first < 0 then first = math.max(#all + first, 0) end
        if last < 0 then last = #all + last end
        for i = first, math.min(last, #all - 1) do list[#list + 1] = all[i + 1] end
        return list
    end

    function commands.LTRIM(key, from, to)
        local entry = find(key, "list")
        if not entry then return "OK" end
        entry.value = commands.LRANGE(key, from, to)
        if #entry.value == 0 then keys[key] = nil end
        return "OK"
    end

    function commands.HSETNX(key, name, value)
        local entry = make(key, "hash")
        if entry.value[name] ~= nil then return 0 end
        entry.value[name] = value
        return 1
    end

    function commands.HEXISTS(key, name) return commands.HGET(key, name) and 1 or 0 end

    function commands.SRANDMEMBER(key, count)
        local members = commands.SMEMBERS(key)
        if not count then return members[1] end
        return table.move(members, 1, math.min(#members, integer(count)), 1, {})
    end

    function commands.TIME()
        local time = now()
        return { ("%.0f"):format(time // 1), ("%.0f"):format(time % 1 * 1000000 // 1) }
    end

    -- Sorted sets: {member = score}.

    local function score(text)
        local bare = text:match "^%(?(.+)$"
        local n = bare == "-inf" and -math.huge or bare:find "^%+?inf$" and math.huge or tonumber(bare)
        if not n then error({ "ERR min or max is not a float" }, 0) end
        return n, text:sub(1, 1) == "("
    end

    local function ranked(key)
        local entry = find(key, "zset")
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
        local entry = make(key, "zset")
        for i = 1, #words, 2 do
            local there = entry.value[words[i + 1]] ~= nil
            if not there then n = n + 1 end
            if not (there and only_new) then entry.value[words[i + 1]] = score(words[i]) end
        end
        return n
    end

    function commands.ZREM(key, ...)
        local entry, n = find(key, "zset"), 0
        for _, member in ipairs { ... } do
            if entry and entry.value[member] then n, entry.value[member] = n + 1, nil end
        end
        if entry and next(entry.value) == nil then keys[key] = nil end
        return n
    end

    function commands.ZSCORE(key, member)
        local entry = find(key, "zset")
        local n = entry and entry.value[member]
        return n and ("%.17g"):format(n)
    end

    function commands.ZCARD(key) return #(ranked(key)) end

    function commands.ZRANGE(key, from, to)
        local members = ranked(key)
        local first, last = integer(from), integer(to)
        if first < 0 then first = math.max(#members + first, 0) end
        if last < 0 then last = #members + last end
        return table.move(members, first + 1, math.min(last + 1, #members), 1, {})
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

    -- Scripts run here, with Lua 5.4 for Redis' 5.1.

    local scripts, run = {}, nil

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
        keys, scripts = {}, {}
        return "OK"
    end

    function run(name, ...)
        local command = commands[name:upper()]
        if not command then
            return nil, ("ERR the test's Redis does not know %s; give your own: load(file, { redis = "):format(name)
                .. "function(command, ...) ... end })"
        end
        local ok, value, why = pcall(command, ...)
        if ok then return value, why end
        if type(value) == "table" then return nil, value[1] end
        error(value, 0)
    end
    return run
end

-- --- phones ---

local phone_methods = {}

-- What the client says: text, or binary when the second argument is true.
function phone_methods:recv(data, binary)
    self.handle:recv(type(data) == "table" and core.encode(data) or data, binary)
    return self
end

-- The client goes.
function phone_methods:close(code, reason) self.handle:close(code, reason) end

-- on_slow's word when so many bytes wait for this client.
function phone_methods:slow(queued) return self.handle:slow(queued) end

-- The last message it was sent, decoded from JSON.
function phone_methods:last()
    local sent = self.sent
    return #sent > 0 and core.decode(sent[#sent]) or nil
end

-- Forgets what it was sent so far.
function phone_methods:clear() self.from = self.from + #self.sent end

local phone_fields = {}

function phone_fields.sent(handle, from) return (handle:sent(from)) end
function phone_fields.opcodes(handle, from) return select(2, handle:sent(from)) end
function phone_fields.closed(handle) return (handle:closed()) end
function phone_fields.reason(handle) return select(2, handle:closed()) end

local phone_class = {
    __index = function(phone, name)
        if phone_methods[name] then return phone_methods[name] end
        local handle = rawget(phone, "handle")
        if not handle then return nil end
        local field = phone_fields[name]
        return field and field(handle, phone.from)
    end,
}

local function new_phone(handle, answer)
    local phone = answer
    phone.from = 0
    if phone.status == 0 then
        phone.handle, phone.id, phone.status = handle, handle:id(), 101
    elseif phone.body ~= "" then
        phone.json = core.decode(phone.body)
    end
    return setmetatable(phone, phone_class)
end

-- --- loading ---

local function exists(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

-- A path as it stands, beside the spec, in the folder above it, or in bellhop's own Lua folder.
local function find_file(name)
    if name:sub(1, 1) == "/" then return name end
    local places = { name }
    for level = 2, 12 do
        local info = debug.getinfo(level, "S")
        local folder = info and info.source:match "^@(.-)[^/]*_spec%.lua$"
        if folder then
            places[#places + 1] = folder .. name
            places[#places + 1] = folder .. "../" .. name
        end
    end
    places[#places + 1] = core.lua_dir .. "/" .. name
    for _, path in ipairs(places) do
        if exists(path) then return path end
    end
    error(("no policy %s: looked for %s"):format(name, table.concat(places, ", ")), 3)
end

local function merge(base, over)
    local result = {}
    for key, value in pairs(base) do result[key] = value end
    for key, value in pairs(over) do
        local is_section = type(value) == "table" and type(base[key]) == "table" and #value == 0 and #base[key] == 0
        result[key] = is_section and merge(base[key], value) or value
    end
    return result
end

-- A token with exactly these claims (a table or JSON), for the secret that try and load configure.
function test.jwt(claims, secret)
    return core.jwt(type(claims) == "string" and claims or core.encode(claims), secret or test.secret)
end

local function no_server(request) return nil, "no server answers " .. request.url .. ": give the spec one by http =" end

local worlds, phones = {}, {}

-- Closes what was loaded before. `load` does it by itself for the spec before it.
function test.close()
    for _, phone in ipairs(phones) do phone:free() end
    for _, world in ipairs(worlds) do world:close() end
    worlds, phones = {}, {}
end

-- Another Redis that keeps values: a function(command, ...) for the option `redis`, for specs that let
-- some commands fail.
function test.redis()
    return new_redis(function() return #worlds > 0 and worlds[#worlds]:time() or core.now end)
end

-- The policies (a path or a list) with options: config (merged over bellhop's own), redis (a
-- function(command, ...), or false for none), http (a function(request) that returns { status =,
-- headers =, body = }, or nil and why: all servers that bh.http.fetch reaches), keep (leave earlier
-- ones open). nil and the error when it does not start.
function test.try(files, options)
    options = options or {}
    if type(files) == "string" then files = { files } end
    local paths = {}
    for i, name in ipairs(files) do paths[i] = find_file(name) end
    if not options.keep then test.close() end
    local config = merge(core.config, merge({ auth = { jwt = { secret = test.secret } } }, options.config or {}))
    local time = core.now
    local redis = options.redis
    local world, why
    local function now() return world and world:time() or time end
    if redis == nil then redis = new_redis(now) end
    world, why = core.world(core.encode(config), redis or nil, options.http or no_server, table.unpack(paths))
    if not world then return nil, why end
    worlds[#worlds + 1] = world

    local t = { secret = test.secret }

    function t.connect(request)
        request = request or {}
        local handle, answer = world:connect(request)
        phones[#phones + 1] = handle
        return new_phone(handle, answer)
    end

    -- A token for the secret of auth.jwt; valid for an hour unless exp says otherwise.
    function t.jwt(claims, secret)
        local all = merge({ exp = math.floor(now()) + 3600 }, claims)
        if claims.exp == false then all.exp = nil end
        local configured = config.auth.jwt.secret
        return test.jwt(all, secret or configured ~= "" and configured or nil)
    end

    -- A phone with a token of these claims; a string is the user.
    function t.user(claims, secret)
        if type(claims) == "string" then claims = { sub = claims } end
        return t.connect { headers = { authorization = "Bearer " .. t.jwt(claims, secret) } }
    end

    -- publish { user =, tenant =, topic =, all =, data =, strategy =, ttl =, id =, priority = } as a
    -- backend does: what became of it (status, local, instances, id), or nil and why.
    function t.publish(message)
        local target = message.all and "all"
        for _, kind in ipairs { "user", "tenant", "topic" } do
            if message[kind] then target = kind .. ":" .. message[kind] end
        end
        local data = message.data
        if type(data) == "table" then data = core.encode(data) end
        return world:publish(target or "", data or "", message)
    end

    -- To an endpoint of the policy: status, headers, body, json.
    function t.request(request)
        local answer = world:request(request)
        answer.json = core.decode(answer.body)
        return answer
    end

    -- What on_api says: status 200 is yes, 0 no opinion.
    function t.api(request) return world:api(request or {}) end

    function t.advance(seconds) world:advance(seconds) end
    function t.time() return world:time() end
    function t.reload() return world:reload() end
    function t.shutdown() return world:shutdown() end
    function t.redis(...) return redis(...) end

    return t
end

-- Like try, but what does not start is an error.
function test.load(files, options)
    local t, why = test.try(files, options)
    return t or error(why, 2)
end

return test
