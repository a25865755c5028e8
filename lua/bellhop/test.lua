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
local redis_server = require "bellhop.test.redis"

---@class bellhop.test
local test = { now = core.now, secret = ("k"):rep(32), encode = core.encode, decode = core.decode }

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
    return redis_server.new(function() return #worlds > 0 and worlds[#worlds]:time() or core.now end)
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
    if redis == nil then redis = redis_server.new(now) end
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
