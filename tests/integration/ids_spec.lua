-- Ids of identity providers on real daemons that share a Redis: delivered, counted and closed under their own
-- names, and none reaches what belongs to another.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local LEASE, DEBOUNCE = 1, 0.2

-- What publishers do: the bytes that separate names in Redis are encoded.
local function encode(id, topic)
    return (id:gsub(topic and "[%%:{}]" or "[%%:{}/]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function escape(id)
    return (id:gsub("[^%w._~-]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function quote(text) return '"' .. text:gsub('["\\]', "\\%0") .. '"' end

local IDS = {
    "42", "9223372036854775807", "auth0|5f7c", "us-east-1:0a1b", "a+b@x.org", "did:plc:x", "пользователь",
    "100%", "%3A", "{42}", "a/b", 'quote"back\\slash', "github|o'neil", "urn:uuid:f81d4fae", "<b>&amp;", "0",
    "日本語", ("é"):rep(63), ("%"):rep(127),
}

-- The longest topics: plain, encoded in channels, and of more than one byte each.
local LONG = {("x"):rep(255), ("a/"):rep(127) .. "b", ("%"):rep(255), (":"):rep(255), ("é"):rep(127) .. "{"}

local function ids_of(kind)
    local ids = {table.unpack(IDS)}
    if kind == "topic" then table.move(LONG, 1, #LONG, #ids + 1, ids) end
    return ids
end

-- Ids that would name the channels below, if they were put together without encoding.
local HOSTILE = {
    "tenant:7", "topic:news", "topic:news/eu", "tenant%3A7", "topic%3Anews", "%34%32", "user:42", "%62roadcast",
    "Broadcast", "BROADCAST", "broadcast:", "notification:42", "notification:broadcast", "42/connections",
    "../42", "42%2Fmessages", "*", "?", "4[2]", "{42}", "42{}", "all", "tenant", "topic", "42%00", "%2A",
}

local POLICY = [[
local bh = require "bellhop"

local calls = {}

function calls.publish(target)
    target.data = "by Lua"
    local result, why = bh.publish_wait(target)
    return result and result.status or why
end

function calls.redis(target)
    return bh.redis.call("PUBLISH", bh.channel(target), "by bh.channel")
end

function calls.channel(target)
    local channel, why = bh.channel(target)
    return channel or why
end

function calls.close(target) return bh.hub.close_user(target.user, 4001, "by Lua") end
function calls.online(target) return bh.tracker.online(target.user) end
function calls.count(target) return bh.tracker.count(target.tenant) end

return {
    on_handshake = function(req)
        return { user = req:arg "user", tenant = req:arg "tenant", topics = req:args "topic" }
    end,
    on_message = function(conn, text)
        local ok, why = conn:subscribe(text)
        return ok and "joined" or why
    end,
    on_presence = function(event)
        bh.redis.call("RPUSH", "events", (event.online and "+" or "-") .. event.user)
    end,
    http = {
        ["POST /call/:name"] = function(req)
            return 200, nil, tostring((calls[req.params.name](req:json())))
        end,
        ["GET /echo/:id"] = function(req) return 200, nil, req.params.id end,
    },
}
]]

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.1",
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = tostring(DEBOUNCE),
    BELLHOP_SERVER_DRAIN_TIMEOUT = "2",
}

local server

local function start(name, more, binary)
    local env, own = {}, daemon.BIN
    for key, value in pairs(ENV) do env[key] = value end
    for key, value in pairs(more or {}) do env[key] = value end
    daemon.BIN = binary or own
    local policy = server.kind == "cluster" and POLICY:gsub('"PUBLISH"', '"SPUBLISH"') or POLICY
    local d = daemon.start {redis = server:url(), env = env, policy = policy, args = {"--instance", name}}
    daemon.BIN = own
    return d
end

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function connect(d, kind, id) return ws.connect(d.port, "/ws?" .. kind .. "=" .. escape(id)) end

local function call(d, name, kind, id)
    local body = ("{%s:%s}"):format(quote(kind), quote(id))
    return d:request("POST", "/call/" .. name, {body = body}).body
end

-- The user's events so far, "+-": came, went.
local function events(user)
    local said = ""
    for _, event in ipairs(server:call("LRANGE", "events", "0", "-1")) do
        if event:sub(2) == user then said = said .. event:sub(1, 1) end
    end
    return said
end

local function wait_events(user, wanted)
    wait.till(function() return events(user) == wanted end, 15, function()
        return ("events %q of %s, not %q"):format(wanted, user, events(user))
    end)
end

local CHANNELS = {user = "notification:", tenant = "notification:tenant:", topic = "notification:topic:"}

describe("ids of identity providers", function()
    local a, b

    setup(function()
        server = topology.start()
        a, b = start "node-a", start "node-b"
    end)
    teardown(stop_all)
    after_each(ws.drop_all)

    for kind, prefix in pairs(CHANNELS) do
        it("reach a " .. kind .. " on every instance, from HTTP, Redis and Lua", function()
            for _, id in ipairs(ids_of(kind)) do
                local here, there = connect(a, kind, id), connect(b, kind, id)
                local channel = prefix .. encode(id, kind == "topic")
                local path = ("%ss/%s"):format(kind, escape(id))
                for _, strategy in ipairs {"local_first", "redis", "both"} do
                    a:publish(path, id .. strategy, "strategy=" .. strategy)
                    check.next(here, id .. strategy)
                    check.next(there, id .. strategy)
                end
                local batch = ("[{%s:%s,\"data\":1}]"):format(quote(kind), quote(id))
                assert.are.equal(200, b:request("POST", "/api/publish", {body = batch}).status)
                check.next(here, "1")
                check.next(there, "1")
                assert.are.equal(2, server:call("PUBLISH", channel, "by Redis"), channel)
                check.next(here, "by Redis")
                check.next(there, "by Redis")
                assert.are.equal("delivered", call(b, "publish", kind, id))
                check.next(here, "by Lua")
                check.next(there, "by Lua")
                assert.are.equal(channel, call(a, "channel", kind, id))
                if server.kind ~= "shards" then -- where bh.redis is not where the topic is
                    assert.are.equal("2", call(a, "redis", kind, id))
                    check.next(here, "by bh.channel")
                    check.next(there, "by bh.channel")
                end
                check.quiet(a, here, there)
                here:drop()
                there:drop()
            end
        end)
    end

    it("are subscribed to by hooks", function()
        local client = ws.connect(a.port, "/ws")
        for _, id in ipairs(ids_of "topic") do
            client:text(id)
            check.next(client, "joined")
            b:publish("topics/" .. escape(id), "to " .. id)
            check.next(client, "to " .. id)
        end
        for _, bad in ipairs {"a b", "a\194\160b", "a\226\128\174b", "a\226\128\168b", "a\194\133b", "a\127", "\t",
            LONG[1] .. "x", LONG[3] .. "%"} do
            client:text(bad)
            assert.are_not.equal("joined", (client:recv()))
        end
    end)

    it("have presence, events and keys of their own, and are disconnected", function()
        for i, name in ipairs(IDS) do
            local id = "p" .. name
            local client = ws.connect(a.port, ("/ws?user=%s&tenant=%s"):format(escape(id), escape(id)))
            wait_events(id, "+")
            local answer = b:request("GET", "/api/users/" .. escape(id)).body
            assert.matches('{"online":true,"connections":[{"instance":"node-a","id":"' .. client.id .. '","tenant":'
                .. quote(id) .. ",", answer, 1, true)
            local bulk = b:request("POST", "/api/users/online", {body = '{"users":[' .. quote(id) .. ',"nobody"]}'}).body
            assert.matches('{"online":{' .. quote(id) .. ':true,"nobody":false}', bulk, 1, true)
            assert.are.equal("true", call(b, "online", "user", id))
            wait.till(function() return call(b, "count", "tenant", id) == "1" end)
            assert.is_true(server:has_key(":connections:" .. encode(id)))
            assert.is_true(server:has_key(":tenant:" .. encode(id)))
            if i % 2 == 0 then
                local path = "/api/users/" .. escape(id) .. "/connections"
                assert.are.equal(200, b:request("DELETE", path).status)
                check.closed(client, 4000, "disconnected")
            else
                assert.are.equal("true", call(b, "close", "user", id))
                check.closed(client, 4001, "by Lua")
            end
            wait_events(id, "+-")
            assert.is_false(server:has_key(":connections:" .. encode(id)))
        end
    end)

    it("outlive nothing: a killed instance's users go offline, and their keys are removed", function()
        local doomed = start "node-doomed"
        for _, id in ipairs(IDS) do
            ws.connect(doomed.port, ("/ws?user=%s&tenant=%s"):format(escape("x" .. id), escape("x" .. id)))
        end
        for _, id in ipairs(IDS) do wait_events("x" .. id, "+") end
        doomed.process:stop "KILL"
        for _, id in ipairs(IDS) do wait_events("x" .. id, "+-") end
        wait.till(function() return #server:keys("*:connections:x*") == 0 end, 10, "the keys to be removed")
        wait.till(function() return #server:keys("*:tenant:x*") == 0 end, 10, "the keys to be removed")
        pcall(doomed.stop, doomed)
    end)

    it("are decoded in the paths of scripts", function()
        for _, id in ipairs(IDS) do
            assert.are.equal(id, a:request("GET", "/echo/" .. escape(id)).body)
        end
    end)

    it("are refused with white space and controls, and `broadcast` as a user", function()
        for _, bad in ipairs {"a b", "a\194\160b", "a\226\128\174b", "a\226\129\166b", "\r\n", "a\127b", "a\0", "\255",
            ("x"):rep(129), "broadcast"} do
            local path = "/api/users/" .. escape(bad)
            check.error(a:request("GET", path), 400, "invalid_user")
            check.error(a:request("POST", path .. "/messages", {body = "x"}), 400, "invalid_user")
            check.error(a:request("DELETE", path .. "/connections"), 400, "invalid_user")
            local client, refusal = ws.try(a.port, "/ws?user=" .. escape(bad))
            assert.is_nil(client)
            assert.are_not.equal(101, refusal.status)
        end
        assert.are.equal(200, a:request("GET", "/api/tenants/broadcast").status)
    end)

    it("are refused as topics of more than 255 bytes, with the reason", function()
        local why = "a topic must not be longer than 255 bytes"
        for _, byte in ipairs {"x", "%", ":", "é"} do
            for _, n in ipairs {256, 400, 1000} do
                local bad = byte:rep(n)
                local path = "/api/topics/" .. escape(bad) .. "/messages"
                check.error(a:request("POST", path, {body = "x"}), 400, "invalid_topic", why)
                local batch = ("[{%s:%s,\"data\":1}]"):format(quote "topic", quote(bad))
                assert.matches(why, a:request("POST", "/api/publish", {body = batch}).body, 1, true)
                assert.matches(why, call(a, "publish", "topic", bad), 1, true)
                assert.matches(why, call(a, "channel", "topic", bad), 1, true)
                assert.are.equal(0, server:call("PUBLISH", "notification:topic:" .. encode(bad, true), "x"))
            end
        end
        local client, refusal = ws.try(a.port, "/ws?topic=" .. ("x"):rep(256))
        assert.is_nil(client)
        assert.are_not.equal(101, refusal.status)
        check.error(a:request("POST", "/api/users/" .. ("u"):rep(300) .. "/messages", {body = "x"}), 400, "invalid_user",
            "128 bytes")
    end)

    it("name no other channel, in no verb", function()
        local victims = {
            ws.connect(a.port, "/ws?user=42&tenant=7&topic=news&topic=news/eu"),
            ws.connect(b.port, "/ws?user=42&tenant=7&topic=news&topic=news/eu"),
            ws.connect(b.port, "/ws?tenant=42&topic=42"),
            ws.connect(a.port, "/ws?user=7"),
        }
        for _, id in ipairs(HOSTILE) do
            local client = ws.connect(a.port, ("/ws?user=%s&tenant=%s&topic=%s"):format(escape(id), escape(id), escape(id)))
            wait.till(function() return call(b, "count", "tenant", id) == "1" end)
            for kind, prefix in pairs(CHANNELS) do
                b:publish(kind .. "s/" .. escape(id), "by HTTP", "strategy=redis")
                check.next(client, "by HTTP")
                call(b, "publish", kind, id)
                check.next(client, "by Lua")
                if server.kind ~= "shards" then
                    call(b, "redis", kind, id)
                    check.next(client, "by bh.channel")
                end
                assert.are.equal(1, server:call("PUBLISH", prefix .. encode(id, kind == "topic"), "by Redis"))
                check.next(client, "by Redis")
            end
            local answer = b:request("GET", "/api/users/" .. escape(id)).body
            assert.matches(client.id, answer, 1, true)
            for _, victim in ipairs(victims) do assert.is_nil(answer:find(victim.id, 1, true)) end
            assert.are.equal(200, b:request("DELETE", "/api/users/" .. escape(id) .. "/connections").status)
            check.closed(client, 4000)
            check.quiet(a, table.unpack(victims))
        end
    end)

    it("have one spelling in channels", function()
        local users = {"us:1", "100%", "a/b", "42", "{42}"}
        local clients = {}
        for i, user in ipairs(users) do clients[i] = connect(a, "user", user) end
        for _, channel in ipairs {"us%3a1", "us:1", "100%", "%3100%25", "a/b", "a%2fb", "%34%32", "{42}", "%7b42%7d"} do
            assert.are.equal(0, server:call("PUBLISH", "notification:" .. channel, "wrong"), channel)
        end
        check.quiet(b, table.unpack(clients))
    end)
end)

describe("tokens of identity providers", function()
    it("are admitted by the policy that comes with bellhop", function()
        local env = {BELLHOP_AUTH_JWT_SECRET = ("s"):rep(32), BELLHOP_API_KEYS = "key"}
        local d = daemon.start {dev = false, env = env}
        finally(stop_all)
        for _, id in ipairs(IDS) do
            local token, status = process.run({daemon.BIN, "token", "--user", id, "--tenant", id}, env)
            assert.are.equal(0, status, token)
            local client = ws.connect(d.port, "/ws?token=" .. token:gsub("%s", ""))
            local key = {Authorization = "Bearer key"}
            d:publish("users/" .. escape(id), "to " .. id, nil, key)
            check.next(client, "to " .. id)
            d:publish("tenants/" .. escape(id), "to the tenant", nil, key)
            check.next(client, "to the tenant")
        end
    end)
end)

describe("ids.wide = false", function()
    local wide, narrow
    local NARROW = {BELLHOP_IDS_WIDE = "false"}

    setup(function()
        server = topology.start()
        wide, narrow = start "node-wide", start("node-narrow", NARROW)
    end)
    teardown(stop_all)
    after_each(ws.drop_all)

    it("refuses new ids, and names the key", function()
        for _, path in ipairs {"users/auth0%7C1/messages", "tenants/a%3Ab/messages", "topics/a%3Ab/messages"} do
            check.error(narrow:request("POST", "/api/" .. path, {body = "x"}), 400, nil, "ids.wide")
        end
        assert.is_nil((ws.try(narrow.port, "/ws?user=auth0%7C1")))
        assert.are.equal(101, ws.connect(narrow.port, "/ws?user=a.b_c@d-E&topic=x/y") and 101)
        assert.are.equal(200, narrow:request("GET", "/api/users/a.b_c%40d-E").status)
    end)

    it("serves the users of other instances all the same: presence, events, cleaning up", function()
        local other = start "node-other"
        for _, id in ipairs(IDS) do connect(other, "user", "y" .. id) end
        for _, id in ipairs(IDS) do wait_events("y" .. id, "+") end
        wide:stop()
        other.process:stop "KILL"
        for _, id in ipairs(IDS) do wait_events("y" .. id, "+-") end
        wait.till(function() return #server:keys("*:connections:y*") == 0 end, 10, "the keys to be removed")
        wait.till(function() return #server:keys("*:events:*") == 0 end, 10, "the events to be confirmed")
        pcall(other.stop, other)
    end)
end)

-- Another version of bellhop on the same Redis: BELLHOP_OTHER_BIN names its program.
local OTHER = os.getenv "BELLHOP_OTHER_BIN"

describe("beside another version, ids of the old alphabet", function()
    if not OTHER then return pending "BELLHOP_OTHER_BIN is not set" end
    local old, new
    local NARROW = {BELLHOP_IDS_WIDE = "false"}
    local OLD_IDS = {"42", "9223372036854775807", "jane.doe@example.org", "a_b-C", "broadcast.1"}

    setup(function()
        server = topology.start()
        old, new = start("node-old", nil, OTHER), start("node-new", NARROW)
    end)
    teardown(stop_all)
    after_each(ws.drop_all)

    it("are delivered both ways", function()
        for kind, prefix in pairs(CHANNELS) do
            for _, id in ipairs(OLD_IDS) do
                local one, two = connect(old, kind, id), connect(new, kind, id)
                for i, from in ipairs {old, new} do
                    from:publish(kind .. "s/" .. escape(id), "from " .. i)
                    check.next(one, "from " .. i)
                    check.next(two, "from " .. i)
                end
                assert.are.equal(2, server:call("PUBLISH", prefix .. id, "by Redis"))
                check.next(one, "by Redis")
                check.next(two, "by Redis")
                check.quiet(new, one, two)
                one:drop()
                two:drop()
            end
        end
    end)

    it("have presence and events on both, once", function()
        for i, id in ipairs(OLD_IDS) do
            local at, other = i % 2 == 0 and old or new, i % 2 == 0 and new or old
            local client = connect(at, "user", "p" .. id)
            wait_events("p" .. id, "+")
            assert.matches(client.id, other:request("GET", "/api/users/p" .. id).body, 1, true)
            assert.are.equal(200, other:request("DELETE", "/api/users/p" .. id .. "/connections").status)
            check.closed(client, 4000)
            wait_events("p" .. id, "+-")
        end
    end)

    it("are cleaned up by either after the other", function()
        for i, binary in ipairs {OTHER, false} do
            local doomed = start("node-doomed" .. i, not binary and NARROW or nil, binary or nil)
            for _, id in ipairs(OLD_IDS) do connect(doomed, "user", i .. id) end
            for _, id in ipairs(OLD_IDS) do wait_events(i .. id, "+") end
            doomed.process:stop "KILL"
            for _, id in ipairs(OLD_IDS) do wait_events(i .. id, "+-") end
            pcall(doomed.stop, doomed)
        end
    end)
end)
