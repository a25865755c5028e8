-- Every limit of the edge: a client that exceeds it is refused or slowed down, it is counted, and other
-- clients are not affected.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local wait = require "wait"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        if req:arg "slow" then bh.sleep(1000) end
        return { user = req:arg "user", tenant = req:arg "tenant" }
    end,
    on_message = function(conn, data) return data end,
}
]]

local function ends(conn)
    local rest, why = conn:read_all()
    assert.are.equal("", rest, why)
    conn:close()
end

describe("a limit", function()
    local d

    setup(function()
        d = daemon.start {
            policy = POLICY,
            env = {
                BELLHOP_HTTP_HEAD_BYTES = "1024", BELLHOP_HTTP_BODY_BYTES = "1000", BELLHOP_HTTP_REQUEST_TIMEOUT = "0.5",
                BELLHOP_WEBSOCKET_MESSAGE_BYTES = "100000", BELLHOP_WEBSOCKET_FRAGMENTS = "10",
                BELLHOP_WEBSOCKET_HANDSHAKE_TIMEOUT = "0.3", BELLHOP_WEBSOCKET_CONNECTIONS_PER_USER = "2",
                BELLHOP_WEBSOCKET_CONNECTIONS_PER_TENANT = "3", BELLHOP_WEBSOCKET_MESSAGES_PER_SECOND = "200",
                BELLHOP_WEBSOCKET_BYTES_PER_SECOND = "1000000", BELLHOP_WEBSOCKET_CONTROL_PER_SECOND = "10",
            },
        }
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function connect(query) return ws.connect(d.port, "/ws?" .. query) end

    -- Runs fn while another client is served; the limit is counted `times` times (nil: at least once).
    local function meets(limit, times, fn)
        local witness, before = connect "user=witness", d:limited(limit)
        fn()
        local after = d:limited(limit)
        if times then
            assert.are.equal(before + times, after, limit)
        else
            assert.is_true(after > before, limit)
        end
        witness:text "still here"
        check.next(witness, "still here")
        witness:close()
    end

    it("has a metric from the start", function()
        local text = d:request("GET", "/metrics").body
        for _, limit in ipairs {
            "connections", "descriptors", "connections_per_ip", "connections_per_user", "connections_per_tenant", "head_bytes",
            "body_bytes", "request_timeout", "handshake_timeout", "tls_handshake_timeout", "message_bytes", "fragments",
            "messages_per_second", "bytes_per_second", "control_per_second", "queue_bytes", "origins", "proxy",
            "memory_budget", "message_timeout",
        } do
            assert.is_truthy(text:find(('bellhop_edge_limited_total{limit="%s"} 0'):format(limit), 1, true), limit)
        end
        for _, name in ipairs {
            "bellhop_io_accepts_total", "bellhop_io_accepts_delayed_total", "bellhop_io_accept_failures_total",
            "bellhop_io_tls_handshakes_total", "bellhop_io_tls_handshakes_failed_total", "bellhop_io_tls_resumed_total",
            "bellhop_edge_messages_dropped_total", "bellhop_edge_messages_compressed_total",
        } do
            assert.is_truthy(text:find("\n" .. name .. " ", 1, true), name)
        end
    end)

    it("bounds the head of a request", function()
        meets("head_bytes", 3, function()
            local long = ("x"):rep(1100)
            check.error(http.get(d.port, "/healthz", {headers = {["X-Long"] = long}}), 431, "head_too_large")
            local answer = http.get(d.port, "/" .. long)
            assert.is_true(answer.status == 414 or answer.status == 431, answer.status)
            local _, refusal = ws.try(d.port, "/ws", {headers = {Cookie = long}})
            assert.are.equal(431, refusal.status)
            assert.are.equal(200, http.get(d.port, "/healthz", {headers = {["X-Long"] = ("x"):rep(700)}}).status)
        end)
    end)

    it("bounds the body of a request, with and without its length", function()
        meets("body_bytes", 3, function()
            check.error(http.post(d.port, "/api/broadcast", ("x"):rep(1001)), 413, "too_large")
            for _, bytes in ipairs {
                "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n",
                "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" .. ("x"):rep(1001),
            } do
                local s = http.open(d.port)
                s:send(bytes)
                check.error(s:response(), 413, "too_large")
                ends(s.conn)
            end
            assert.are.equal(200, http.post(d.port, "/api/topics/t/messages", ("x"):rep(1000)).status)
        end)
    end)

    it("bounds the time of a request, and the idle time before it", function()
        meets("request_timeout", 3, function()
            local silent, head, body = http.open(d.port), http.open(d.port), http.open(d.port)
            head:send "GET /healthz HTTP/1.1\r\nHost"
            body:send "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nha"
            check.error(head:response(), 408, "timeout")
            check.error(body:response(), 408, "timeout")
            for _, s in ipairs {silent, head, body} do ends(s.conn) end
        end)
    end)

    it("bounds the time of a handshake", function()
        meets("handshake_timeout", 1, function()
            local _, refusal = ws.try(d.port, "/ws?slow")
            check.error(refusal, 504, "timeout")
        end)
    end)

    it("bounds messages, by their header, and in fragments", function()
        meets("message_bytes", 3, function()
            local fragment = ws.frame(ws.BINARY, ("x"):rep(60000), {fin = false})
            for _, bytes in ipairs {
                ws.frame(ws.TEXT, "", {length = 100001}), ws.frame(ws.TEXT, "", {length = (1 << 62)}),
                fragment .. ws.frame(ws.CONTINUATION, "", {length = 40001}),
            } do
                local client = connect "user=big"
                client:raw(bytes)
                check.closed(client, 1009)
            end
            local client = connect "user=fits"
            client:text(("x"):rep(100000))
            check.next(client, ("x"):rep(100000))
        end)
    end)

    it("bounds the fragments of a message", function()
        meets("fragments", 1, function()
            local client = connect "user=torn"
            local middle = ws.frame(ws.CONTINUATION, "x", {fin = false})
            client:raw(ws.frame(ws.TEXT, "x", {fin = false}) .. middle:rep(8) .. ws.frame(ws.CONTINUATION, "x"))
            check.next(client, ("x"):rep(10))
            client:raw(ws.frame(ws.TEXT, "x", {fin = false}) .. middle:rep(10))
            check.closed(client, 1008)
        end)
    end)

    it("bounds pings and pongs", function()
        for _, opcode in ipairs {ws.PING, ws.PONG} do
            meets("control_per_second", 1, function()
                local client = connect "user=busy"
                client:raw(ws.frame(opcode, "?"):rep(100))
                check.closed(client, 1008, "too many pings or pongs")
            end)
        end
        local client = connect "user=quiet"
        client:raw(ws.frame(ws.PING, "?"):rep(5))
        for _ = 1, 5 do assert.are.equal(ws.PONG, client:recv_frame().opcode) end
        client:text "on"
        check.next(client, "on")
    end)

    for _, what in ipairs {"user", "tenant"} do
        it("bounds the connections of a " .. what, function()
            local most = what == "user" and 2 or 3
            local limit = "connections_per_" .. what
            meets(limit, nil, function()
                local function query(name) return "/ws?" .. (what == "tenant" and "tenant=" or "user=") .. name end
                local clients = {}
                for i = 1, most do clients[i] = ws.connect(d.port, query "crowd") end
                local before, limited = d:metric "bellhop_edge_handshakes_refused_total", d:limited(limit)
                for _ = 1, 2 do
                    local _, refusal = ws.try(d.port, query "crowd")
                    check.error(refusal, 429, "too_many_requests", "this " .. what)
                end
                assert.are.equal(before + 2, d:metric "bellhop_edge_handshakes_refused_total")
                assert.are.equal(limited + 2, d:limited(limit))
                ws.connect(d.port, query "other")
                assert.are.equal(1000, clients[1]:close(1000))
                local again = ws.connect(d.port, query "crowd")
                clients[2]:reset()
                wait.till(function() return (ws.try(d.port, query "crowd")) end)
                d:publish(what .. "s/crowd", "for the crowd")
                check.next(again, "for the crowd")
            end)
        end)
    end

    -- The bucket holds one second's worth; the rest is delayed. Nothing is lost.
    it("slows down a client that sends too many messages", function()
        meets("messages_per_second", nil, function()
            local fast, honest = connect "user=fast", connect "user=honest"
            local began, frames = wait.now(), {}
            for i = 1, 400 do frames[i] = ws.frame(ws.TEXT, "message " .. i) end
            fast:raw(table.concat(frames))
            for i = 1, 20 do
                honest:text("honest " .. i)
                check.next(honest, "honest " .. i)
            end
            assert.is_true(wait.now() - began < 0.9, "the honest one waits for the other")
            for i = 1, 400 do check.next(fast, "message " .. i) end
            assert.is_true(wait.now() - began > 0.9, "400 messages at 200 a second")
        end)
    end)

    it("slows down a client that sends too many bytes", function()
        meets("bytes_per_second", nil, function()
            -- The frames are made beforehand, so that making them does not slow the client down.
            local fast, batches = connect "user=fast", {}
            for i = 1, 4 do
                local frames = {}
                for j = 1, 5 do frames[j] = ws.frame(ws.TEXT, i .. j .. ("x"):rep(90000)) end
                batches[i] = table.concat(frames)
            end
            local began = wait.now()
            for i = 1, 4 do
                fast:raw(batches[i])
                for j = 1, 5 do check.next(fast, i .. j .. ("x"):rep(90000)) end
            end
            assert.is_true(wait.now() - began > 0.7, "1.8 MB at 1 MB a second")
        end)
    end)

    it("lets a slowed-down client close", function()
        local client = connect "user=fast"
        local frames = {}
        for i = 1, 300 do frames[i] = ws.frame(ws.TEXT, "message " .. i) end
        client:raw(table.concat(frames) .. ws.frame(ws.CLOSE, string.pack(">I2", 1000)))
        for i = 1, 300 do check.next(client, "message " .. i) end
        local _, _, code = client:recv()
        assert.are.equal(1000, code)
    end)
end)

describe("the limits of connections", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("apply to the process", function()
        local d = daemon.start {env = {BELLHOP_SERVER_CONNECTIONS_MAX = "6"}}
        d:request("GET", "/healthz")
        local clients = {}
        for i = 1, 5 do clients[i] = ws.connect(d.port) end
        local _, refusal = ws.try(d.port)
        check.error(refusal, 503, "too_many_connections")
        check.error(http.get(d.port, "/nothing"), 503, "too_many_connections")
        assert.are.equal(2, d:limited "connections")
        assert.are.equal(6, d:metric "bellhop_edge_sockets")
        check.quiet(d, table.unpack(clients))
        clients[1]:drop()
        d:wait_metric("bellhop_edge_sockets", 5)
        clients[1] = ws.connect(d.port)
        check.quiet(d, table.unpack(clients))
    end)

    it("apply to an address", function()
        local d = daemon.start {env = {BELLHOP_SERVER_CONNECTIONS_PER_IP = "3"}}
        local clients = {}
        for i = 1, 3 do clients[i] = ws.connect(d.port, "/ws", {from = "127.0.0.2"}) end
        local _, refusal = ws.try(d.port, "/ws", {from = "127.0.0.2"})
        check.error(refusal, 429, "too_many_connections")
        check.error(http.get(d.port, "/healthz", {from = "127.0.0.2"}), 429, "too_many_connections")
        assert.are.equal(2, d:limited "connections_per_ip")
        local other = ws.connect(d.port, "/ws", {from = "127.0.0.3"})
        check.quiet(d, other, table.unpack(clients))
        clients[1]:close()
        clients[2]:reset()
        for _ = 1, 2 do
            wait.till(function() return (ws.try(d.port, "/ws", {from = "127.0.0.2"})) end)
        end
        _, refusal = ws.try(d.port, "/ws", {from = "127.0.0.2"})
        assert.are.equal(429, refusal.status)
    end)

    it("do not apply to loopback by default", function()
        local d = daemon.start()
        local clients = {}
        for i = 1, 1001 do clients[i] = assert(http.open(d.port)) end
        clients[1001]:send(http.format("GET", "/healthz"))
        assert.are.equal(200, clients[1001]:response().status)
        d:wait_metric("bellhop_edge_sockets", 1002)
        assert.are.equal(0, d:limited "connections_per_ip")
        for _, s in ipairs(clients) do s:close() end
    end)

    it("accept new connections at the configured rate", function()
        local d = daemon.start {env = {BELLHOP_SERVER_ACCEPTS_PER_SECOND = "20"}, workers = 1}
        local began, clients = wait.now(), {}
        for i = 1, 40 do clients[i] = http.open(d.port) end
        for _, s in ipairs(clients) do s:send(http.format("GET", "/healthz")) end
        for _, s in ipairs(clients) do assert.are.equal(200, s:response().status) end
        assert.is_true(wait.now() - began > 0.9, "40 connections at 20 a second")
        assert.is_true(d:metric "bellhop_io_accepts_delayed_total" > 0)
        for _, s in ipairs(clients) do s:close() end
    end)
end)

describe("a slow reader", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local COUNT = 400 -- together far more than the queue and the kernel's buffers

    -- About 20 kB, each with another length and content, so that they cannot be confused.
    local function payload(i) return ("%06d "):format(i):rep(2850 + i * 37 % 100) end

    -- Publishes COUNT messages without reading, then reads all: returns their numbers.
    local function flood(d, query)
        local slow = ws.connect(d.port, "/ws?user=slow&" .. (query or ""), {receive_buffer = 4096})
        local quick = ws.connect(d.port, "/ws?user=quick")
        for i = 1, COUNT do
            d:publish("broadcast", payload(i))
            check.next(quick, payload(i))
        end
        return slow, quick
    end

    -- Every message is whole and in order. Returns those before the marker.
    local function numbers(client, marker)
        local list = {}
        while true do
            local got, how, code = client:recv()
            if got == marker or not got then return list, how, code end
            local i = tonumber(got:sub(1, 6))
            assert.is_true(got == payload(i), "a torn message")
            assert.is_true(i > (list[#list] or 0), "out of order")
            list[#list + 1] = i
        end
    end

    local ENV = {BELLHOP_WEBSOCKET_QUEUE_BYTES = "200000", BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "3"}

    local function env(policy)
        local all = {BELLHOP_WEBSOCKET_ON_SLOW = policy}
        for name, value in pairs(ENV) do all[name] = value end
        return all
    end

    local function has_newest(list)
        assert.are.equal(1, list[1])
        for i = 0, 5 do assert.are.equal(COUNT - i, list[#list - i]) end
        assert.is_true(#list < COUNT)
    end

    local function has_oldest(list)
        for i = 1, #list do assert.are.equal(i, list[i]) end
        assert.is_true(#list > 5 and #list < COUNT)
    end

    it("loses the oldest messages", function()
        local d = daemon.start {env = env "drop_oldest"}
        local slow, quick = flood(d)
        local dropped = d:metric "bellhop_edge_messages_dropped_total"
        d:publish("users/slow", "marker")
        local list = numbers(slow, "marker")
        has_newest(list)
        -- The marker itself may have dropped one.
        local lost = COUNT - #list
        assert.is_true(lost == dropped or lost == dropped + 1, lost .. " lost, " .. dropped .. " counted")
        assert.is_true(d:limited "queue_bytes" > 0)
        check.quiet(d, slow, quick)
    end)

    it("loses the newest messages", function()
        local d = daemon.start {env = env "drop_newest"}
        local slow, quick = flood(d)
        local dropped = d:metric "bellhop_edge_messages_dropped_total"
        assert.is_true(d:limited "queue_bytes" >= dropped)
        local list = {}
        while #list < COUNT - dropped do
            local got = slow:recv()
            list[#list + 1] = tonumber(got:sub(1, 6))
            assert.is_true(got == payload(list[#list]), "a torn message")
            assert.is_true(list[#list] > (list[#list - 1] or 0), "out of order")
        end
        -- A smaller one may fit where larger ones did not.
        for i = 1, #list - 10 do assert.are.equal(i, list[i]) end
        assert.is_true(#list > 20 and list[#list - 5] < COUNT - 5, table.concat(list, " "))
        check.quiet(d, slow, quick)
    end)

    it("is handled as the policy decides", function()
        local d = daemon.start {
            env = ENV,
            policy = [[return {
                on_handshake = function(req) return { user = req:arg "user", tags = { slow = req:arg "slow" } } end,
                on_slow = function(conn, queued)
                    assert(queued > 0 and queued <= 220000, "queued " .. queued)
                    if conn.tags.slow == "error" then error "a bug" end
                    return conn.tags.slow
                end,
            }]],
        }
        local slow, quick = flood(d, "slow=drop_oldest")
        d:publish("users/slow", "marker")
        has_newest(numbers(slow, "marker"))
        check.quiet(d, slow, quick)
        ws.drop_all()

        slow = flood(d, "slow=drop_newest")
        for i = 1, 10 do assert.is_true(slow:recv() == payload(i)) end
        ws.drop_all()

        for _, answer in ipairs {"close", "nonsense", "error"} do
            local before = d:metric "bellhop_edge_slow_consumers_total"
            slow = flood(d, "slow=" .. answer)
            d:wait_metric("bellhop_edge_slow_consumers_total", before + 1)
            has_oldest(numbers(slow))
            ws.drop_all()
        end
        slow = flood(d) -- nil: as configured
        has_oldest(numbers(slow))
        assert.is_true(d:metric 'bellhop_script_errors_total{hook="on_slow"}' >= 2)
    end)
end)
