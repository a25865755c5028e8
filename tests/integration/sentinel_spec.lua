-- A master, a replica and three Sentinels: bellhop finds the master, and follows each kind of failover.
-- There are no duplicates, and connections are registered again.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local sentinel = require "sentinel"
local traffic = require "traffic"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
}

local TARGETS = {
    {path = "users/42", channel = "notification:42", reaches = {"phone", "laptop"}},
    {path = "topics/x", channel = "notification:topic:x", reaches = {"phone"}},
    {path = "users/43", channel = "notification:43", reaches = {"laptop2"}},
}

local servers, sentinels, a, b, c, clients

local function server_on(port)
    for _, s in ipairs(servers) do
        if s.port == port then return s end
    end
end

local function master() return server_on(sentinels[3]:master_port()) end

local function setup_all()
    servers = {redis.start(), nil}
    servers[2] = redis.start {"--replicaof", "127.0.0.1", tostring(servers[1].port)}
    wait.till(function()
        return (servers[1]:call("INFO", "replication") or ""):find "state=online"
    end, 10, "the replica")
    sentinels = sentinel.start(3, servers[1], 1)
    sentinels[1].process:stop "KILL" -- the first of the list is not there
    local url = sentinel.url(sentinels)
    a = daemon.start {redis = url, env = ENV, args = {"--instance", "node-a"}}
    b = daemon.start {redis = url, env = ENV, args = {"--instance", "node-b"}}
    c = daemon.start {redis = url, env = ENV, args = {"--instance", "node-c"}} -- nobody is connected to it
    clients = {
        phone = ws.connect(a.port, "/ws?user=42&topic=x"),
        laptop = ws.connect(b.port, "/ws?user=42"),
        laptop2 = ws.connect(b.port, "/ws?user=43"),
    }
end

local function teardown_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function are(status)
    return function() return a:ready() == status and b:ready() == status and c:ready() == status end
end

-- Traffic while `fault` makes the Sentinels choose another master. Afterwards instances are ready, and an
-- instance without clients lists all connections. goes_red: there is no master for a while, so publishes
-- fail and /readyz is not 200.
local function survives(fault, goes_red)
    local before = master()
    local flow = traffic.new {instances = {a, b, c}, targets = TARGETS, clients = clients, timeout = 12}
    flow:run(0.5)
    flow:fault_begins()
    fault(before)
    if goes_red then
        flow:run(are(503), 5, "/readyz 503")
        flow:run(function() return flow.refused > 0 end, 3, "a refusal")
    end
    flow:run(function() return sentinels[3]:master_port() ~= before.port end, 20, "a failover")
    local after = master()
    flow:run(function()
        return are(200)() and after:subscribers "notification:42" == 2
    end, 20, "bellhop at the new master")
    flow:fault_ended()
    flow:run(0.5)
    flow:check()
    wait.till(function()
        local said = c:request("GET", "/api/users/42")
        return said.status == 200 and said.body:find "node%-a" and said.body:find "node%-b"
    end, 5, "the connections to be known")
    assert.is_true((after:call("ROLE") or {})[1] == "master")
    return before
end

local function wait_replica(server)
    wait.till(function() return (server:call "ROLE" or {})[1] == "slave" end, 20, "the old master to be a replica")
    wait.till(function() return #sentinels[3]:call("SENTINEL", "replicas", sentinel.MASTER) == 1 end, 10)
end

describe("with Sentinels", function()
    setup(setup_all)
    teardown(teardown_all)

    it("the master is found although the first Sentinel is down", function()
        assert.are.equal(2, master():subscribers "notification:42")
        a:publish("users/42", "hello")
        for _, name in ipairs {"phone", "laptop"} do assert.are.equal("hello", clients[name]:recv()) end
    end)

    it("a planned failover is followed by all instances", function()
        local old = survives(function() sentinels[3]:call("SENTINEL", "FAILOVER", sentinel.MASTER) end)
        wait_replica(old)
        wait.till(function() return old:subscribers "notification:42" == 0 end, 10, "the old master to be left")
    end)

    it("a master that is killed is replaced", function()
        local old = survives(function(server) server:kill() end, true)
        old:restart()
        wait_replica(old)
    end)

    it("a suspended master is replaced, and not used again when it resumes", function()
        local old = survives(function(server) server.process:signal "STOP" end)
        old.process:signal "CONT"
        wait_replica(old)
        wait.till(function() return old:subscribers "notification:42" == 0 end, 10, "the old master to be left")
        assert.are.equal(200, a:ready())
    end)

    it("an unknown master is reported as the reason", function()
        local url = sentinel.url(sentinels):gsub("/mymaster", "/ours")
        local d = daemon.start {redis = url, env = ENV, wait = "alive"}
        wait.till(function()
            local answer = d:request("GET", "/readyz")
            return answer.status == 503 and answer.body:find("Sentinel does not know a master of this name", 1, true)
        end, 10, "the reason")
        d:wait_log "Sentinel does not know a master of this name"
    end)
end)

-- The only Sentinel knows no replica, so it keeps naming the former master.
describe("with a Sentinel that is out of date", function()
    local old, new, stale, d

    setup(function()
        old, new = redis.start(), redis.start()
        stale = sentinel.start(1, old, 0)
        d = daemon.start {redis = sentinel.url(stale), env = ENV}
    end)
    teardown(teardown_all)

    it("no instance stays with a replica, and all work when it is a master again", function()
        local client = ws.connect(d.port, "/ws?user=42")
        assert.are.equal("OK", old:call("REPLICAOF", "127.0.0.1", tostring(new.port)))
        old:call("CLIENT", "KILL", "TYPE", "normal") -- as Sentinels do
        old:call("CLIENT", "KILL", "TYPE", "pubsub")
        d:wait_ready(503)
        d:wait_log "not a master"
        assert.are.equal(old.port, stale[1]:master_port())
        check.error(d:request("POST", "/api/users/42/messages?strategy=redis", {body = "x"}), 503, "broker_unavailable")
        wait.till(function() return old:subscribers "notification:42" == 0 end, 5, "the replica to be left")
        assert.are.equal("OK", old:call("REPLICAOF", "NO", "ONE"))
        d:wait_ready()
        d:publish("users/42", "hello", "strategy=redis")
        check.next(client, "hello")
    end)
end)
