-- What docs/cluster.md tells to run: the programs of examples/cluster against a real cluster (each begins at a server
-- that does not have the key), and the way from one Redis to a cluster and back.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "redis_cluster"
local daemon = require "daemon"
local history = require "history"
local languages = require "languages"
local process = require "process"
local redis = require "redis"
local sse = require "sse"
local tcp = require "tcp"

local CHANNEL, STREAM = "notification:topic:news", "{notification:42}:log"

describe("examples/cluster", function()
    local c, foreign

    lazy_setup(function()
        c = cluster.start(3)
        for _, master in ipairs(c:masters()) do history.load(master:client()) end
        local owner, other = c:node_of(CHANNEL), c:node_of(STREAM)
        for _, master in ipairs(c:masters()) do
            if master ~= owner and master ~= other then foreign = master end
        end
    end)

    lazy_teardown(cluster.stop_all)

    -- A plain subscriber of the topic, and what publish.* has to print for the stream.
    local function subscribe()
        local client = c:node_of(CHANNEL):client()
        assert(client:call("SSUBSCRIBE", CHANNEL))
        return client
    end

    for _, suffix in ipairs(languages.suffixes) do
        it("publish." .. suffix .. " publishes with SPUBLISH and FCALL", function()
            local words, why = languages.command("examples/cluster", suffix, c.nodes[1].dir)
            if not words then return pending(why) end
            local subscriber = subscribe()
            local s = history.stream(c:node_of(STREAM):client(), "notification:42")
            local _, top = s:tops()
            top = top or 0
            for known = 0, 1 do
                local output, status = process.run(words, {REDIS_PORT = tostring(foreign.port)})
                assert.are.equal(0, status, output)
                assert.are.equal(("1\n%d\n%d\n0\n%d\n"):format(top + 1, s:tops(), known), output)
                local message = assert(subscriber:read(10))
                assert.are.equal("smessage", message[1])
                assert.matches('^{"text":"from ', message[3])
            end
            subscriber:close()
        end)
    end

    it("run.sh shows that it works", function()
        local port = tcp.ten_free_ports()
        local output, status = process.run({"examples/cluster/run.sh"}, {
            BELLHOP = daemon.BIN, BASE_PORT = tostring(port), LISTEN = "127.0.0.1:" .. port + 9,
        })
        assert.are.equal(0, status, output)
        local _, arrived = output:gsub('data: {"text":"from a shell"}', "")
        assert.are.equal(2, arrived, output)
    end)
end)

describe("moving histories from one Redis to a cluster, and back", function()
    lazy_teardown(function()
        daemon.stop_all()
        redis.stop_all()
    end)

    local function start(url)
        return daemon.start {redis = url, env = {BELLHOP_HISTORY_RULES = '[{"topic":"user:*"}]'}}
    end

    -- The next message of a client that comes back, or the first event that is none.
    local function next_event(client)
        local event
        repeat event = assert(client:event(10)) until event.event ~= "recovered"
        return event
    end

    it("keeps the positions of clients", function()
        local one, c = redis.start(), cluster.start(3)
        local d = start(one:url())
        local client = assert(sse.open(d.port, "/sse?user=42"))
        client:wait_open()
        d:publish("users/42", "seen")
        assert.are.equal("seen", next_event(client).data)
        client:drop()
        d:publish("users/42", "missed")
        d:stop()

        local from, to = "127.0.0.1:" .. one.port, "127.0.0.1:" .. c.nodes[1].port
        local output, status = process.run {"redis-cli", "--cluster", "import", to, "--cluster-from", from, "--cluster-copy"}
        assert.are.equal(0, status, output)
        d = start(c:url())
        client = assert(sse.open(d.port, "/sse?user=42", {last_id = client.id}))
        local event = next_event(client)
        assert.are.same({"message", "missed"}, {event.event, event.data})
        d:publish("users/42", "new")
        event = next_event(client)
        assert.are.same({"message", "new"}, {event.event, event.data})
        client:drop()
        d:publish("users/42", "missed, too")
        d:stop()

        for _, key in ipairs(c:keys "{notification:*") do -- a Redis that is no cluster takes them from each master
            assert.are.equal("OK", c:node_of(key):call("MIGRATE", "127.0.0.1", one.port, key, 0, 5000, "COPY", "REPLACE"))
        end
        d = start(one:url())
        client = assert(sse.open(d.port, "/sse?user=42", {last_id = client.id}))
        event = next_event(client)
        assert.are.same({"message", "missed, too"}, {event.event, event.data})
    end)
end)
