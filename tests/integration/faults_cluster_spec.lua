-- Steady traffic while Redis, the network or an instance fails: there are no duplicates; there are no
-- losses except during the fault; publishers and /readyz get true answers; and the same processes with
-- the same WebSockets continue afterwards.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local proxy = require "proxy"
local redis = require "redis"
local tcp = require "tcp"
local traffic = require "traffic"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
    BELLHOP_WEBSOCKET_PING_INTERVAL = "600",
}

local TARGETS = {
    {path = "users/42", channel = "notification:42", reaches = {"phone", "laptop", "tablet"}},
    {path = "tenants/7", channel = "notification:tenant:7", reaches = {"phone", "laptop", "tablet"}},
    {path = "topics/x", channel = "notification:topic:x", reaches = {"phone", "tablet"}},
    {path = "users/43", channel = "notification:43", reaches = {"desk"}},
}

local server, proxies, a, b, c, all, clients, flow

-- New instances for each group: after repeated failures the back-off is longer.
local function cluster()
    setup(function()
        server, proxies, all = redis.start(), {}, {}
        for i, name in ipairs {"node-a", "node-b", "node-c"} do
            proxies[i] = proxy.start(server.port)
            all[i] = daemon.start {
                redis = proxies[i]:url(), env = ENV, workers = 2, args = {"--instance", name}, wait = "alive",
            }
        end
        for _, d in ipairs(all) do d:wait_ready() end
        a, b, c = table.unpack(all)
    end)
    before_each(function()
        for _, p in ipairs(proxies) do p:resume() end
        for _, d in ipairs(all) do d:wait_ready() end
        clients = {
            phone = ws.connect(a.port, "/ws?user=42&tenant=7&topic=x"),
            laptop = ws.connect(b.port, "/ws?user=42&tenant=7"),
            tablet = ws.connect(c.port, "/ws?user=42&tenant=7&topic=x"),
            desk = ws.connect(b.port, "/ws?user=43"),
        }
    end)
    after_each(ws.drop_all)
    teardown(function()
        ws.drop_all()
        for _, d in ipairs(all) do d.process:signal "CONT" end
        daemon.stop_all()
        proxy.stop_all()
        redis.stop_all()
    end)
end

local function are(status, ...)
    local instances = {...}
    return function()
        for _, d in ipairs(instances) do
            if d:ready() ~= status then return false end
        end
        return true
    end
end

local function all_subscribed()
    for _, target in ipairs(TARGETS) do
        local instances = target.path == "users/43" and 1 or target.path == "topics/x" and 2 or 3
        if server:subscribers(target.channel) ~= instances then return false end
    end
    return true
end

local function subscriber_links()
    local ids = {}
    for id in server:call("CLIENT", "LIST", "TYPE", "pubsub"):gmatch "id=(%d+)" do ids[id] = true end
    return ids
end

-- All old subscriber links are closed.
local function links_renewed(before)
    return function()
        local n = 0
        for id in pairs(subscriber_links()) do
            if before[id] then return false end
            n = n + 1
        end
        return n == #all
    end
end

-- Instances are not ready, and publishes fail.
local function down()
    flow:run(are(503, a, b, c), 5, "/readyz 503")
    flow:run(function() return flow.refused > 0 end, 3, "a refusal")
end

local function begin()
    flow = traffic.new {instances = all, server = server, targets = TARGETS, clients = clients}
    flow:run(0.5)
    flow:fault_begins()
end

-- After the fault all is as before.
local function recover()
    flow:run(are(200, a, b, c), 15, "/readyz 200")
    flow:run(all_subscribed, 15, "all subscriptions")
    flow:fault_ended()
    flow:run(0.5)
    flow:check()
end

describe("under traffic, a network", function()
    cluster()

    it("may be slow, and nothing is refused", function()
        flow = traffic.new {instances = all, server = server, targets = TARGETS, clients = clients}
        flow:run(0.3)
        for _, p in ipairs(proxies) do p:delay(300) end
        flow:run(1.2)
        assert.is_true(are(200, a, b, c)())
        for _, p in ipairs(proxies) do p:delay(0) end
        flow:run(0.5)
        flow:check()
        assert.are.equal(0, flow.refused)
    end)

    it("may stop forwarding", function()
        begin()
        for _, p in ipairs(proxies) do p:pause() end
        down()
        for _, p in ipairs(proxies) do p:resume() end
        recover()
    end)

    it("that stops forwarding does not prevent new connections", function()
        for _, p in ipairs(proxies) do p:pause() end
        for _, d in ipairs(all) do d:wait_ready(503) end
        local late = ws.connect(b.port, "/ws?user=late", {timeout = 4})
        check.error(b:request("POST", "/api/users/late/messages", {body = "here"}), 503, "broker_unavailable")
        check.next(late, "here")
        for _, p in ipairs(proxies) do p:resume() end
        for _, d in ipairs(all) do d:wait_ready() end
        a:publish("users/late", "and from elsewhere")
        check.next(late, "and from elsewhere")
    end)

    it("may refuse connections", function()
        begin()
        for _, p in ipairs(proxies) do p:cut() end
        down()
        for _, p in ipairs(proxies) do p:resume() end
        recover()
    end)

    it("may reset every connection", function()
        begin()
        local before = subscriber_links()
        for _, p in ipairs(proxies) do p:drop() end
        flow:run(links_renewed(before), 10, "new links")
        recover()
    end)

    it("may cut off one instance, without an effect on the others", function()
        flow = traffic.new {
            instances = {a, c}, server = server, targets = TARGETS,
            clients = {phone = clients.phone, tablet = clients.tablet},
        }
        flow:run(0.3)
        proxies[2]:pause()
        flow:run(are(503, b), 5, "/readyz 503")
        assert.is_true(are(200, a, c)())
        check.error(b:request("POST", "/api/users/43/messages", {body = "on the island"}), 503, "broker_unavailable")
        wait.till(function() return clients.desk:recv() == "on the island" end)
        flow:run(0.5)
        flow:check()
        assert.are.equal(0, flow.refused)
        proxies[2]:resume()
    end)
end)

describe("under traffic, Redis", function()
    cluster()

    it("may hang", function()
        begin()
        server.process:signal "STOP"
        down()
        server.process:signal "CONT"
        recover()
    end)

    it("may drop its subscribers", function()
        begin()
        local before = subscriber_links()
        server:call("CLIENT", "KILL", "TYPE", "pubsub")
        flow:run(links_renewed(before), 10, "new links")
        recover()
    end)

    it("may disconnect slow subscribers", function()
        begin()
        local before = subscriber_links()
        assert.are.equal("OK", server:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32768 0 0"))
        server:call("PUBLISH", "notification:broadcast", ("x"):rep(400000))
        flow:run(links_renewed(before), 10, "new links")
        recover()
        assert.are.equal("OK", server:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60"))
    end)
end)

describe("under traffic, Redis", function()
    cluster()

    it("may be down for a while", function()
        begin()
        server:call("CLIENT", "PAUSE", "1500", "ALL")
        down()
        recover()
    end)

    it("may restart with its data", function()
        assert.are.equal("OK", server:call "SAVE")
        begin()
        server:kill()
        down()
        server:restart()
        recover()
    end)

    it("may restart without its data", function()
        os.remove(server.dir .. "/dump.rdb")
        begin()
        server:kill()
        server:restart()
        recover()
    end)
end)

describe("under traffic, an instance", function()
    cluster()

    it("may be suspended", function()
        begin()
        c.process:signal "STOP"
        flow.timeout = 10
        flow:run(2.5)
        assert.is_true(are(200, a, b)())
        c.process:signal "CONT"
        recover()
    end)

    -- The last spec: afterwards two instances are left.
    it("may die, without an effect on the others", function()
        flow = traffic.new {
            instances = all, server = server, targets = TARGETS,
            clients = {phone = clients.phone, laptop = clients.laptop, desk = clients.desk},
        }
        flow:run(0.5)
        c.process:signal "KILL"
        flow:run(0.5)
        assert.is_true(are(200, a, b)())
        flow:run(0.5)
        flow:check()
        assert.are.equal(0, flow.refused)
        assert.are.equal(137, c.process:wait())
        c:stop(137)
        assert.is_nil((tcp.connect(c.port)))
    end)
end)
