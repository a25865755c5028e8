-- A Redis that answers with errors during traffic: it is full, is a replica, loads its data, loses its
-- scripts, or holds a foreign value under one of our keys. There are no duplicates, publishers get true
-- answers, and afterwards all connections are registered again.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local tcp = require "tcp"
local traffic = require "traffic"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
    BELLHOP_TRACKING_LEASE = "3",
    BELLHOP_TRACKING_DEBOUNCE = "0.2",
}
local SOON = 10 -- seconds until everybody is known again

local TARGETS = {
    {path = "users/42", channel = "notification:42", reaches = {"phone", "laptop"}},
    {path = "tenants/7", channel = "notification:tenant:7", reaches = {"phone"}},
    {path = "topics/x", channel = "notification:topic:x", reaches = {"laptop", "desk"}},
}

local server, a, b, c, all, clients, flow

local function start(options)
    server, all = redis.start(options), {}
    for i, name in ipairs {"node-a", "node-b", "node-c"} do
        all[i] = daemon.start {redis = server:url(), env = ENV, args = {"--instance", name}}
    end
    a, b, c = table.unpack(all)
    clients = {
        phone = ws.connect(a.port, "/ws?user=42&tenant=7"),
        laptop = ws.connect(b.port, "/ws?user=42&topic=x"),
        desk = ws.connect(b.port, "/ws?user=43&topic=x"),
    }
end

local function finish()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

-- Waits until each instance lists this number of connections of the user.
local function wait_known(user, count) check.known(all, user, count) end

local function are(status)
    return function()
        for _, d in ipairs(all) do
            if d:ready() ~= status then return false end
        end
        return true
    end
end

local function begin()
    flow = traffic.new {instances = all, server = server, targets = TARGETS, clients = clients, timeout = 6}
    flow:run(0.4)
end

-- All instances are ready, and there were no losses except during the fault.
local function finish_flow()
    flow:run(0.5)
    flow:check()
end

-- Opens connections on each instance and closes every other one. Returns the open ones.
local function coming_and_going(name)
    local stayed = {}
    for i = 1, 12 do
        local client = ws.connect(all[i % 3 + 1].port, "/ws?user=" .. name .. i)
        if i % 2 == 0 then client:close() else stayed[name .. i] = client end
        if flow then flow:run(0.02) end
    end
    return stayed
end

local function wait_known_again(name, stayed)
    wait_known("42", 2)
    wait_known("43", 1)
    for i = 1, 12 do wait_known(name .. i, stayed[name .. i] and 1 or 0) end
end

describe("under traffic, Redis", function()
    before_each(start)
    after_each(finish)

    it("may be full: no message is lost or refused, and all connections are registered later", function()
        local goes = ws.connect(c.port, "/ws?user=goes")
        wait_known("goes", 1)
        begin()
        server:call("CONFIG", "SET", "maxmemory", "1")
        goes:close()
        local stayed = coming_and_going "full"
        a:wait_log "OOM"
        flow:run(1)
        server:call("CONFIG", "SET", "maxmemory", "0")
        finish_flow()
        assert.are.equal(0, flow.refused)
        wait_known_again("full", stayed)
        wait_known("goes", 0)
    end)

    it("may lose its scripts repeatedly, without an effect", function()
        begin()
        local stayed = {}
        for round = 1, 3 do
            server:call("SCRIPT", "FLUSH")
            for user, client in pairs(coming_and_going("round" .. round .. ".")) do stayed[user] = client end
        end
        finish_flow()
        assert.are.equal(0, flow.refused)
        for round = 1, 3 do wait_known_again("round" .. round .. ".", stayed) end
        for _, d in ipairs(all) do assert.are.equal(0, d:metric "bellhop_redis_track_errors_total") end
    end)

    it("may become a replica, and a master again", function()
        begin()
        flow:fault_begins()
        assert.are.equal("OK", server:call("REPLICAOF", "127.0.0.1", tostring(tcp.free_port())))
        local stayed = coming_and_going "replica"
        for _, d in ipairs(all) do d:wait_log "this Redis is a replica" end
        flow:run(0.5)
        assert.are.equal("OK", server:call("REPLICAOF", "NO", "ONE"))
        flow:run(are(200), 15, "/readyz 200")
        flow:fault_ended()
        finish_flow()
        wait_known_again("replica", stayed)
    end)

    it("may load its data for a while", function()
        server:call("EVAL", "for i = 1, 8000 do redis.call('SET', 'filler' .. i, i) end", "0")
        assert.is_true(server:call "DBSIZE" >= 8000)
        server:call "SAVE"
        begin()
        flow:fault_begins()
        server:kill()
        flow:run(are(503), 5, "/readyz 503")
        flow:run(function() return flow.refused > 0 end, 3, "a refusal")
        server.args = {"--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"}
        server:restart(true)
        flow:run(function()
            return a:request("GET", "/readyz").body:find("Redis is loading its data", 1, true)
        end, 5, "the reason")
        flow:run(function() -- each worker has a link, and a reason, of its own
            local answer = a:request("POST", "/api/users/44/messages?strategy=redis", {body = "x"})
            return answer.status == 503 and answer.body:find("Redis is loading its data", 1, true)
        end, 5, "a publisher to hear the reason")
        flow:run(are(200), 15, "/readyz 200")
        flow:fault_ended()
        finish_flow()
        wait_known("42", 2)
        wait_known("43", 1)
    end)
end)

describe("a foreign value under a key", function()
    before_each(function()
        flow = nil
        start()
    end)
    after_each(finish)

    -- Meanwhile each instance delivers to the user of the key and to others.
    local function delivers()
        for _, d in ipairs(all) do
            d:publish("users/42", "hello")
            check.next(clients.phone, "hello")
            check.next(clients.laptop, "hello")
        end
    end

    it("of a user hides only this user, until it is deleted", function()
        server:call("SET", "ws:connections:late", "x")
        local late = ws.connect(a.port, "/ws?user=late")
        local stayed = coming_and_going "others"
        b:publish("users/late", "hello")
        check.next(late, "hello")
        wait_known_again("others", stayed)
        assert.are.equal("x", server:call("GET", "ws:connections:late"))
        server:call("DEL", "ws:connections:late")
        local again = ws.connect(b.port, "/ws?user=late")
        wait.till(function() return a:request("GET", "/api/users/late").body:find "node%-b" end, SOON)
        late:close()
        again:close()
        wait_known("late", 0)
    end)

    it("of a connected user is repaired after its deletion", function()
        wait_known("42", 2)
        server:call("DEL", "ws:connections:42")
        a:wait_log "keys of users are missing"
        wait_known("42", 2)
    end)

    -- While the value exists the connections are left out; they are registered again by the next full registration.
    it("of a connected user delays no message, and hides nobody else", function()
        wait_known("42", 2)
        server:call("SET", "ws:connections:42", "x")
        delivers()
        wait_known("43", 1)
        wait_known("42", 0)
        server:call("DEL", "ws:connections:42")
        local tablet = ws.connect(c.port, "/ws?user=42")
        wait.till(function() return a:request("GET", "/api/users/42").body:find "node%-c" end, SOON)
        tablet:close()
        server:call "FLUSHALL"
        wait_known("42", 2)
    end)

    for _, key in ipairs {"instances", "presence", "pulse", "leaving"} do
        it("ws:" .. key .. " delays no message, and all is registered after its deletion", function()
            wait_known("42", 2)
            server:call("SET", "ws:" .. key, "x")
            delivers()
            ws.connect(a.port, "/ws?user=during"):close()
            a:wait_log "WRONGTYPE"
            delivers()
            server:call("DEL", "ws:" .. key)
            local late = ws.connect(c.port, "/ws?user=late")
            wait_known("late", 1)
            wait_known("42", 2)
            wait_known("43", 1)
            wait_known("during", 0)
            late:close()
            wait_known("late", 0)
        end)
    end
end)
