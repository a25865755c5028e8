-- The promise of streams on a Redis Cluster of 3 masters, under traffic: slots that move key by key, failovers,
-- masters that are killed, nodes that come and go. tests/support/streams/check.lua says what is promised.
--
-- BELLHOP_STREAMS_SEED=n makes other choices, BELLHOP_STREAMS_VERBOSE=1 shows figures, BELLHOP_STREAMS_FAULTS=n is how
-- many follow each other by chance.
package.path = "tests/support/?.lua;" .. package.path
local http = require "http"
local instances = require "streams.cluster"
local nodes_of = require "redis_cluster"
local pool = require "streams.pool"
local redis = require "redis"
local streams = require "streams"
local wait = require "wait"

local CHANNELS = {"notification:42", "notification:topic:news", "notification:43", "notification:tenant:7",
    "notification:broadcast"}

if redis.version() < 7 then
    pending "Redis before 7 has no sharded channels"
    return
end

local nodes, net, flow

local function start(options)
    options = options or {}
    nodes = nodes_of.start(3, options.replicas or 1, {args = options.args})
    options.redis, options.url = nodes.nodes[1], nodes:url()
    net = instances.start(options)
end

-- options: of instances.start, and replicas, args (of each redis-server); traffic: of streams.new.
local function start_traffic(options, traffic)
    start(options)
    traffic = traffic or {}
    traffic.instances = net.instances
    if traffic.plain == nil then
        traffic.plain = function(target)
            local owner = nodes:node_of(target.channel)
            return owner and owner.address
        end
    end
    flow = streams.new(traffic)
    flow:settle()
    flow:accept(60)
end

-- The cluster serves all again, and there was traffic since.
local function recover(count)
    flow:run(function() return nodes:is_ok() end, 30, "the cluster to be ok")
    flow:run(net:are(200), 15, "/readyz 200")
    flow:accept(count or 60)
end

local function another_master(node)
    for _, master in ipairs(nodes:masters()) do
        if master ~= node then return master end
    end
end

-- The master of a stream, but not the first node, which tells the tests about the cluster.
local function victim()
    for _, channel in ipairs(CHANNELS) do
        local master = nodes:node_of(channel)
        if master ~= nodes.nodes[1] then return master end
    end
end

-- Those of the test, which may be closed.
local function forget_clients()
    for _, client in pairs(nodes.clients) do client:close() end
    nodes.clients, nodes.owners = {}, {}
end

-- Until its replica is the master.
local function kill(master)
    local range = nodes:range_of(master)
    master:kill()
    forget_clients()
    flow:run(function()
        local owner = nodes:node_of(range.first)
        return owner ~= master and owner
    end, 20, "the failover")
end

-- Traffic while a slot moves, between its keys, too.
local function migrate(channel, to)
    nodes:migrate(nodes_of.slot(channel), to, function() flow:run(0.1) end)
end

-- How many masters have this key.
local function holders(key)
    local count = 0
    for _, node in ipairs(nodes:masters()) do
        for _, found in ipairs(node:call("KEYS", key)) do count = count + (found == key and 1 or 0) end
    end
    return count
end

-- Every stream is at one master, with both keys.
local function assert_one_log()
    for _, channel in ipairs(CHANNELS) do
        for _, suffix in ipairs {":log", ":m"} do
            local key = "{" .. channel .. "}" .. suffix
            assert.are.equal(1, holders(key), key)
        end
    end
end

local function stop()
    instances.stop_all()
    nodes = nil
end

describe("under traffic on a Redis Cluster, clients of streams get everything, once and in order, though", function()
    after_each(stop)

    it("there are several masters", function()
        start_traffic(nil, {removes = true})
        flow:accept(150)
        assert_one_log()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("slots with streams move key by key", function()
        start_traffic()
        for _, channel in ipairs(CHANNELS) do migrate(channel, another_master(nodes:node_of(channel))) end
        recover()
        assert_one_log()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("a slot moves from master to master, and back", function()
        start_traffic({replicas = 0}, {removes = true})
        local masters = nodes:masters()
        for i = 1, 6 do
            for _, channel in ipairs {"notification:42", "notification:broadcast"} do
                local to = masters[i % 3 + 1]
                if nodes:node_of(channel) ~= to then migrate(channel, to) end
            end
        end
        recover()
        assert_one_log()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("a master is added, and one is removed", function()
        start_traffic {replicas = 0}
        local added = nodes:add()
        flow:accept(20)
        for _, channel in ipairs(CHANNELS) do migrate(channel, added) end
        flow:accept(60)
        for _, channel in ipairs(CHANNELS) do migrate(channel, nodes.nodes[1]) end
        nodes:remove(added)
        recover()
        assert_one_log()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("masters hand over to their replicas", function()
        start_traffic()
        for _, master in ipairs(nodes:masters()) do
            local range = nodes:range_of(master)
            assert.are.equal("OK", range.replicas[1]:call("CLUSTER", "FAILOVER"))
            flow:run(function() return nodes:node_of(range.first) ~= master end, 15, "the failover")
            recover(40)
        end
        flow:finish {gaps = 0, rewinds = 0, lost = 0}
    end)

    it("masters close the links of subscribers", function()
        start_traffic {replicas = 0}
        for _, master in ipairs(nodes:masters()) do
            master:call("CLIENT", "KILL", "TYPE", "pubsub")
            flow:accept(30)
        end
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("masters lose the functions", function()
        start_traffic {replicas = 0}
        for _ = 1, 3 do
            for _, master in ipairs(nodes:masters()) do
                assert.are.equal("OK", master:call("FUNCTION", "FLUSH"))
            end
            flow:accept(30)
        end
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)
end)

describe("under traffic on a Redis Cluster, a master that is killed", function()
    after_each(stop)

    it("takes nothing with it that history.min_replicas had, and all else is told", function()
        start_traffic({replicas = 2, env = {BELLHOP_HISTORY_MIN_REPLICAS = "1"}}, {plain = false})
        kill(victim())
        recover()
        flow:finish {gaps = 0, lost = 0}
    end)

    it("takes at most what was told", function()
        start_traffic()
        kill(victim())
        recover()
        flow:finish {}
    end)

    it("comes back as a replica", function()
        start_traffic()
        local master = victim()
        kill(master)
        flow:accept(30)
        master:restart()
        recover()
        flow:finish {}
    end)

    it("and has no replica comes back with all its data", function()
        start_traffic {replicas = 0, args = {"--appendonly", "yes", "--appendfsync", "always"}}
        local master = victim()
        master:kill()
        forget_clients()
        flow:run(net:are(503), 15, "/readyz 503")
        flow:run(2)
        master:restart(true)
        recover()
        flow:finish {gaps = 0, rewinds = 0, lost = 0}
    end)

    it("was stopped, and comes back when another one has taken over", function()
        start_traffic()
        local master = victim()
        local range = nodes:range_of(master)
        master.process:signal "STOP"
        flow:run(function()
            local answer = range.replicas[1]:call "ROLE"
            return answer and answer[1] == "master"
        end, 20, "the failover")
        flow:accept(30)
        master.process:signal "CONT"
        recover()
        flow:finish {}
    end)
end)

describe("under traffic on a Redis Cluster, and one change after the other,", function()
    local FAULTS = tonumber(os.getenv "BELLHOP_STREAMS_FAULTS") or 8

    after_each(stop)

    local function pause(ms) flow:run(flow.random(ms) / 1000) end

    local function some(list) return list[flow.random(#list)] end

    local function some_instance()
        local running = {}
        for _, d in ipairs(net.instances) do
            if not d.gone then running[#running + 1] = d end
        end
        return some(running)
    end

    local function replace(signal)
        return function()
            local old = some_instance()
            net:add("node-" .. #net.instances + 1)
            old.gone = true
            old.process:signal(signal)
            flow:run(function() return old.process:status() end, 15, "the end of the instance")
            old:stop(signal == "KILL" and 137 or 0)
        end
    end

    local function fail_over()
        local master = some(nodes:masters())
        local range = nodes:range_of(master)
        if range.replicas[1]:call("CLUSTER", "FAILOVER") == "OK" then
            flow:run(function() return nodes:node_of(range.first) ~= master end, 15, "the failover")
        end
        flow:run(function() return nodes:is_ok() end, 30, "the cluster to be ok")
    end

    local function move_slot()
        local channel = some(CHANNELS)
        nodes:migrate(nodes_of.slot(channel), another_master(nodes:node_of(channel)), function() pause(300) end)
    end

    -- Redis loses nothing by them.
    local CHANGES = {
        {"slot moved", move_slot}, {"slot moved", move_slot}, {"slot moved", move_slot},
        {"failover", fail_over}, {"failover", fail_over},
        {"subscribers killed", function() some(nodes:masters()):call("CLIENT", "KILL", "TYPE", "pubsub") end},
        {"clients killed", function()
            some(nodes:masters()):call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            forget_clients()
        end},
        {"functions flushed", function() some(nodes:masters()):call("FUNCTION", "FLUSH") end},
        {"reload", function() some_instance().process:signal "HUP" end},
        {"instance stopped", function()
            local d = some_instance()
            d.process:signal "STOP"
            pause(2000)
            d.process:signal "CONT"
        end},
        {"instance killed", replace "KILL"}, {"instance replaced", replace "TERM"},
    }

    local function run(changes, expected)
        local names = {}
        local ok, why = pcall(function()
            for i = 1, FAULTS do
                local change = some(changes)
                names[i] = change[1]
                change[2]()
                pause(800)
            end
            recover()
            flow:finish(expected)
        end)
        if not ok then error(tostring(why) .. "\n" .. table.concat(names, ", "), 0) end
        assert_one_log()
    end

    it("clients of streams get everything, once and in order", function()
        start_traffic(nil, {removes = true})
        run(CHANGES, {gaps = 0, rewinds = 0, lost = 0})
    end)

    -- Plain backends do not wait for replicas.
    it("nothing that history.min_replicas had is lost, though masters are killed", function()
        local function kill_and_restart()
            local master = some(nodes:masters())
            kill(master)
            pause(500)
            master:restart(true)
            flow:run(function() return nodes:is_ok() end, 30, "the cluster to be ok")
        end
        local changes = {table.unpack(CHANGES)}
        for _ = 1, 4 do changes[#changes + 1] = {"master killed", kill_and_restart} end
        start_traffic({env = {BELLHOP_HISTORY_MIN_REPLICAS = "1"}}, {plain = false})
        run(changes, {gaps = 0, lost = 0})
    end)
end)

describe("a stream on a Redis Cluster", function()
    local clients, a, b

    before_each(function()
        start {replicas = 0, count = 2}
        a, b = net.instances[1], net.instances[2]
        clients = pool.new()
    end)
    after_each(function()
        clients:close()
        stop()
    end)

    it("is published, recovered, paged and deleted whatever its slot", function()
        for user = 1, 12 do
            local path, query = "users/u" .. user, "user=u" .. user
            local c = clients:open(a, user % 2 == 0 and "sse" or "json", query):wait_open()
            for n = 1, 3 do (n % 2 == 0 and a or b):publish(path, tostring(n)) end
            c:until_message "3"
            c:leave "fin"
            b:publish(path, "4")
            c:reopen(b)
            c:until_message "4"
            assert.are.same({"1", "2", "3", "4"}, c:data())
            local page = a:request("GET", "/api/" .. path .. "/messages?order=asc").body
            local position = page:match '"position":"([%d-]+)"'
            assert.are.equal(200, b:request("DELETE", "/api/" .. path .. "/messages/" .. position).status)
            page = b:request("GET", "/api/" .. path .. "/messages?order=asc").body
            assert.is_nil(page:find('"data":1', 1, true))
            assert.is_truthy(page:find('"data":4', 1, true))
            assert.are.equal(200, a:request("DELETE", "/api/" .. path .. "/messages").status)
            assert.is_nil(b:request("GET", "/api/" .. path .. "/messages").body:find('"data"', 1, true))
            assert.are.equal(0, c:count "gap" + c:count "rewound")
        end
    end)

    it("is not begun while its slot moves: 503, and nothing is written", function()
        local from = nodes:node_of "notification:new"
        local to, slot = another_master(from), nodes_of.slot "notification:new"
        nodes_of.start_migration(slot, from, to)
        local before = wait.now()
        local answer = http.request(a.port, "POST", "/api/users/new/messages", {body = "1", timeout = 10})
        assert.are.equal(503, answer.status)
        assert.is_true(wait.now() - before > 0.5) -- it was tried for a while
        for _, node in ipairs {from, to} do
            assert.are.equal(0, node:call("CLUSTER", "COUNTKEYSINSLOT", slot))
        end
        nodes_of.finish_migration(slot, from, to)
        local c = clients:open(b, "json", "user=new"):wait_open()
        a:publish("users/new", "2")
        assert.are.same({"2"}, c:until_message "2")
    end)

    it("goes on when one of its keys was moved and the move takes long", function()
        local c = clients:open(b, "json", "user=42"):wait_open()
        a:publish("users/42", "1")
        c:until_message "1"
        local from = nodes:node_of "notification:42"
        local to, slot = another_master(from), nodes_of.slot "notification:42"
        nodes_of.start_migration(slot, from, to)
        a:publish("users/42", "2")
        nodes_of.move("{notification:42}:log", from, to)
        local answer = http.request(a.port, "POST", "/api/users/42/messages?id=x", {body = "3", timeout = 10})
        assert.are.equal(503, answer.status)
        nodes_of.move("{notification:42}:m", from, to)
        a:publish("users/42", "3", "id=x") -- at the target, by ASK
        nodes_of.finish_migration(slot, from, to)
        b:publish("users/42", "4")
        assert.are.same({"1", "2", "3", "4"}, c:until_message "4")
        assert.are.equal(0, c:count "gap" + c:count "rewound")
        assert.are.equal(1, holders "{notification:42}:log")
    end)
end)
