-- The load generator of the benchmarks: each mode against a real instance for a moment, and that it
-- detects wrong deliveries. The measured values are not checked.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local sse = require "sse"
local wait = require "wait"

local BUILD = daemon.BIN:gsub("src/bellhop$", "")
local LOAD, RAW_ECHO = BUILD .. "tests/bench/load/bench_load", BUILD .. "tests/bench/bench_raw_echo"

local QUICK = {"--connections", "20", "--warmup", "0.05", "--seconds", "0.2", "--settle", "0.05", "--drain", "5"}
local PROBED = {BELLHOP_WEBSOCKET_CONTROL_PER_SECOND = "1000"}

-- A policy with these hooks, and on_handshake as with --dev unless they define it.
local function policy(hooks)
    return [[
    local hooks = { ]] .. hooks .. [[ }
    hooks.on_handshake = hooks.on_handshake
        or function(req) return { user = req:arg "user", topics = { req:arg "topic" } } end
    return hooks
    ]]
end

local ECHO = policy "on_message = function(conn, data) return data end"

-- The printed keys as a table, the whole output, and the status.
local function try(port, mode, ...)
    local words = {LOAD, mode}
    table.move(QUICK, 1, #QUICK, #words + 1, words)
    table.move({...}, 1, select("#", ...), #words + 1, words)
    words[#words + 1] = "127.0.0.1:" .. port
    local output, status = process.run(words)
    local keys = {}
    for key, value in output:gmatch "([%w_]+) (%S+)\n" do keys[key] = tonumber(value) or value end
    return keys, output, status
end

local function run(port, mode, ...)
    local keys, output, status = try(port, mode, ...)
    assert.are.equal(0, status, output)
    assert.are.equal(mode, keys.mode)
    for _, key in ipairs {"lost", "short_payloads", "unexpected", "closed_connections"} do
        assert.are.equal(0, keys[key], output)
    end
    return keys
end

local function assert_traffic(keys)
    assert.is_true(keys.deliveries > 0)
    assert.is_true(keys.messages > 0)
    assert.is_true(0 < keys.latency_us_p50 and keys.latency_us_p50 <= keys.latency_us_max)
end

local function api(d, path) return ("http://127.0.0.1:%d/api/%s/messages"):format(d.port, path) end

describe("the load generator", function()
    local d

    setup(function()
        d = daemon.start {workers = 1, env = PROBED}
    end)
    teardown(daemon.stop_all)

    it("publishes to all, in rounds and on a schedule, from several processes", function()
        local where = {"--path", "/ws?user=%d&topic=news", "--publish", api(d, "topics/news"), "--pid", d.process.pid}
        local keys = run(d.port, "fanout", "--rounds", "10", table.unpack(where))
        assert_traffic(keys)
        assert.are.equal(10, keys.messages)
        assert.are.equal(200, keys.deliveries)
        assert.is_true(keys.round_us_p50 >= keys.latency_us_p50)
        assert.is_true(keys.server_cpu_us_per_message > 0)
        assert.is_true(keys.server_memory_after_kib > 0)
        keys = run(d.port, "fanout", "--rounds", "10", "--processes", "3", table.unpack(where))
        assert.are.equal(200, keys.deliveries)
        keys = run(d.port, "fanout", "--rate", "100", "--processes", "2", table.unpack(where))
        assert_traffic(keys)
        assert.are.equal(20, keys.messages)
    end)

    it("publishes to users", function()
        assert_traffic(run(d.port, "users", "--path", "/ws?user=%d", "--publish", api(d, "users/%d")))
        assert_traffic(run(d.port, "users", "--path", "/ws?user=%d", "--publish", api(d, "users/%d"), "--rate", "200",
            "--processes", "2"))
    end)

    it("publishes through Redis", function()
        local server = redis.start()
        finally(function()
            d:stop()
            redis.stop_all()
            d = daemon.start {workers = 1, env = PROBED}
        end)
        d:stop()
        d = daemon.start {workers = 1, redis = server:url()}
        for _, more in ipairs {{}, {"--processes", "2"}, {"--rate", "200"}} do
            assert_traffic(run(d.port, "users", "--path", "/ws?user=%d", "--publish",
                ("redis://127.0.0.1:%d/notification:%%d"):format(server.port), table.unpack(more)))
        end
    end)

    it("measures idle connections, from several addresses", function()
        local keys = run(d.port, "idle", "--path", "/ws?user=%d", "--probe", "--sources", "3", "--processes", "2",
            "--pid", d.process.pid)
        assert.is_true(keys.server_memory_before_kib > 0)
        assert.is_number(keys.bytes_per_connection)
        assert.is_true(keys.probe_us_p50 > 0)
    end)

    it("answers and counts the pings of the measured time", function()
        local other = daemon.start {workers = 1, env = {
            BELLHOP_WEBSOCKET_PING_INTERVAL = "0.1", BELLHOP_WEBSOCKET_PONG_TIMEOUT = "0.05",
        }}
        finally(function() other:stop() end)
        assert.is_true(run(other.port, "idle", "--path", "/ws?user=%d", "--seconds", "0.5").server_pings >= 40)
    end)

    it("spreads connections over several servers", function()
        local server = redis.start()
        local all = {}
        finally(function()
            for _, one in ipairs(all) do one:stop() end
            redis.stop_all()
        end)
        for i = 1, 2 do all[i] = daemon.start {workers = 1, redis = server:url()} end
        assert_traffic(run(all[1].port, "users", "--path", "/ws?user=%d", "--publish",
            ("redis://127.0.0.1:%d/notification:%%d"):format(server.port), "127.0.0.1:" .. all[2].port))
    end)

    it("delivers to connections that belong to several users", function()
        local several = policy [[
        on_handshake = function(req)
            local first = tonumber(req:arg "user")
            return { topics = { tostring(first), tostring(first + 20), tostring(first + 40) } }
        end]]
        local other = daemon.start {workers = 1, policy = several}
        finally(function() other:stop() end)
        assert_traffic(run(other.port, "users", "--users", "60", "--path", "/ws?user=%d", "--publish", api(other, "topics/%d")))
    end)

    it("opens connections in a burst", function()
        local keys = run(d.port, "burst", "--connections", "200", "--in-flight", "7", "--probe", "--pid", d.process.pid)
        assert.is_true(keys.connections_per_s > 0)
        assert.is_true(keys.handshake_us_p50 > 0)
        assert.is_true(keys.server_cpu_us_per_connection > 0)
    end)

    it("explains why it cannot run", function()
        local _, output, status = try(d.port, "echo", "--path", "/nowhere")
        assert.are.equal(1, status, output)
        assert.matches("404", output)
        _, output, status = try(d.port, "fanout")
        assert.are.equal(2, status, output)
        assert.matches("%-%-publish", output)
        _, output, status = try(d.port, "users", "--path", "/ws?user=%d", "--publish", api(d, "nobody/%d"))
        assert.are.equal(1, status, output)
        assert.matches("HTTP status 404", output)
        _, output, status = try(d.port, "idle", "--connections", "1000000", "--processes", "1")
        assert.are.equal(1, status, output)
        assert.matches("processes are needed", output)
    end)
end)

describe("the load generator's recovery", function()
    local d, since

    setup(function()
        local file = process.write_file(process.temp_dir() .. "/bellhop.conf.lua",
            'return { history = { { topic = "topic:news", size = 100, ttl = 3600 } } }')
        d = daemon.start {workers = 2, args = {"--config", file}, env = PROBED}
        since = assert(sse.connect(d.port, "/sse?topic=news").id)
        for i = 1, 3 do d:publish("topics/news", ('{"text":"bh:%d"}'):format(i)) end
    end)
    teardown(function()
        sse.drop_all()
        daemon.stop_all()
    end)

    it("has all that was missed, over WebSocket and SSE", function()
        for protocol, path in pairs {raw = "/ws?format=json&", sse = "/sse?"} do
            local keys = run(d.port, "recover", "--protocol", protocol, "--rounds", "3", "--path",
                path .. "topic=news&since=" .. since)
            assert.are.equal(60, keys.deliveries)
            assert.is_true(0 < keys.latency_us_p50 and keys.latency_us_max <= keys.recovered_s * 1e6 + 1)
        end
    end)

    it("has a path for each connection", function()
        local lines = {}
        for i = 1, 20 do lines[i] = ("/sse?user=%d&topic=news&since=%s\n"):format(i, since) end
        local file = process.write_file(process.temp_dir() .. "/paths", table.concat(lines))
        assert.are.equal(60, run(d.port, "recover", "--protocol", "sse", "--rounds", "3", "--paths", file).deliveries)
        local _, output, status = try(d.port, "recover", "--connections", "21", "--paths", file)
        assert.are.equal(1, status, output)
        assert.matches("20 lines", output)
    end)
end)

describe("the load generator's echo", function()
    after_each(daemon.stop_all)

    it("receives what it sends", function()
        local d = daemon.start {workers = 1, policy = ECHO, env = PROBED}
        assert_traffic(run(d.port, "echo", "--pid", d.process.pid))
        assert_traffic(run(d.port, "echo", "--in-flight", "16", "--processes", "2", "--probe"))
        assert_traffic(run(d.port, "echo", "--size", "1000", "--in-flight", "3"))
        assert_traffic(run(d.port, "echo", "--size", "65600"))
        assert_traffic(run(d.port, "echo", "--rate", "1000", "--processes", "3"))
    end)

    it("works over TLS", function()
        local dir = certs.new()
        finally(function() dir:remove() end)
        local crt, key = dir:make "localhost"
        local d = daemon.start {
            workers = 1,
            policy = ECHO,
            listen = {"127.0.0.1:0", "tls:127.0.0.1:0"},
            env = {BELLHOP_TLS_CERTIFICATES = crt, BELLHOP_TLS_KEYS = key},
        }
        assert_traffic(run(d.ports[2], "echo", "--tls", "--in-flight", "4", "--size", "20000"))
        run(d.ports[2], "burst", "--tls")
    end)

    it("works without WebSocket", function()
        local server = process.spawn {RAW_ECHO, "--listen", "127.0.0.1:0"}
        finally(function() assert.are.equal(0, (server:stop())) end)
        local port = wait.till(function() return server:log():match "address=127%.0%.0%.1:(%d+)" end)
        assert_traffic(run(port, "echo", "--protocol", "tcp", "--in-flight", "16", "--pid", server.pid))
        assert_traffic(run(port, "echo", "--protocol", "tcp", "--rate", "1000"))
        run(port, "burst", "--protocol", "tcp")
    end)

    -- key: the figure that must not be 0; hooks: of a faulty server.
    local function detects(key, hooks, ...)
        local d = daemon.start {workers = 1, policy = policy(hooks)}
        local keys, output, status = try(d.port, ...)
        assert.are.equal(3, status, output)
        assert.is_true(keys[key] > 0, output)
        assert.matches("wrong deliveries", output)
    end

    it("detects shortened replies", function()
        detects("short_payloads", "on_message = function(_, data) return data:sub(1, -2) end", "echo")
    end)

    it("detects changed bytes", function()
        detects("short_payloads", "on_message = function(_, data) return data:sub(1, -3) .. '!.' end", "echo",
            "--size", "200")
    end)

    it("detects replies to another message", function()
        detects("unexpected", "on_message = function(_, data) last = last or data; return last end", "echo")
    end)

    it("detects missing replies", function()
        detects("lost", "on_message = function() return true end", "echo", "--drain", "0.1")
    end)

    it("detects duplicate replies", function()
        detects("unexpected", "on_message = function(conn, data) conn:send(data); return data end", "echo")
    end)

    it("detects closed connections", function()
        detects("closed_connections", "on_message = function() return false, 4000, 'enough' end", "echo",
            "--drain", "0.1")
    end)
end)

-- The protocols of other servers, as far as the load generator uses them, implemented by a policy.
describe("the load generator's protocol", function()
    after_each(daemon.stop_all)

    local function both(hooks, protocol)
        local d = daemon.start {workers = 1, policy = policy(hooks)}
        assert_traffic(run(d.port, "fanout", "--protocol", protocol, "--channel", "news", "--rounds", "10", "--path",
            "/ws?user=%d&topic=news", "--publish", api(d, "topics/news")))
        assert_traffic(run(d.port, "users", "--protocol", protocol, "--channel", "u.%d", "--path", "/ws?user=%d",
            "--publish", api(d, "users/%d")))
    end

    it("is NATS with --protocol nats", function()
        both([[
            on_open = function(conn) conn:send 'INFO {"max_payload":1048576}\r\nPI' end,
            on_message = function(conn, data)
                if data:find("^CONNECT ") and data:find "\r\nSUB [%w.]+ 1\r\nPING\r\n$" then return "NG\r\nPONG\r\n" end
                if data ~= "PONG\r\n" then return false, 4000, data end
                return true
            end,
            on_deliver = function(_, msg) return ("MSG x 1 %d\r\n%s\r\n"):format(#msg.data, msg.data) end,
        ]], "nats")
    end)

    it("is Centrifugo with --protocol centrifugo", function()
        both([[
            on_open = function(conn) conn:send "{}" end,
            on_message = function(conn, data)
                if data == "{}" then return true end
                if not data:find '^{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"[%w.]+"}}$' then
                    return false, 4000, data
                end
                return '{"id":1,"connect":{"client":"x"}}\n{"id":2,"subscribe":{}}'
            end,
            on_deliver = function(_, msg)
                return ('{"push":{"channel":"x","pub":{"data":"%s"}}}\n{}'):format(msg.data)
            end,
        ]], "centrifugo")
    end)
end)
