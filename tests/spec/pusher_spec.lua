-- bellhop.pusher: the protocol, frame by frame, and the HTTP API. The signatures in the first block are the
-- examples of Pusher's documentation.
local test = require "bellhop.test"

local ID, KEY, SECRET = "3", "278d425bdf160c739803", "7ad3773142a6692b25b8"
local REDIS = { redis = { url = { "redis://127.0.0.1:6379" } } }

local paths = {}

-- app: options of the app; more: options of pusher.policy; hooks: statements after `local hooks`. All are Lua text.
local function policy(app, more, hooks)
    local path = os.tmpname()
    paths[#paths + 1] = path
    local file = assert(io.open(path, "w"))
    file:write(([[
local bh = require "bellhop"
local pusher = require "bellhop.pusher"
local wire = require "bellhop.pusher.wire"
local hooks = pusher.policy { apps = {
    { id = "%s", key = "%s", secret = "%s", client_messages = true, %s },
    { id = "quiet", key = "quiet-key", secret = "quiet-secret" },
    { id = "off", key = "off-key", secret = "off-secret", enabled = false },
}, %s }
hooks.http["POST /sign"] = function(req)
    return 200, nil, bh.crypto.hex(bh.crypto.hmac("sha256", req:arg "secret" or "%s", req.body))
end
hooks.http["POST /md5"] = function(req) return 200, nil, bh.crypto.hex(bh.crypto.hash("md5", req.body)) end
hooks.http["POST /topic"] = function(req)
    local topic = wire.topic("3", req.body)
    return 200, nil, { topic = topic, channel = wire.channel("3", topic) }
end
%s
return hooks
]]):format(ID, KEY, SECRET, app or "", more or "", SECRET, hooks or ""))
    file:close()
    return path
end

local t

local function load(app, more, hooks, options)
    options = options or {}
    options.config = options.config or {}
    options.config.websocket = { paths = { "/app/:key", "/ws" } }
    if options.redis == nil and not options.config.redis then options.redis = false end
    t = test.load(policy(app, more, hooks), options)
    return t
end

local function remove_all()
    test.close()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
end

local function hmac(text, secret)
    return t.request({ method = "POST", path = "/sign", query = secret and "secret=" .. secret or "", body = text }).body
end

local function md5(text) return t.request({ method = "POST", path = "/md5", body = text }).body end

-- --- clients ---

local client_methods = {}

-- The frames since the last call, with decoded data.
function client_methods:frames()
    local frames = {}
    for i, text in ipairs(self.ws.sent) do
        frames[i] = assert(test.decode(text))
        if type(frames[i].data) == "string" then frames[i].data = test.decode(frames[i].data) or frames[i].data end
    end
    self.ws:clear()
    return frames
end

-- The only frame since the last call.
function client_methods:frame()
    local frames = self:frames()
    assert.equal(1, #frames, "frames: " .. test.encode(frames))
    return frames[1]
end

function client_methods:say(event, data, channel)
    self.ws:recv { event = event, data = data, channel = channel }
    return self
end

function client_methods:auth(text) return KEY .. ":" .. hmac(self.socket .. ":" .. text) end

function client_methods:subscribe(channel, channel_data)
    local data = { channel = channel, channel_data = channel_data }
    if channel:find "^pri" or channel:find "^pre" then
        data.auth = self:auth(channel .. (channel_data and ":" .. channel_data or ""))
    end
    return self:say("pusher:subscribe", data)
end

-- Subscribes and returns the data of the answer.
function client_methods:join(channel, user, info)
    self:subscribe(channel, user and test.encode { user_id = user, user_info = info })
    local frames = self:frames()
    assert.equal("pusher_internal:subscription_succeeded", frames[1].event, test.encode(frames))
    return frames[1].data
end

local function connect(query, key)
    local ws = t.connect { path = "/app/" .. (key or KEY), query = query or "protocol=7&client=js&version=8.4.0" }
    local client = setmetatable({ ws = ws }, { __index = client_methods })
    local hello = client:frames()[1]
    client.hello = hello
    client.socket = hello and type(hello.data) == "table" and hello.data.socket_id
    return client
end

-- --- the HTTP API ---

local function query_of(method, path, params, body, secret)
    local all = { auth_key = KEY, auth_timestamp = ("%.0f"):format(t.time() // 1), auth_version = "1.0" }
    if body then all.body_md5 = md5(body) end
    for name, value in pairs(params or {}) do all[name] = value or nil end
    local names, parts = {}, {}
    for name in pairs(all) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do parts[i] = name .. "=" .. all[name] end
    local query = table.concat(parts, "&")
    return query .. "&auth_signature=" .. hmac(method .. "\n" .. path .. "\n" .. query, secret)
end

local function get(path, params)
    return t.request { path = path, query = query_of("GET", path, params) }
end

local function post(path, body, params)
    if type(body) == "table" then body = test.encode(body) end
    return t.request { method = "POST", path = path, body = body, query = query_of("POST", path, params, body) }
end

local function trigger(event) return post("/apps/3/events", event) end

-- JSON that Lua cannot hold as it is.
local DIFFICULT = {
    "18446744073709551615", "1732956000000000000", "1e400", "-0.0", "1.50", '"half \\ud83d"', '"\\u0000\\/"', "[ 1, 2 ]",
    '{"\\udc00": 1}', ("["):rep(500) .. ("]"):rep(500),
}

-- --- specs ---

describe("signatures", function()
    setup(function() load() end)
    teardown(remove_all)

    it("are the same as in Pusher's documentation", function()
        assert.equal("58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4", hmac "1234.1234:private-foobar")
        assert.equal("31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
            hmac '1234.1234:presence-foobar:{"user_id":10,"user_info":{"name":"Mr. Channels"}}')
    end)

    it("of the documented request are valid, but it is too old", function()
        local body = '{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        assert.equal("ec365a775a4cd0599faeb73354201b6f", md5(body))
        local query = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
            .. "&body_md5=ec365a775a4cd0599faeb73354201b6f"
        assert.equal("da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
            hmac("POST\n/apps/3/events\n" .. query))
    end)
end)

describe("channel names", function()
    setup(function() load() end)
    teardown(remove_all)

    local function topic(name) return t.request({ method = "POST", path = "/topic", body = name }).json end

    it("map to distinct topics", function()
        assert.equal("pusher/3/news_1-a.b", topic("news_1-a.b").topic)
        assert.equal("pusher/3/a@3db@2cc@3bd@40e", topic("a=b,c;d@e").topic)
        assert.equal("a=b,c;d@e", topic("a=b,c;d@e").channel)
        assert.are_not.equal(topic("a=").topic, topic("a@3d").topic)
        local long = topic(("x"):rep(164))
        assert.matches("^pusher/3/h/%x+$", long.topic)
        assert.equal(75, #long.topic)
        assert.is_nil(long.channel)
        assert.are_not.equal(long.topic, topic(("x"):rep(165)).topic)
        assert.equal(128, #topic(("x"):rep(119)).topic)
        assert.equal(75, #topic(("x"):rep(120)).topic)
    end)
end)

describe("a Pusher connection", function()
    before_each(function() load() end)
    teardown(remove_all)

    it("gets its socket id", function()
        local client = connect()
        assert.equal("pusher:connection_established", client.hello.event)
        assert.matches("^%d+%.%d+$", client.socket)
        assert.equal(120, client.hello.data.activity_timeout)
        assert.is_nil(client.hello.channel)
        assert.matches('"data":"{', t.connect({ path = "/app/" .. KEY, query = "protocol=7" }).sent[1], nil, true)
    end)

    it("gets the reason when it is refused", function()
        local function refused(query, key)
            local client = connect(query, key)
            assert.equal("pusher:error", client.hello.event)
            assert.equal(client.hello.data.code, client.ws.closed)
            assert.equal(client.hello.data.message, client.ws.reason)
            return client.ws.closed
        end
        assert.equal(4001, refused("protocol=7", "unknown"))
        assert.equal(4003, refused("protocol=7", "off-key"))
        assert.equal(4008, refused "client=js")
        for _, protocol in ipairs { "8", "4", "0", "99999999999999999999" } do
            assert.equal(4007, refused("protocol=" .. protocol))
        end
        for _, protocol in ipairs { "x", "", "7.0", "-7", "7x", "0x7", "%207", "1e1" } do
            assert.equal(4006, refused("protocol=" .. protocol))
        end
        assert.equal("pusher:connection_established", connect("protocol=5").hello.event)
    end)

    it("answers pings", function()
        local client = connect()
        assert.same({ event = "pusher:pong", data = {} }, client:say("pusher:ping", {}):frame())
        assert.same({}, client:say("pusher:pong", {}):frames())
    end)

    it("gets an error for an invalid message", function()
        local client = connect()
        local function complaint(text, binary)
            client.ws:recv(text, binary)
            local frame = client:frame()
            assert.equal("pusher:error", frame.event)
            return frame.data.message
        end
        for _, text in ipairs { "nonsense", "[1]", "{}", '{"event":1}', "", '"x"' } do
            assert.matches("JSON object with the field event", complaint(text))
        end
        assert.matches("JSON object", complaint('{"event":"pusher:ping"}', true))
        assert.matches("pusher: and client%-", complaint '{"event":"hello"}')
        assert.matches("pusher: and client%-", complaint '{"event":"pusher_internal:member_added","channel":"presence-a"}')
        assert.is_nil(client.ws.closed)
    end)

    it("by another path is left to other policies", function()
        load(nil, nil, [[
            local on_handshake, on_message = hooks.on_handshake, hooks.on_message
            function hooks.on_handshake(req) return on_handshake(req) or { user = "42" } end
            function hooks.on_message(conn, ...)
                local answer = on_message(conn, ...)
                if answer == nil then return "not Pusher's" end
                return answer
            end]])
        local ws = t.connect { path = "/ws" }
        ws:recv '{"event":"pusher:ping"}'
        assert.same({ "not Pusher's" }, ws.sent)
        ws:close()
        assert.equal("pusher:pong", connect():say("pusher:ping"):frame().event)
    end)

    it("is closed when it is not authorized in time", function()
        load "authorize_within = 10"
        local idle, private, user = connect(), connect(), connect()
        private:join "private-a"
        local data = '{"id":"u1"}'
        user:say("pusher:signin", { auth = user:auth(":user::" .. data), user_data = data })
        assert.equal("pusher:signin_success", user:frame().event)
        idle:join "public"
        t.advance(12)
        assert.equal(4009, idle.ws.closed)
        assert.equal(4009, idle:frame().data.code)
        assert.is_nil(private.ws.closed)
        assert.is_nil(user.ws.closed)
    end)
end)

describe("subscriptions", function()
    before_each(function() load() end)
    teardown(remove_all)

    local function error_of(client)
        local frame = client:frame()
        assert.equal("pusher:subscription_error", frame.event)
        return frame.data.status, frame.data.type, frame.channel
    end

    it("to public channels start and end", function()
        local client = connect()
        client:subscribe "news"
        assert.same({ event = "pusher_internal:subscription_succeeded", channel = "news", data = {} }, client:frame())
        trigger { name = "e", channel = "news", data = "1" }
        assert.equal("e", client:frame().event)
        client:say("pusher:unsubscribe", { channel = "news" })
        trigger { name = "e", channel = "news", data = "1" }
        assert.same({}, client:frames())
        client:say("pusher:unsubscribe", { channel = "news" })
        assert.matches("No current subscription", client:frame().data.message)
        client:join "news"
    end)

    it("cannot be repeated", function()
        local client = connect()
        client:join "news"
        client:subscribe "news"
        assert.equal("Existing subscription to channel news", client:frame().data.message)
        trigger { name = "e", channel = "news", data = "1" }
        assert.equal(1, #client:frames())
    end)

    it("require a valid channel name", function()
        local client = connect()
        for _, name in ipairs { "", "a b", "a/b", "a:b", "#x", "#server-to-user-", "é", ("x"):rep(201) } do
            client:subscribe(name)
            assert.matches("Invalid channel name", client:frame().data.message)
        end
        client:say("pusher:subscribe", {})
        assert.matches("Invalid channel name", client:frame().data.message)
        client:say("pusher:subscribe", { channel = { "x" } })
        assert.matches("Invalid channel name", client:frame().data.message)
        client:say("pusher:unsubscribe", { channel = { "x" } })
        assert.matches("No current subscription", client:frame().data.message)
        client:say("pusher:unsubscribe", "nonsense")
        assert.matches("No current subscription", client:frame().data.message)
        for _, name in ipairs { "a=b@c,d.e;f_g-h", ("x"):rep(200) } do
            client:join(name)
            trigger { name = "e", channel = name, data = name }
            assert.same({ event = "e", channel = name, data = name }, client:frame())
        end
    end)

    it("accept data as text", function()
        local client = connect()
        client:say("pusher:subscribe", '{"channel":"news"}')
        assert.equal("news", client:frame().channel)
    end)

    it("to private channels require a signature", function()
        local client, other = connect(), connect()
        client:join "private-a"
        client:join "private-encrypted-a"
        for _, auth in ipairs {
            KEY .. ":" .. hmac(client.socket .. ":private-c"), other:auth "private-b", "", "x", KEY .. ":", ":",
            "quiet-key:" .. hmac(client.socket .. ":private-b"), KEY .. ":" .. hmac(client.socket .. ":private-b", "other"),
            KEY .. ":" .. hmac(client.socket .. ":private-b"):upper(), false, { "x" },
        } do
            client:say("pusher:subscribe", { channel = "private-b", auth = auth })
            local status, kind, channel = error_of(client)
            assert.equal(401, status)
            assert.equal("AuthError", kind)
            assert.equal("private-b", channel)
        end
        trigger { name = "e", channel = "private-b", data = "1" }
        assert.same({}, client:frames())
        client:join "private-b"
    end)

    it("to presence channels require a user", function()
        local client = connect()
        client:subscribe "presence-a"
        assert.equal(400, (error_of(client)))
        client:say("pusher:subscribe",
            { channel = "presence-a", auth = client:auth "presence-a", channel_data = '{"user_id":"1"}' })
        assert.equal(401, (error_of(client)))
        for _, data in ipairs {
            "{}", "nonsense", "[]", '"1"', '{"user_id":""}', '{"user_id":true}', '{"user_id":1.5}', '{"user_id":"a\\u0000b"}',
            test.encode { user_id = ("x"):rep(129) }, test.encode { user_id = "1", user_info = ("x"):rep(1025) },
        } do
            client:subscribe("presence-a", data)
            assert.equal(400, (error_of(client)))
        end
        assert.same({ presence = { count = 1, ids = { "7" }, hash = { ["7"] = { a = 1.5 } } } },
            client:join("presence-a", 7, { a = 1.5 }))
    end)

    it("to presence channels keep what members say of themselves", function()
        for i, value in ipairs(DIFFICULT) do
            local client, channel = connect(), "presence-" .. i
            client:subscribe(channel, ('{"x":%s,"user_id":"1","user_info":%s}'):format(value, value))
            local data = ('{"presence":{"count":1,"ids":["1"],"hash":{"1":%s}}}'):format(value)
            assert.same({ ('{"event":"pusher_internal:subscription_succeeded","channel":"%s","data":%s}'):format(channel,
                test.encode(data)) }, client.ws.sent)
        end
    end)

    it("to presence channels accept integers of any size as ids", function()
        local client = connect()
        for i, id in ipairs { "7", "-7", "1732956000000000000", "18446744073709551615" } do
            client:subscribe("presence-" .. i, ('{"user_id":%s}'):format(id))
            assert.same({ id }, client:frame().data.presence.ids)
        end
    end)

    it("to the channel of a user do not judge what user_data has besides the id", function()
        for _, value in ipairs(DIFFICULT) do
            local client, data = connect(), ('{"x":%s,"id":"u1"}'):format(value)
            client:say("pusher:signin", { auth = client:auth(":user::" .. data), user_data = data })
            assert.same({ ('{"event":"pusher:signin_success","data":%s}'):format(
                test.encode(test.encode { user_data = data })) }, client.ws.sent)
        end
    end)

    it("to the channel of a user require a sign-in", function()
        local client = connect()
        client:subscribe "#server-to-user-u1"
        assert.equal(401, (error_of(client)))
        local data = '{"id":"u1","user_info":{"name":"U"}}'
        client:say("pusher:signin", { auth = client:auth(":user::" .. data), user_data = data })
        assert.same({ event = "pusher:signin_success", data = { user_data = data } }, client:frame())
        client:subscribe "#server-to-user-u2"
        assert.equal(401, (error_of(client)))
        client:join "#server-to-user-u1"
        assert.equal(200, trigger({ name = "e", channel = "#server-to-user-u1", data = "1" }).status)
        assert.equal("e", client:frame().event)
    end)

    it("to the channel of a user accept an integer as id", function()
        for text, answered in pairs {
            ['{"id":42}'] = '{"id":"42"}',
            ['{ "user_info" : {"id":42}, "id" : -42 }'] = '{ "user_info" : {"id":42}, "id" : "-42" }',
            ['{"a":{"id":42},"b":"\\"id\\":42","id":42,"n":1e9}'] = '{"a":{"id":42},"b":"\\"id\\":42","id":"42","n":1e9}',
            ['{"id":9223372036854775807}'] = '{"id":"9223372036854775807"}',
            ['{"id":18446744073709551615}'] = '{"id":"18446744073709551615"}',
            ['{"a":{"id":42},"id":"42"}'] = '{"a":{"id":42},"id":"42"}',
        } do
            local client = connect()
            client:say("pusher:signin", { auth = client:auth(":user::" .. text), user_data = text })
            assert.same({ event = "pusher:signin_success", data = { user_data = answered } }, client:frame())
            local channel = "#server-to-user-" .. test.decode(answered).id
            client:join(channel)
            assert.equal(200, trigger({ name = "e", channel = channel, data = "1" }).status)
            assert.equal(channel, client:frame().channel)
        end
    end)

    it("end after an invalid sign-in", function()
        for _, data in ipairs {
            '{"id":"u1"}', '{"id":1.5}', '{"id":""}', '{"id":null}', '{"id":true}', '{"id":["u1"]}', '[{"id":"u1"}]', "{}", "x",
            '{"id":{"id":"u1"}}', '{"id":1,"id":null}',
        } do
            local client = connect()
            local right = data ~= '{"id":"u1"}'
            client:say("pusher:signin",
                { auth = right and client:auth(":user::" .. data) or KEY .. ":00", user_data = data })
            assert.equal(4009, client.ws.closed)
            assert.equal(4009, client:frame().data.code)
        end
        local client = connect()
        client:say("pusher:signin", {})
        assert.equal(4009, client.ws.closed)
    end)

    it("may be refused by a hook", function()
        load(nil, nil, [[function hooks.on_subscribe(conn, topic) return topic ~= "pusher/3/no" end]])
        local client = connect()
        client:subscribe "no"
        assert.equal(403, (error_of(client)))
        client:join "yes"
    end)

    it("of two apps are separate", function()
        local one, two = connect(), connect("protocol=7", "quiet-key")
        one:join "news"
        two:join "news"
        trigger { name = "e", channel = "news", data = "1" }
        assert.equal(1, #one:frames())
        assert.same({}, two:frames())
    end)

    it("to cache channels start with the last event", function()
        local client = connect()
        client:subscribe "cache-a"
        assert.equal('{"event":"pusher:cache_miss","channel":"cache-a"}', client.ws.sent[2])
        assert.equal("pusher_internal:subscription_succeeded", client:frames()[1].event)
        trigger { name = "one", channel = "cache-a", data = "1" }
        trigger { name = "two", channel = "cache-a", data = "2" }
        trigger { name = "three", channel = "private-cache-a", data = "3" }
        client:frames()
        local later = connect()
        later:subscribe "cache-a"
        assert.same({ event = "two", channel = "cache-a", data = 2 }, later:frames()[2])
        later:subscribe "private-cache-a"
        assert.equal("three", later:frames()[2].event)
        t.advance(1801)
        later:say("pusher:unsubscribe", { channel = "cache-a" })
        later:subscribe "cache-a"
        assert.equal("pusher:cache_miss", later:frames()[2].event)
        later:subscribe "private-cached"
        assert.equal(1, #later:frames())
    end)

    it("survive a reload", function()
        local client = connect()
        client:join "news"
        client:join("presence-a", "1")
        assert.is_true(t.reload())
        trigger { name = "e", channel = "news", data = "1" }
        assert.equal("e", client:frame().event)
        client:subscribe "news"
        assert.matches("Existing", client:frame().data.message)
        t.advance(6)
        assert.same({ users = { { id = "1" } } }, get("/apps/3/channels/presence-a/users").json)
        assert.equal(1, get("/apps/3/channels/news", { info = "subscription_count" }).json.subscription_count)
    end)
end)

describe("client events", function()
    local alice, bob
    before_each(function()
        load()
        alice, bob = connect(), connect()
    end)
    teardown(remove_all)

    local function complaint(client)
        local frame = client:frame()
        assert.equal("pusher:error", frame.event)
        return frame.data.message, frame.data.code
    end

    it("reach the other members of a private channel", function()
        alice:join "private-a"
        bob:join "private-a"
        for _, data in ipairs { { a = { 1, 2 } }, "text", { b = {} }, 17, false } do
            alice:say("client-x", data, "private-a")
            assert.same({}, alice:frames())
            assert.same({ event = "client-x", channel = "private-a", data = data }, bob:frame())
        end
        alice:say("client-x", nil, "private-a")
        assert.same({ event = "client-x", channel = "private-a" }, bob:frame())
    end)

    it("carry their data as it is", function()
        alice:join "private-a"
        bob:join "private-a"
        for _, value in ipairs(DIFFICULT) do
            alice.ws:recv(('{"x":%s,"event":"client-x","data": %s ,"channel":"private-a"}'):format(value, value))
            assert.same({ ('{"event":"client-x","channel":"private-a","data":%s}'):format(value) }, bob.ws.sent)
            bob.ws:clear()
            t.advance(1)
        end
        assert.same({}, alice.ws.sent)
    end)

    it("are invalid when any part of them is", function()
        alice:join "private-a"
        for _, value in ipairs { "01", "NaN", '"\\x"', "[1", '"a\nb"' } do
            alice.ws:recv(('{"event":"client-x","channel":"private-a","data":%s}'):format(value))
            assert.matches("must be a JSON object", (complaint(alice)))
        end
    end)

    it("carry the user in presence channels", function()
        alice:join("presence-a", "alice")
        bob:join("presence-a", "bob")
        alice:frames()
        alice:say("client-x", {}, "presence-a")
        assert.equal("alice", bob:frame().user_id)
    end)

    it("cannot set other fields of the frame", function()
        alice:join("presence-a", "alice")
        bob:join("presence-a", "bob")
        alice:frames()
        alice.ws:recv([[{"event":"client-x","channel":"presence-a","user_id":"root",]]
            .. [["data":"1},\"user_id\":\"root\"","data":{"a":1}}]])
        for _, frame in ipairs(bob:frames()) do assert.equal("alice", frame.user_id) end
    end)

    it("are refused on other channels", function()
        alice:join "public"
        alice:join "private-encrypted-a"
        for channel, why in pairs {
            public = "private and presence", ["private-b"] = "require a subscription", ["presence-b"] = "require a subscription",
            ["private-encrypted-a"] = "encrypted", ["a b"] = "private and presence", [""] = "private and presence",
        } do
            alice:say("client-x", {}, channel)
            assert.matches(why, (complaint(alice)))
        end
        alice:say("client-x", {})
        assert.matches("private and presence", (complaint(alice)))
        alice:join "private-a"
        alice:say("client-x", ("x"):rep(10 * 1024 + 1), "private-a")
        assert.matches("too large", (complaint(alice)))
        alice:say("client-" .. ("x"):rep(194), {}, "private-a")
        assert.matches("too long", (complaint(alice)))
        local quiet = connect("protocol=7", "quiet-key")
        quiet:say("client-x", {}, "private-a")
        assert.matches("not enabled", (complaint(quiet)))
    end)

    it("have a rate limit", function()
        alice:join "private-a"
        bob:join "private-a"
        for _ = 1, 10 do alice:say("client-x", {}, "private-a") end
        assert.equal(10, #bob:frames())
        assert.same({}, alice:frames())
        alice:say("client-x", {}, "private-a")
        assert.equal(4301, select(2, complaint(alice)))
        assert.same({}, bob:frames())
        bob:say("client-x", {}, "private-a")
        assert.equal(1, #alice:frames())
        t.advance(1)
        alice:say("client-x", {}, "private-a")
        assert.equal(1, #bob:frames())
    end)
end)

-- For both stores: bh.shared and Redis.
local function presence_specs(options)
    local function names(frames)
        local list = {}
        for i, frame in ipairs(frames) do list[i] = frame.event:match ":(.*)$" .. " " .. tostring(frame.data.user_id) end
        return table.concat(list, ", ")
    end

    before_each(function() load(nil, nil, nil, options()) end)
    teardown(remove_all)

    it("announce each user once", function()
        local alice, alice2, bob, bob2 = connect(), connect(), connect(), connect()
        assert.same({ presence = { count = 1, ids = { "alice" }, hash = { alice = { n = 1 } } } },
            alice:join("presence-a", "alice", { n = 1 }))
        assert.same({}, alice:frames())
        alice2:join("presence-a", "alice", { n = 2 })
        assert.same({}, alice:frames())
        local both = { presence = { count = 2, ids = { "alice", "bob" }, hash = { alice = { n = 1 }, bob = { x = "y" } } } }
        assert.same(both, bob:join("presence-a", "bob", { x = "y" }))
        assert.same({ event = "pusher_internal:member_added", channel = "presence-a",
            data = { user_id = "bob", user_info = { x = "y" } } }, alice:frame())
        assert.equal("member_added bob", names(alice2:frames()))
        assert.same(both, bob2:join("presence-a", "bob"))
        bob:say("pusher:unsubscribe", { channel = "presence-a" })
        assert.same({}, alice:frames())
        bob2.ws:close()
        assert.same({ event = "pusher_internal:member_removed", channel = "presence-a", data = { user_id = "bob" } },
            alice:frame())
        alice2.ws:close()
        assert.same({}, alice:frames())
        alice:say("pusher:unsubscribe", { channel = "presence-a" })
        assert.same({ presence = { count = 1, ids = { "bob" }, hash = { bob = test.decode "null" } } },
            bob:join("presence-a", "bob"))
    end)

    it("distinguish users with similar ids", function()
        local one, two = connect(), connect()
        one:join("presence-a", "a")
        two:join("presence-a", "ab")
        assert.equal("member_added ab", names(one:frames()))
        one:say("pusher:unsubscribe", { channel = "presence-a" })
        assert.equal("member_removed a", names(two:frames()))
    end)

    it("have a maximum of members", function()
        load("presence_members = 2", nil, nil, options())
        local one, two, three = connect(), connect(), connect()
        one:join("presence-a", "1")
        two:join("presence-a", "2")
        three:subscribe("presence-a", '{"user_id":"3"}')
        local frame = three:frame()
        assert.same({ "pusher:subscription_error", 403 }, { frame.event, frame.data.status })
        one:frames()
        trigger { name = "e", channel = "presence-a", data = "1" }
        assert.same({}, three:frames())
        assert.equal("e", one:frame().event)
        three:join("presence-a", "2")
        two.ws:close()
        assert.same({}, one:frames())
        three.ws:close()
        assert.equal("member_removed 2", names(one:frames()))
    end)

    it("are listed by the HTTP API", function()
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice")
        alice:join "news"
        bob:join("presence-a", "bob")
        bob:join("presence-b=c", "bob")
        bob:join("presence-" .. ("x"):rep(150), "bob")
        t.advance(0.2)
        assert.same({ users = { { id = "alice" }, { id = "bob" } } }, get("/apps/3/channels/presence-a/users").json)
        assert.equal('{"users":[]}', get("/apps/3/channels/presence-none/users").body)
        assert.same({ occupied = true, user_count = 2, subscription_count = 2 },
            get("/apps/3/channels/presence-a", { info = "user_count,subscription_count" }).json)
        assert.same({ occupied = false, user_count = 0, subscription_count = 0 },
            get("/apps/3/channels/presence-none", { info = "user_count,subscription_count" }).json)
        assert.same({ occupied = true }, get("/apps/3/channels/news").json)
        local long = "presence-" .. ("x"):rep(150)
        assert.same({ channels = { news = {}, ["presence-a"] = {}, ["presence-b=c"] = {}, [long] = {} } },
            get("/apps/3/channels").json)
        assert.same({ channels = { ["presence-a"] = { user_count = 2 } } },
            get("/apps/3/channels", { filter_by_prefix = "presence-a", info = "user_count" }).json)
        assert.equal('{"channels":{}}', get("/apps/3/channels", { filter_by_prefix = "none" }).body)
        local told = { ["presence-a"] = { user_count = 2, subscription_count = 2 }, news = { subscription_count = 1 } }
        assert.same({ channels = told },
            trigger({ name = "e", channels = { "presence-a", "news" }, data = "", info = "user_count,subscription_count" }).json)
        alice.ws:close()
        bob:say("pusher:unsubscribe", { channel = "presence-b=c" })
        t.advance(0.2)
        assert.same({ channels = { ["presence-a"] = {}, [long] = {} } }, get("/apps/3/channels").json)
        t.reload()
        t.advance(6)
        assert.same({ channels = { ["presence-a"] = {}, [long] = {} } }, get("/apps/3/channels").json)
        assert.same({ users = { { id = "bob" } } }, get("/apps/3/channels/" .. long .. "/users").json)
    end)
end

describe("presence channels of one instance", function()
    presence_specs(function() return {} end)
end)

describe("presence channels with Redis", function()
    local down
    presence_specs(function() return { config = REDIS } end)

    -- Commands as another instance would send them.
    local function other_instance(ends)
        t.redis("ZADD", "ws:pusher:leases", tostring(ends), "other.1")
        t.redis("SADD", "ws:pusher:h:other.1", "3\0presence-a\0carol\0conn", "3\0presence-a\0alice\0conn2")
        t.redis("ZADD", "ws:pusher:m:3:presence-a", "0", "carol\0conn", "0", "alice\0conn2")
        t.redis("HSETNX", "ws:pusher:i:3:presence-a", "carol", "{}")
        t.redis("HSETNX", "ws:pusher:i:3:presence-a", "alice", "{}")
    end

    it("remove the members of a crashed instance", function()
        local alice = connect()
        alice:join("presence-a", "alice")
        other_instance(math.floor(t.time()) + 20)
        assert.equal(2, get("/apps/3/channels/presence-a", { info = "user_count" }).json.user_count)
        t.advance(14)
        assert.same({}, alice:frames())
        t.advance(14)
        assert.same({ event = "pusher_internal:member_removed", channel = "presence-a", data = { user_id = "carol" } },
            alice:frame())
        assert.same({ users = { { id = "alice" } } }, get("/apps/3/channels/presence-a/users").json)
        assert.is_nil(t.redis("ZSCORE", "ws:pusher:leases", "other.1"))
        assert.equal(0, t.redis("SCARD", "ws:pusher:h:other.1"))
    end)

    it("have all their keys in one slot of a Redis Cluster", function()
        for prefix, expected in pairs { ["ws:"] = "{ws:pusher:}", ["{ws}:"] = "{ws}:pusher:" } do
            local url = { "redis+cluster://127.0.0.1:7000" }
            load(nil, nil, nil, { config = { redis = { url = url }, tracking = { key_prefix = prefix } } })
            connect():join("presence-a", "alice")
            assert.equal(1, t.redis("EXISTS", expected .. "i:3:presence-a"))
        end
    end)

    it("let other instances remove the members of one that stops", function()
        local alice = connect()
        alice:join("presence-a", "alice")
        alice:join "news"
        t.advance(1)
        local _, holder = next(t.redis("ZRANGE", "ws:pusher:leases", "0", "-1"))
        assert.is_true(t.shutdown())
        connect():subscribe("presence-b", '{"user_id":"late"}')
        assert.is_nil((t.redis("HGET", "ws:pusher:loss", "id")))
        alice.ws:close()
        t.advance(6)
        assert.equal("0", (t.redis("ZSCORE", "ws:pusher:leases", holder)))
        assert.equal(0, t.redis("EXISTS", "ws:pusher:n:3:" .. holder))
        assert.equal(2, t.redis("SCARD", "ws:pusher:h:" .. holder))
    end)

    it("keep the members of a live instance", function()
        local alice = connect()
        alice:join("presence-a", "alice")
        other_instance(math.floor(t.time()) + 1000)
        t.advance(100)
        assert.same({}, alice:frames())
        assert.equal(2, get("/apps/3/channels/presence-a", { info = "user_count" }).json.user_count)
    end)

    local function holder()
        local _, name = next(t.redis("ZRANGE", "ws:pusher:leases", "0", "-1"))
        return name
    end

    local function users() return get("/apps/3/channels/presence-a/users").json.users end

    it("are whole, and nothing is announced, after data loss in Redis", function()
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice", { n = 1 })
        bob:join "news"
        t.advance(1)
        for _, wait in ipairs { 0, 0.1, 3 } do
            t.redis "FLUSHALL"
            t.advance(wait)
            assert.same({ { id = "alice" } }, users())
            assert.equal(1, get("/apps/3/channels/presence-a", { info = "user_count" }).json.user_count)
            assert.equal('{"n":1}', (t.redis("HGET", "ws:pusher:i:3:presence-a", "alice")))
            assert.equal(1, get("/apps/3/channels/news", { info = "subscription_count" }).json.subscription_count)
            assert.same({}, alice:frames())
        end
        alice.ws:close()
        assert.same({}, users())
    end)

    it("have whole lists for who joins, and lose who leaves, right after data loss", function()
        local alice, bob, carol = connect(), connect(), connect()
        alice:join("presence-a", "alice")
        bob:join("presence-a", "bob")
        assert.equal("bob", alice:frame().data.user_id)
        t.redis "FLUSHALL"
        carol:subscribe("presence-a", '{"user_id":"carol"}')
        t.advance(1)
        assert.same({ "alice", "bob", "carol" }, carol:frame().data.presence.ids)
        for _, one in ipairs { alice, bob } do
            local frame = one:frame()
            assert.equal("pusher_internal:member_added", frame.event)
            assert.equal("carol", frame.data.user_id)
        end
        t.redis "FLUSHALL"
        bob.ws:close()
        t.advance(1)
        for _, one in ipairs { alice, carol } do
            local frame = one:frame()
            assert.equal("pusher_internal:member_removed", frame.event)
            assert.equal("bob", frame.data.user_id)
        end
        assert.same({ { id = "alice" }, { id = "carol" } }, users())
    end)

    it("find that a snapshot is older than the last write", function()
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice")
        t.advance(3)
        local before = t.redis("HGET", "ws:pusher:known", holder())
        bob:join("presence-a", "bob")
        alice:frames()
        t.redis("HSET", "ws:pusher:known", holder(), before)
        t.redis("ZREM", "ws:pusher:m:3:presence-a", "bob\0" .. bob.ws.id)
        t.redis("HDEL", "ws:pusher:i:3:presence-a", "bob")
        assert.same({ { id = "alice" }, { id = "bob" } }, users())
        assert.same({}, alice:frames())
        bob.ws:close()
        assert.equal("bob", alice:frame().data.user_id)
    end)

    it("wait for other workers after data loss, but not for ever", function()
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice")
        t.redis("HSET", "ws:pusher:known", "other.1", "1")
        t.advance(3)
        t.redis "FLUSHALL"
        bob:subscribe("presence-a", '{"user_id":"bob"}')
        t.advance(1)
        assert.same({}, bob:frames())
        t.redis("ZADD", "ws:pusher:m:3:presence-a", "0", "carol\0conn")
        t.redis("HSETNX", "ws:pusher:i:3:presence-a", "carol", "{}")
        t.redis("HINCRBY", "ws:pusher:loss", "back", "1")
        t.advance(1)
        assert.same({ "alice", "bob", "carol" }, bob:frame().data.presence.ids)
        alice:frames()
        t.redis("HSET", "ws:pusher:known", "other.1", "1")
        t.advance(3)
        t.redis "FLUSHALL"
        t.advance(12)
        assert.same({ { id = "alice" }, { id = "bob" } }, users())
        assert.same({}, alice:frames())
    end)

    it("are announced again when they were removed because the lease had expired", function()
        local alice = connect()
        alice:join("presence-a", "alice")
        t.advance(3)
        local name = holder()
        t.redis("HDEL", "ws:pusher:known", name)
        t.redis("ZADD", "ws:pusher:dead", tostring(math.floor(t.time())), name)
        for _, key in ipairs { "m:3:presence-a", "i:3:presence-a", "h:" .. name } do t.redis("DEL", "ws:pusher:" .. key) end
        t.advance(3)
        assert.equal("pusher_internal:member_added", alice:frame().event)
        assert.same({ { id = "alice" } }, users())
        t.advance(10)
        assert.same({}, alice:frames())
    end)

    it("remove entries without a connection", function()
        local alice = connect()
        alice:join("presence-a", "alice")
        t.redis("SADD", "ws:pusher:h:" .. holder(), "3\0presence-a\0ghost\0conn")
        t.redis("ZADD", "ws:pusher:m:3:presence-a", "0", "ghost\0conn")
        t.redis("HSETNX", "ws:pusher:i:3:presence-a", "ghost", "{}")
        t.reload()
        t.advance(6)
        assert.equal("ghost", alice:frame().data.user_id)
        assert.same({ users = { { id = "alice" } } }, get("/apps/3/channels/presence-a/users").json)
    end)

    it("catch up after a Redis outage", function()
        local stored = test.redis()
        down = false
        load(nil, nil, nil, { config = REDIS, redis = function(...)
            if down then return false, "down" end
            return stored(...)
        end })
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice")
        bob:join("presence-a", "bob")
        alice:frames()
        t.advance(6)
        down = true
        local carol = connect()
        carol:subscribe("presence-a", '{"user_id":"carol"}')
        assert.equal(503, carol:frame().data.status)
        assert.equal(503, get("/apps/3/channels/presence-a/users").status)
        assert.equal(503, get("/apps/3/channels").status)
        bob.ws:close()
        t.advance(6)
        assert.same({}, alice:frames())
        down = false
        t.advance(6)
        assert.equal("bob", alice:frame().data.user_id)
        assert.same({ users = { { id = "alice" } } }, get("/apps/3/channels/presence-a/users").json)
        carol:join("presence-a", "carol")
        assert.equal("carol", alice:frame().data.user_id)
    end)

    it("correct an announcement that is no longer true", function()
        -- Bob leaves on another instance while he joins here: the script that reads his info after the announcement
        -- finds none. It has one key and one argument more than all have.
        local stored, lie = test.redis(), false
        load(nil, nil, nil, { config = REDIS, redis = function(name, ...)
            if lie and name:find "^EVAL" and select(2, ...) == "5" and select("#", ...) == 2 + 5 + 7 then
                lie = false
                return { 0, 0, 1, 0, {} }
            end
            return stored(name, ...)
        end })
        local alice, bob = connect(), connect()
        alice:join("presence-a", "alice")
        alice:frames()
        lie = true
        bob:join("presence-a", "bob", {})
        local events = {}
        for i, frame in ipairs(alice:frames()) do events[i] = frame.event:match ":member_(.*)" end
        assert.same({ "added", "removed", "added" }, events)
    end)
end)

describe("the HTTP API", function()
    before_each(function() load() end)
    teardown(remove_all)

    it("triggers events", function()
        local one, two, both = connect(), connect(), connect()
        one:join "a"
        two:join "b"
        both:join "a"
        both:join "b"
        local answer = trigger { name = "paid", channels = { "a", "b" }, data = '{"n":1}' }
        assert.equal(200, answer.status)
        assert.equal("{}", answer.body)
        assert.equal("application/json", answer.headers["Content-Type"])
        assert.same({ event = "paid", channel = "a", data = { n = 1 } }, one:frame())
        assert.equal("b", two:frame().channel)
        assert.equal(2, #both:frames())
        trigger { name = "x", channel = "a", data = "no JSON" }
        assert.equal("no JSON", one:frame().data)
    end)

    it("passes data on as it is", function()
        local one = connect()
        one:join "a"
        for _, data in ipairs { '"\\ud83d"', '"\\u0000 \\/"', '"{\\"n\\":1e400}"', '"ä"' } do
            local answer = trigger(('{"name":"x","channel":"a","data":%s,"x":1e400}'):format(data))
            assert.equal(200, answer.status, answer.body)
            assert.same({ ('{"event":"x","channel":"a","data":%s}'):format(data) }, one.ws.sent)
            one.ws:clear()
            answer = post("/apps/3/batch_events",
                ('{"batch":[{"name":"x","channel":"b","data":""},{"name":"x","channel":"a","data":%s}]}'):format(data))
            assert.equal(200, answer.status, answer.body)
            assert.same({ ('{"event":"x","channel":"a","data":%s}'):format(data) }, one.ws.sent)
            one.ws:clear()
        end
    end)

    it("excludes a socket", function()
        local one, two = connect(), connect()
        one:join "a"
        two:join "a"
        trigger { name = "x", channel = "a", data = "1", socket_id = one.socket }
        assert.same({}, one:frames())
        assert.equal(1, #two:frames())
        assert.equal(200, trigger({ name = "x", channel = "a", data = "1", socket_id = "1.1" }).status)
        for _, id in ipairs { "1", "x.y", "1.2.3", "-1.2", "4294967296.1", "0.0", "99999999999.1", "", 7 } do
            local answer = trigger { name = "x", channel = "a", data = "1", socket_id = id }
            assert.equal(400, answer.status)
            assert.matches("Invalid socket_id", answer.body)
        end
    end)

    it("treats null as absent", function()
        local one = connect()
        one:join "a"
        for _, fields in ipairs {
            '"channel":"a","socket_id":null', '"channel":"a","channels":null', '"channels":["a"],"channel":null,"info":null',
        } do
            local answer = post("/apps/3/events", ('{"name":"x","data":"1",%s}'):format(fields))
            assert.equal("{}", answer.body)
            assert.equal("x", one:frame().event)
        end
        local answer = post("/apps/3/batch_events",
            '{"batch":[{"name":"x","channel":"a","data":"1","socket_id":null,"info":null}]}')
        assert.equal("{}", answer.body)
        assert.equal("x", one:frame().event)
        for fields, why in pairs {
            ['"channel":null,"name":"x","data":"1"'] = "channel or channels is missing",
            ['"channel":"a","name":null,"data":"1"'] = "name is missing",
            ['"channel":"a","name":"x","data":null'] = "data must be a string",
        } do
            for path, body in pairs { events = "{%s}", batch_events = '{"batch":[{%s}]}' } do
                answer = post("/apps/3/" .. path, body:format(fields))
                assert.equal(400, answer.status)
                assert.matches(why, answer.body, nil, true)
            end
        end
        assert.matches("batch is missing", post("/apps/3/batch_events", '{"batch":null}').body)
    end)

    it("triggers batches", function()
        local one = connect()
        one:join "a"
        local function batch(list) return post("/apps/3/batch_events", { batch = list }) end
        local answer = batch { { channel = "a", name = "1", data = "x" }, { channel = "b", name = "2", data = "x" },
            { channel = "a", name = "3", data = "x" }, { channel = "a", name = "4", data = "x", socket_id = one.socket } }
        assert.equal("{}", answer.body)
        local frames = one:frames()
        assert.same({ "1", "3" }, { frames[1].event, frames[2].event })
        assert.is_nil(frames[3])
        t.advance(0.2)
        answer = batch { { channel = "a", name = "1", data = "x", info = "subscription_count" },
            { channel = "b", name = "2", data = "x" } }
        assert.equal('{"batch":[{"subscription_count":1},{}]}', answer.body)
        one:frames()
        -- a batch is published as a whole or not at all
        answer = batch { { channel = "a", name = "1", data = "x" }, { channel = "a b", name = "2", data = "x" } }
        assert.equal(400, answer.status)
        assert.same({}, one:frames())
        assert.equal(400, batch({}).status)
        assert.equal(400, batch({ 1 }).status)
        assert.equal(400, post("/apps/3/batch_events", { batch = 1 }).status)
        local eleven = {}
        for i = 1, 11 do eleven[i] = { channel = "a", name = "x", data = "" } end
        assert.equal(400, batch(eleven).status)
        assert.same({}, one:frames())
    end)

    it("refuses invalid events", function()
        local function status(event) return trigger(event).status end
        assert.equal(400, status { channel = "a", data = "x" })
        assert.equal(400, status { name = "", channel = "a", data = "x" })
        assert.equal(400, status { name = 1, channel = "a", data = "x" })
        assert.equal(400, status { name = ("x"):rep(201), channel = "a", data = "x" })
        assert.equal(400, status { name = "pusher:x", channel = "a", data = "x" })
        assert.equal(400, status { name = "pusher_internal:member_added", channel = "presence-a", data = "x" })
        assert.equal(400, status { name = "x", data = "x" })
        assert.equal(400, status { name = "x", channels = "a", data = "x" })
        assert.equal(400, status { name = "x", channels = { "a", "b c" }, data = "x" })
        assert.equal(400, status { name = "x", channels = { 1 }, data = "x" })
        assert.equal(400, status { name = "x", channel = "a" })
        assert.equal(400, status { name = "x", channel = "a", data = { 1 } })
        assert.equal(400, status { name = "x", channel = "a", data = "x", info = "nonsense" })
        assert.equal(400, status { name = "x", channel = "a", data = "x", info = 7 })
        assert.equal(413, status { name = "x", channel = "a", data = ("x"):rep(10241) })
        assert.equal(200, status { name = "x", channel = "a", data = ("x"):rep(10240) })
        local many = {}
        for i = 1, 100 do many[i] = "c" .. i end
        assert.equal(200, status { name = "x", channels = many, data = "x" })
        many[101] = "c101"
        assert.equal(400, status { name = "x", channels = many, data = "x" })
        assert.equal(400, post("/apps/3/events", "nonsense").status)
        assert.equal(400, post("/apps/3/events", '"text"').status)
    end)

    it("authenticates requests", function()
        local function status(path, params, secret)
            local answer = t.request { path = path, query = query_of("GET", path, params, nil, secret) }
            return answer.status, answer.body
        end
        assert.equal(200, (status "/apps/3/channels"))
        assert.equal(404, (status "/apps/4/channels"))
        assert.equal(401, (status "/apps/quiet/channels"))
        assert.equal(401, (status("/apps/3/channels", nil, "another")))
        assert.equal(401, (status("/apps/3/channels", { auth_key = "x" })))
        assert.equal(401, (status("/apps/3/channels", { auth_key = false })))
        assert.equal(401, (status("/apps/3/channels", { auth_version = "2.0" })))
        for offset, expected in pairs { [-601] = 401, [-599] = 200, [599] = 200, [601] = 401 } do
            assert.equal(expected, (status("/apps/3/channels", { auth_timestamp = ("%.0f"):format(t.time() // 1 + offset) })))
        end
        for _, time in ipairs { "", "x", "nan", "1e400" } do
            assert.equal(401, (status("/apps/3/channels", { auth_timestamp = time })))
        end
        assert.equal(403, (status("/apps/off/channels", { auth_key = "off-key" }, "off-secret")))
        assert.equal(401, t.request({ path = "/apps/3/channels" }).status)
        local query = query_of("GET", "/apps/3/channels")
        assert.equal(401, t.request({ path = "/apps/3/channels/a", query = query }).status)
        assert.equal(401, t.request({ path = "/apps/3/channels", query = query .. "&filter_by_prefix=x" }).status)
        assert.equal(401, t.request({ method = "POST", path = "/apps/3/events", query = query, body = "{}" }).status)
        local answer = t.request { path = "/apps/3/channels", query = query:gsub("signature=.*", "signature=00") }
        assert.equal(401, answer.status)
        assert.matches('HMAC SHA-256 of "GET\\n/apps/3/channels\\nauth_key=', answer.body, nil, true)
        assert.is_nil(answer.body:find(SECRET, 1, true))
    end)

    it("checks the body", function()
        local body, other = '{"name":"x","channel":"a","data":"1"}', '{"name":"x","channel":"a","data":"2"}'
        local path = "/apps/3/events"
        local function status(query, text)
            return t.request({ method = "POST", path = path, query = query, body = text }).status
        end
        assert.equal(200, status(query_of("POST", path, nil, body), body))
        assert.equal(401, status(query_of("POST", path, nil, body), other))
        assert.equal(401, status(query_of("POST", path), body))
        assert.equal(200, status(query_of("POST", path, { x_more = "1" }, body), body))
        assert.equal(401, status(query_of("POST", path, { body_md5 = false }, body), body))
    end)

    it("refuses invalid queries", function()
        assert.equal(400, get("/apps/3/channels", { info = "user_count" }).status)
        assert.equal(400, get("/apps/3/channels", { info = "user_count", filter_by_prefix = "private-" }).status)
        assert.equal(400, get("/apps/3/channels", { info = "nonsense" }).status)
        assert.equal(400, get("/apps/3/channels/news", { info = "user_count" }).status)
        assert.equal(400, get("/apps/3/channels/a%20b").status)
        assert.equal(400, get("/apps/3/channels/news/users").status)
        assert.equal(405, t.request({ path = "/apps/3/events" }).status)
    end)

    it("runs on_publish, which may refuse", function()
        load(nil, nil, [[function hooks.on_publish(msg)
            if msg.topic == "pusher/3/secret" then return false, "not there" end
        end]])
        local answer = trigger { name = "x", channel = "secret", data = "" }
        assert.equal(403, answer.status)
        assert.matches("not there", answer.body)
    end)

    it("has a Lua function that triggers events", function()
        load(nil, nil, [[
            hooks.http["POST /do"] = function(req)
                local e = req:json()
                local ok, why = pusher.trigger(e.app, e.channels, e.event, e.data, e.except)
                return 200, nil, { ok = ok, why = why }
            end]])
        local function call(e) return t.request({ method = "POST", path = "/do", body = test.encode(e) }).json end
        local one, two = connect(), connect()
        one:join "a"
        two:join "a"
        assert.is_true(call({ app = 3, channels = "a", event = "x", data = { n = 1 }, except = two.socket }).ok)
        assert.same({ event = "x", channel = "a", data = { n = 1 } }, one:frame())
        assert.same({}, two:frames())
        assert.equal("unknown app 9", call({ app = "9", channels = "a", event = "x", data = "" }).why)
        assert.matches("Invalid channel", call({ app = "3", channels = { "a b" }, event = "x", data = "" }).why)
        assert.matches("at most 10240", call({ app = "3", channels = "a", event = "x", data = ("x"):rep(10241) }).why)
    end)
end)

describe("limits of an app", function()
    local app = "event_bytes = 20, event_channels = 2, batch_events = 3, user_info_bytes = 10"
    local client
    before_each(function()
        load(app)
        client = connect()
    end)
    teardown(remove_all)

    -- The answer to an event, alone and in a batch.
    local function answers(event)
        return { trigger(event), post("/apps/3/batch_events", { batch = { event } }) }
    end

    it("are those of events", function()
        for _, answer in ipairs(answers { name = "x", channel = "a", data = ("x"):rep(20) }) do
            assert.equal(200, answer.status)
        end
        for _, answer in ipairs(answers { name = "x", channel = "a", data = ("x"):rep(21) }) do
            assert.equal(413, answer.status)
            assert.equal("The event data is too large: 21 bytes; at most 20 (event_bytes)\n", answer.body)
        end
        assert.equal(200, trigger({ name = "x", channels = { "a", "b" }, data = "" }).status)
        local answer = trigger { name = "x", channels = { "a", "b", "c" }, data = "" }
        assert.equal(400, answer.status)
        assert.equal("Too many channels: 3; at most 2 for one event (event_channels)\n", answer.body)
    end)

    it("are those of batches", function()
        local events = {}
        for i = 1, 3 do events[i] = { name = "x", channel = "a", data = "" } end
        assert.equal(200, post("/apps/3/batch_events", { batch = events }).status)
        events[4] = events[1]
        local answer = post("/apps/3/batch_events", { batch = events })
        assert.equal(400, answer.status)
        assert.equal("The batch is too large: 4 events; at most 3 (batch_events)\n", answer.body)
    end)

    it("are those of client events", function()
        client:join "private-a"
        client:say("client-x", ("x"):rep(18), "private-a")
        assert.same({}, client:frames())
        client:say("client-x", ("x"):rep(19), "private-a")
        assert.equal("The event data is too large: 21 bytes; at most 20 (event_bytes)", client:frame().data.message)
    end)

    it("are those of members", function()
        client:join("presence-a", "1", { a = "xx" })
        client:subscribe("presence-b", '{"user_id":"1","user_info":{"a":"xxx"}}')
        local frame = client:frame()
        assert.equal("pusher:subscription_error", frame.event)
        assert.equal(400, frame.data.status)
        assert.equal("user_info is too large: 11 bytes; at most 10 (user_info_bytes)", frame.data.error)
    end)

    it("may be higher than Pusher's", function()
        load("event_bytes = 100000, event_channels = 200, batch_events = 50, user_info_bytes = 5000")
        client = connect()
        client:join("presence-a", "1", ("x"):rep(4998))
        client:join "private-a"
        local large, channels, events = ("x"):rep(99998), {}, {}
        for i = 1, 200 do channels[i] = "c" .. i end
        for i = 1, 50 do events[i] = { name = "e" .. i, channel = "private-a", data = large } end
        assert.equal(200, trigger({ name = "x", channels = channels, data = "" }).status)
        assert.equal(200, post("/apps/3/batch_events", { batch = { table.unpack(events, 1, 3) } }).status)
        assert.equal(large, client:frames()[3].data)
        for i = 1, 50 do events[i].data = "" end
        assert.equal(200, post("/apps/3/batch_events", { batch = events }).status)
        assert.equal(50, #client:frames())
        client:say("client-x", large, "private-a")
        assert.same({}, client:frames())
    end)

end)

describe("pusher.policy", function()
    teardown(remove_all)

    it("refuses unknown and invalid options", function()
        local function why(text)
            local path = os.tmpname()
            paths[#paths + 1] = path
            local file = assert(io.open(path, "w"))
            file:write('return require("bellhop.pusher").policy ' .. text)
            file:close()
            return select(2, test.try(path, { redis = false }))
        end
        local app = "{ id = 1, key = 'k', secret = 's' }"
        assert.is_nil(why("{ apps = { " .. app .. " } }"))
        assert.matches("apps is missing", why "{}")
        assert.matches("apps is missing", why "{ apps = {} }")
        assert.matches("unknown option app", why "{ app = {} }")
        assert.matches("unknown option client_mesages",
            why "{ apps = { { id = 1, key = 'k', secret = 's', client_mesages = true } } }")
        assert.matches("secret is missing", why "{ apps = { { id = 1, key = 'k' } } }")
        assert.matches("key is missing", why "{ apps = { { id = 1, key = '', secret = 's' } } }")
        assert.matches("secret is missing", why "{ apps = { { id = 1, key = 'k', secret = '\\n' } } }")
        assert.matches("secret has a control character", why "{ apps = { { id = 1, key = 'k', secret = 's\\n\\n' } } }")
        assert.matches("key has a control character", why "{ apps = { { id = 1, key = 'k\\1', secret = 's' } } }")
        assert.matches("two apps", why("{ apps = { " .. app .. ", { id = '1', key = 'k\\r\\n', secret = 's\\n' } } }"))
        assert.matches("two apps", why("{ apps = { " .. app .. ", " .. app .. " } }"))
        assert.matches("1 to 40 of", why "{ apps = { { id = 'a/b', key = 'k', secret = 's' } } }")
        assert.matches("lease must be at least", why("{ lease = 0, apps = { " .. app .. " } }"))
        for _, name in ipairs { "event_bytes", "event_channels", "batch_events", "user_info_bytes" } do
            for _, value in ipairs { "0", "-1", "1.5" } do
                assert.matches(name .. " must be an integer of at least 1: " .. value,
                    why(("{ apps = { { id = 1, key = 'k', secret = 's', %s = %s } } }"):format(name, value)), nil, true)
            end
            assert.matches(name .. " must be a number",
                why(("{ apps = { { id = 1, key = 'k', secret = 's', %s = '10' } } }"):format(name)))
        end
        assert.matches("lease must be a number", why("{ lease = 'x', apps = { " .. app .. " } }"))
    end)
end)
