-- The promise of streams while Redis fails, under traffic: publishers by HTTP and by FCALL, clients over
-- SSE and format=json, that stay or come and go. tests/support/streams/check.lua says what is promised.
--
-- BELLHOP_STREAMS_SEED=n makes other choices, BELLHOP_STREAMS_VERBOSE=1 shows figures.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "streams.cluster"
local proxy = require "proxy"
local redis = require "redis"
local streams = require "streams"
local wait = require "wait"

local ALWAYS = {"--appendonly", "yes", "--appendfsync", "always"}

local net, flow

local function start(options, traffic)
    net = cluster.start(options)
    traffic = traffic or {}
    traffic.instances, traffic.server = net.instances, net.server
    flow = streams.new(traffic)
    flow:settle()
    flow:accept(60)
end

-- Redis serves all again, and there was traffic since.
local function recover(count)
    flow:run(net:are(200), 15, "/readyz 200")
    flow:accept(count or 60)
end

describe("under traffic, clients of streams get everything, once and in order, though Redis", function()
    after_each(cluster.stop_all)

    it("is well", function()
        start()
        flow:accept(100)
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("closes the links of subscribers, again and again", function()
        start()
        for _ = 1, 3 do
            local before = net:subscriber_links()
            net.server:call("CLIENT", "KILL", "TYPE", "pubsub")
            flow:run(net:links_renewed(before), 10, "new links")
            flow:accept(20)
        end
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("closes all links", function()
        start()
        local before = net:subscriber_links()
        net.server:call("CLIENT", "KILL", "SKIPME", "yes")
        flow:run(net:links_renewed(before), 10, "new links")
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("closes the links of subscribers that are slow", function()
        start()
        local before = net:subscriber_links()
        assert.are.equal("OK", net.server:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32768 0 0"))
        -- In one command: no link is written to meanwhile, and servers that do not copy large values count all of these.
        net.server:call("EVAL", "for _ = 1, 50 do redis.call('PUBLISH', 'notification:broadcast', ARGV[1]) end", "0",
            ("x"):rep(8000))
        flow:run(net:links_renewed(before), 10, "new links")
        net.server:call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60")
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("sleeps", function()
        start({redis = redis.with_debug()})
        net.server:client():write("DEBUG", "SLEEP", "2.5")
        flow:run(net:are(503), 8, "/readyz 503")
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("is stopped", function()
        start()
        net.server.process:signal "STOP"
        flow:run(net:are(503), 8, "/readyz 503")
        flow:run(0.5)
        net.server.process:signal "CONT"
        recover()
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("loses its functions", function()
        start()
        for _ = 1, 3 do
            assert.are.equal("OK", net.server:call("FUNCTION", "FLUSH"))
            assert.are.equal("OK", net.server:call("SCRIPT", "FLUSH"))
            flow:accept(20)
        end
        flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
    end)

    it("is killed, and comes back with all its data", function()
        start({redis = ALWAYS})
        for _ = 1, 2 do
            net.server:kill()
            flow:run(net:are(503), 8, "/readyz 503")
            net.server:restart(true)
            recover()
        end
        flow:finish {gaps = 0, rewinds = 0, lost = 0}
    end)
end)

describe("under traffic, clients of streams get everything that Redis remembers, and are told, when it", function()
    after_each(cluster.stop_all)

    it("comes back with an old snapshot", function()
        start()
        assert.are.equal("OK", net.server:call "SAVE")
        flow:accept(60)
        net.server:kill()
        flow:run(net:are(503), 8, "/readyz 503")
        net.server:restart()
        recover()
        flow:finish {gaps = 0, rewinds = true, lost = true}
    end)

    it("comes back with the same snapshot twice", function()
        start()
        assert.are.equal("OK", net.server:call "SAVE")
        for _ = 1, 2 do
            flow:accept(60)
            net.server:kill()
            net.server:restart()
            recover()
        end
        -- Who has been in the epoch between them is in one that nobody knows.
        flow:finish {gaps = true, rewinds = true}
    end)

    it("comes back empty", function()
        start()
        net.server:kill()
        os.remove(net.server.dir .. "/dump.rdb")
        flow:run(net:are(503), 8, "/readyz 503")
        net.server:restart()
        recover()
        flow:finish {gaps = true}
    end)

    it("is emptied by FLUSHALL", function()
        start()
        assert.are.equal("OK", net.server:call "FLUSHALL")
        recover()
        flow:finish {gaps = true}
    end)
end)

describe("under traffic, clients of streams get everything that a promoted replica has, which", function()
    local replica, between

    -- A replica of net.server, behind a proxy that can make it lag.
    local function add_replica()
        between = proxy.start(net.server.port)
        replica = redis.start {"--replicaof", "127.0.0.1", tostring(between.port)}
        assert.are.equal("OK", net.server:call("CONFIG", "SET", "repl-diskless-sync-delay", "0"))
        flow:run(function()
            return replica:call("INFO", "replication"):find "master_link_status:up"
        end, 15, "the replica to follow")
    end

    -- The instances find another master behind their proxies, and so do plain backends.
    local function move(server)
        assert.are.equal("OK", server:call("REPLICAOF", "NO", "ONE"))
        for _, p in ipairs(net.proxies) do p:move(server.port) end
        net.server, flow.server = server, server
    end

    -- Nobody writes for a while, so that the replica gets level, and is promoted.
    local function promote(master, server)
        for _, p in ipairs(net.proxies) do p:pause() end
        flow:pause_plain(true)
        local function offset(one) return tonumber(one:call("INFO", "replication"):match "master_repl_offset:(%d+)") end
        flow:run(function() return offset(master) == offset(server) end, 5, "the replica to be level")
        move(server)
        for _, p in ipairs(net.proxies) do p:resume() end
        flow:pause_plain(false)
    end

    after_each(cluster.stop_all)

    it("was level", function()
        start({proxies = true})
        add_replica()
        flow:accept(40)
        local master = net.server
        promote(master, replica)
        recover()
        flow:finish {gaps = 0, rewinds = 0, lost = 0}
    end)

    it("has lagged", function()
        start({proxies = true})
        add_replica()
        flow:accept(40)
        between:pause()
        flow:accept(60)
        local master = net.server
        master:kill()
        between:cut()
        move(replica)
        recover()
        flow:finish {gaps = 0, rewinds = true, lost = true}
    end)

    it("has lagged, with history.min_replicas: nothing that was accepted is lost", function()
        net = cluster.start {proxies = true, env = {BELLHOP_HISTORY_MIN_REPLICAS = "1"}}
        flow = streams.new {instances = net.instances} -- plain backends do not wait for replicas
        add_replica()
        flow:accept(60)
        between:pause()
        flow:run(function()
            local refused = 0
            for _, p in ipairs(flow.publishers) do refused = refused + p.refused end
            return refused > 3
        end, 15, "refusals")
        net.server:kill()
        between:cut()
        local other = redis.start {"--replicaof", "127.0.0.1", tostring(replica.port)}
        assert.are.equal("OK", replica:call("CONFIG", "SET", "repl-diskless-sync-delay", "0"))
        move(replica)
        flow:run(function() return other:call("INFO", "replication"):find "master_link_status:up" end, 15, "a replica")
        recover()
        flow:finish {gaps = 0, lost = 0}
    end)

    it("gives the rank back to the old master", function()
        start({proxies = true})
        add_replica()
        flow:accept(40)
        local a, b = net.server, replica
        promote(a, b)
        assert.are.equal("OK", a:call("REPLICAOF", "127.0.0.1", tostring(b.port)))
        recover(40)
        flow:run(function() return a:call("INFO", "replication"):find "master_link_status:up" end, 15, "the way back")
        assert.are.equal("OK", b:call("CONFIG", "SET", "repl-diskless-sync-delay", "0"))
        promote(b, a)
        recover(40)
        flow:finish {gaps = 0, rewinds = 0, lost = 0}
    end)
end)

describe("clients of streams", function()
    after_each(cluster.stop_all)

    it("get what comes behind FLUSHALL, and are told of the gap", function()
        net = cluster.start {count = 2}
        flow = streams.new {instances = net.instances, stay = 4, roam = 0, publishers = 1}
        flow:settle()
        flow:accept(20)
        for _, p in ipairs(flow.publishers) do p.sending = false end
        flow:run(function() return not flow.publishers[1].record end, 5, "a pause")
        net.server:call "FLUSHALL"
        local before = #flow.log
        flow.publishers[1].sending = true
        flow:accept(7)
        flow:finish({gaps = true}, 20)
        for _, c in ipairs(flow.clients) do
            local got = {}
            for _, event in ipairs(c.events) do
                local n = event.kind == "message" and tonumber(event.data:match '"n":(%d+)')
                if n then got[n] = true end
            end
            for n = before + 1, #flow.log do
                local record = flow.log[n]
                local is_for = not record.filter or c.tags
                local mine = table.concat(c.streams, " "):find(record.topic, 1, true)
                if mine and is_for then assert.is_true(got[n], c.name .. " misses message " .. n) end
            end
        end
    end)
end)

describe("a stream whose Redis comes back with an old snapshot", function()
    local pool = require "streams.pool"
    local clients

    after_each(function()
        clients:close()
        cluster.stop_all()
    end)

    it("gives all of what is new to those who had seen more, and tells them", function()
        net, clients = cluster.start {count = 2}, pool.new()
        local a, b = net.instances[1], net.instances[2]
        local stays, returns = {}, {}
        for i, protocol in ipairs {"sse", "json"} do
            stays[i] = clients:open(a, protocol, "user=42"):wait_open()
            returns[i] = clients:open(b, protocol, "user=42"):wait_open()
        end
        for n = 1, 5 do a:publish("users/42", tostring(n)) end
        assert.are.equal("OK", net.server:call "SAVE")
        for n = 6, 8 do a:publish("users/42", '"lost ' .. n .. '"') end
        for i = 1, 2 do
            stays[i]:until_message '"lost 8"'
            returns[i]:until_message '"lost 8"'
            returns[i]:leave "fin"
        end
        net.server:kill()
        net.server:restart()
        for _, d in ipairs(net.instances) do d:wait_ready() end
        for n = 6, 9 do a:publish("users/42", '"new ' .. n .. '"') end
        for i = 1, 2 do returns[i]:reopen(b) end
        for i = 1, 2 do
            for _, one in ipairs {stays[i], returns[i]} do
                one:until_message '"new 9"'
                assert.are.same({
                    "1", "2", "3", "4", "5", '"lost 6"', '"lost 7"', '"lost 8"', '"new 6"', '"new 7"', '"new 8"', '"new 9"',
                }, one:data())
                assert.are.equal(1, one:count "rewound")
                assert.are.equal(0, one:count "gap")
            end
        end
    end)

    it("goes on when its log or its meta is deleted alone", function()
        net, clients = cluster.start {count = 2}, pool.new()
        local a, b = net.instances[1], net.instances[2]
        local stays = clients:open(a, "json", "user=42"):wait_open()
        local returns = clients:open(b, "sse", "user=42"):wait_open()
        local n = 0
        local function publish()
            n = n + 1
            a:publish("users/42", tostring(n))
            stays:until_message(tostring(n))
        end
        for _ = 1, 3 do publish() end
        returns:until_message "3"
        net.server:call("DEL", "{notification:42}:m")
        for _ = 1, 2 do publish() end
        returns:until_message "5"
        returns:leave "fin"
        publish()
        returns:reopen(a)
        returns:until_message "6"
        assert.are.equal(0, returns:count "gap")
        net.server:call("DEL", "{notification:42}:log")
        for _ = 1, 2 do publish() end
        returns:until_message "8"
        assert.are.same({"1", "2", "3", "4", "5", "6", "7", "8"}, stays:data())
        assert.are.same({"1", "2", "3", "4", "5", "6", "7", "8"}, returns:data())
        assert.are.equal(0, stays:count "gap" + stays:count "rewound" + returns:count "gap" + returns:count "rewound")
    end)
end)

describe("under traffic, a failover by Sentinel", function()
    local sentinel = require "sentinel"

    after_each(cluster.stop_all)

    it("loses nothing that the replica had, and tells the rest", function()
        local master = redis.start {"--repl-diskless-sync-delay", "0"}
        local replica = redis.start {"--replicaof", "127.0.0.1", tostring(master.port)}
        local sentinels = sentinel.start(1, master, 1)
        wait.till(function()
            return replica:call("INFO", "replication"):find "master_link_status:up"
        end, 15, "the replica to follow")
        start {redis = master, url = sentinel.url(sentinels)}
        flow:accept(40)
        master:kill()
        flow.server = replica
        flow:run(function() return sentinels[1]:master_port() == replica.port end, 20, "a failover")
        recover()
        flow:finish {gaps = 0}
    end)
end)

describe("a quiet stream", function()
    after_each(cluster.stop_all)

    it("gets what was appended while the subscribers' links were closed", function()
        net = cluster.start()
        flow = streams.new {instances = net.instances, stay = 6, roam = 0, publishers = 0}
        flow:settle()
        local before = net:subscriber_links()
        net.server:call("CLIENT", "KILL", "TYPE", "pubsub")
        local sent = wait.now()
        for n = 1, 3 do
            local payload = ('{"topic":"all","n":%d}'):format(n)
            local reply = net.server:call("FCALL", "bellhop_publish", "2", "{notification:broadcast}:log",
                "{notification:broadcast}:m", payload)
            assert.are.equal(n, reply[1])
            flow.log[n] = {n = n, topic = "all", payload = payload, tries = 1, position = {epoch = reply[2], offset = n}}
        end
        flow:run(net:links_renewed(before), 10, "new links")
        local report = flow:stop()
        assert.are.equal("", table.concat(report.errors, "\n"))
        assert.are.equal(3 * #flow.clients, report.delivered)
        assert.is_true(wait.now() - sent < 8)
        local reads = 0
        for _, d in ipairs(net.instances) do reads = reads + d:metric "bellhop_core_stream_reads_total" end
        assert.is_true(reads <= 20, reads .. " reads")
    end)
end)
