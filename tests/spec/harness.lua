-- What a spec needs to try a policy in the real runtime: connections that are given headers and a
-- query, what they were sent, a clock.
--
--     local t = harness.load("policy.lua", { config = { dev = true } })
--     local phone = t.connect { query = "user=42" }
--     phone:recv "hello"
--     assert.same({ "HELLO" }, phone.sent())
local core = require "bellhop.test.core"
local json = require "dkjson"

local harness = { now = core.now, secret = ("k"):rep(32) }

local open_worlds, open_phones = {}, {}

local function path_of(name)
    return name:sub(1, 1) == "/" and name or core.lua_dir .. "/" .. name
end

-- A token, valid unless the claims say otherwise.
function harness.jwt(claims, secret)
    return core.jwt(json.encode(claims), secret or harness.secret)
end

-- The policy with a configuration (a table); nil and the error when it does not start.
function harness.load(name, options)
    options = options or {}
    local config = options.config or { auth = { jwt = { secret = harness.secret } } }
    local world, why = core.world(json.encode(config), path_of(name))
    if not world then return nil, why end
    open_worlds[#open_worlds + 1] = world
    local t = {}

    function t.connect(request)
        request = request or {}
        local handle, answer = world:connect(request.query or "", request.headers or {})
        open_phones[#open_phones + 1] = handle
        local phone = answer
        function phone:recv(text) handle:recv(text) return self end
        function phone.sent() return handle:sent() end
        function phone.closed() return handle:closed() end
        function phone.hang_up() handle:hang_up() end
        if phone.body ~= "" then phone.json = json.decode(phone.body) end
        return phone
    end

    function t.bearer(claims, secret)
        return t.connect { headers = { Authorization = "Bearer " .. harness.jwt(claims, secret) } }
    end

    function t.advance(seconds) world:advance(seconds) end

    function t.publish(topic, data) return world:publish(topic, data) end

    return t
end

-- For after_each.
function harness.close()
    for _, phone in ipairs(open_phones) do phone:hang_up() end
    for _, world in ipairs(open_worlds) do world:close() end
    open_phones, open_worlds = {}, {}
end

return harness
