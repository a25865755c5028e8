-- bellhop.test - the API for specs of policies, run by `bellhop test SPEC...`.
--
--     local t = require("bellhop.test").load "policy.lua"
--     it("answers ping", function()
--         local client = t.connect { headers = { authorization = "Bearer " .. t.jwt { sub = "u1" } } }
--         client:recv '{"type":"ping"}'
--         assert.same({ '{"type":"pong"}' }, client.sent)
--     end)
--
-- The policy runs in the real core and script runtime. Everything outside of them is fake: clients
-- send what the spec says and record what they receive, Redis and HTTP servers are functions of the
-- spec (or a small built-in Redis), and the clock moves only by t.advance.
--
-- An environment (env) is one such set. Only the newest one is open, unless `keep` is given.
local core = require "bellhop.test.core"
local schema = require "bellhop.test.schema"
local redis_server = require "bellhop.test.redis"

---@class bellhop.test
-- The secret is long enough for HS512.
local test = { now = core.now, secret = ("k"):rep(64), encode = core.encode, decode = core.decode }

-- --- misuse ---

local HERE = debug.getinfo(1, "S").source

-- Raises an error that names the line of the spec.
local function misuse(format, ...)
    local level = 2
    while (debug.getinfo(level, "S") or {}).source == HERE do level = level + 1 end
    error(format:format(...), level)
end

local function check(what, given, known)
    local why = schema.problem(given, known)
    if why then misuse("%s: %s", what, why) end
end

-- --- clients ---

local client_methods = {}

-- A message from the client: text, or binary when the second argument is true.
function client_methods:recv(data, binary)
    self.handle:recv(type(data) == "table" and core.encode(data) or data, binary)
    return self
end

function client_methods:close(code, reason) self.handle:close(code, reason) end

-- The decision of on_slow when so many bytes are queued.
function client_methods:slow(queued) return self.handle:slow(queued) end

-- The last message that the client received, decoded from JSON.
function client_methods:last()
    local sent = self.sent
    return #sent > 0 and core.decode(sent[#sent]) or nil
end

-- As if messages of a topic ("user:42") were missing for this client: a client that resumes is told, for others on_gap
-- runs. reason is "expired" unless given.
function client_methods:gap(topic, reason)
    self.handle:gap(topic, reason)
    return self
end

-- `sent` starts again with the next message.
function client_methods:clear() self.from = self.from + #self.sent end

local client_fields = {}

function client_fields.sent(handle, from) return (handle:sent(from)) end
function client_fields.opcodes(handle, from) return (select(2, handle:sent(from))) end
function client_fields.positions(handle, from) return select(3, handle:sent(from)) end
function client_fields.position(handle) return handle:position() end
function client_fields.recovered(handle) return handle:recovered() end
function client_fields.gaps(handle) return (handle:notes()) end
function client_fields.rewound(handle) return select(2, handle:notes()) end
function client_fields.closed(handle) return (handle:closed()) end
function client_fields.reason(handle) return select(2, handle:closed()) end

local client_class = {
    __index = function(client, name)
        if client_methods[name] then return client_methods[name] end
        local handle = rawget(client, "handle")
        if not handle then return nil end
        local field = client_fields[name]
        return field and field(handle, client.from)
    end,
}

local function new_client(handle, answer)
    local client = answer
    client.from = 0
    if client.status == 0 then
        client.handle, client.id, client.status = handle, handle:id(), 101
    elseif client.body ~= "" then
        client.json = core.decode(client.body)
    end
    return setmetatable(client, client_class)
end

local function connection_id(client)
    return client.id or misuse "t.publish: except must be a connected client, or the id of a connection"
end

-- --- loading ---

local function exists(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

-- Looks for a file at its path, in the folder of the spec, in the folder above, and in the Lua folder of bellhop.
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
    misuse("no policy %s; searched %s", name, table.concat(places, ", "))
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

-- A token with exactly these claims (a table or JSON), signed with the secret that try and load configure.
function test.jwt(claims, secret)
    return core.jwt(type(claims) == "string" and claims or core.encode(claims), secret or test.secret)
end

local function no_server(request)
    return nil, ("no server for %s; pass one to load: { http = function(request) ... end }"):format(request.url)
end

-- A wrong answer of the spec's server is an error of the fetch, as everything that this function raises.
local function checked(server)
    return function(request)
        local response, error_text = server(request)
        local why = response and schema.problem(response, schema.response)
        if why then return nil, "what the spec's function http returns: " .. why end
        return response, error_text
    end
end

-- The list part of `history` is its member `rules`, as in the configuration file.
local function with_named_rules(options)
    local history = type(options.config) == "table" and options.config.history
    if type(history) ~= "table" or #history == 0 then return options end
    local named = { rules = {} }
    for key, value in pairs(history) do
        if math.type(key) == "integer" then named.rules[key] = value else named[key] = value end
    end
    return merge(options, { config = merge(options.config, { history = named }) })
end

local function check_load(files, options)
    check("load", options, schema.load)
    local why = options.config and schema.config_problem(options.config)
    if why then misuse("load: config: %s", why) end
    for _, name in ipairs(files) do
        if type(name) ~= "string" then misuse("load: a file is its path, not a %s", type(name)) end
    end
    if #files == 0 then misuse "load: files must be a path, or a list of paths" end
end

local envs, clients = {}, {}

-- Closes all environments and their clients. `load` and `try` call it first.
function test.close()
    for _, client in ipairs(clients) do client:free() end
    for _, env in ipairs(envs) do env:close() end
    envs, clients = {}, {}
end

-- A new fake Redis, a function(command, ...). A spec that wants some commands to fail wraps it and passes
-- the wrapper as the option `redis`.
function test.redis()
    return redis_server.new(function() return #envs > 0 and envs[#envs]:time() or core.now end)
end

-- Starts policies (a path or a list) in a new environment. Options: config (merged over the configuration
-- of bellhop), redis (a function(command, ...), or false for none), http (a function(request) that returns
-- { status =, headers =, body = }, or nil and an error: every server for bh.http.fetch), keep (do not close
-- earlier environments). Returns nil and the error when the policies do not start.
function test.try(files, options)
    options = with_named_rules(options or {})
    files = type(files) == "table" and files or { files }
    check_load(files, options)
    local paths = {}
    for i, name in ipairs(files) do paths[i] = find_file(name) end
    if not options.keep then test.close() end
    local config = merge(core.config, merge({ auth = { jwt = { secret = test.secret } } }, options.config or {}))
    local time = core.now
    local redis = options.redis
    local env, why
    local function now() return env and env:time() or time end
    if redis == nil then redis = redis_server.new(now) end
    env, why = core.env(core.encode(config), redis or nil, checked(options.http or no_server), table.unpack(paths))
    if not env then return nil, why end
    envs[#envs + 1] = env

    local t = { secret = test.secret }

    function t.connect(request)
        request = request or {}
        check("t.connect", request, schema.connect)
        local handle, answer = env:connect(request)
        clients[#clients + 1] = handle
        return new_client(handle, answer)
    end

    -- A token for the secret of auth.jwt, valid for an hour unless exp is given.
    function t.jwt(claims, secret)
        local all = merge({ exp = math.floor(now()) + 3600 }, claims)
        if claims.exp == false then all.exp = nil end
        local configured = config.auth.jwt.secret
        return test.jwt(all, secret or configured ~= "" and configured or nil)
    end

    -- A client with a token of these claims; a string is the user.
    function t.user(claims, secret)
        if type(claims) == "string" then claims = { sub = claims } end
        return t.connect { headers = { authorization = "Bearer " .. t.jwt(claims, secret) } }
    end

    -- Publishes as a backend does. The fields are those of bh.publish without conn; the core checks them. Returns the
    -- result (status, local, instances, id), or nil and the reason.
    function t.publish(message)
        if type(message) ~= "table" then misuse("t.publish: expected a table, not a %s", type(message)) end
        local copy = {}
        for name, value in pairs(message) do copy[name] = value end
        if copy.data == nil then copy.data = "" end
        if type(copy.data) ~= "string" then copy.data = core.encode(copy.data) end
        if type(copy.except) == "table" then copy.except = connection_id(copy.except) end
        return env:publish(copy)
    end

    -- A page of the history of a topic, as bh.history.read returns it.
    function t.history(query)
        check("t.history", query, schema.history)
        return env:history(query)
    end

    -- A request to an endpoint of the policy. Returns status, headers, body, json.
    function t.request(request)
        check("t.request", request, schema.request)
        local answer = env:request(request)
        answer.json = core.decode(answer.body)
        return answer
    end

    -- The decision of on_api: status 200 allows the request, 0 is no decision.
    function t.api(request)
        request = request or {}
        check("t.api", request, schema.api)
        return env:api(request)
    end

    function t.advance(seconds) env:advance(seconds) end
    function t.time() return env:time() end
    function t.reload() return env:reload() end
    function t.shutdown() return env:shutdown() end

    function t.redis(...)
        if not redis then misuse "t.redis: this environment has no Redis" end
        return redis(...)
    end

    return t
end

-- Like try, but raises the error.
function test.load(files, options)
    local t, why = test.try(files, options)
    return t or error(why, 2)
end

return test
