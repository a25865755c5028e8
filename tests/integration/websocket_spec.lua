-- The WebSocket protocol against a real instance: errors, fragments, heartbeat, slow clients.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local wait = require "wait"
local ws = require "ws"

local ECHO = [[return { on_message = function(conn, data)
    if data == "who" then return conn.user end
    return data
end, on_handshake = function(req) return { user = req:arg("user") } end }]]

describe("the WebSocket protocol", function()
    local d

    setup(function()
        d = daemon.start {
            policy = ECHO,
            env = {BELLHOP_WEBSOCKET_MESSAGE_BYTES = "1000000", BELLHOP_WEBSOCKET_FRAGMENTS = "100"},
        }
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function connect(options) return ws.connect(d.port, "/ws?user=42", options) end

    it("echoes text and binary with every length of header", function()
        local client = connect()
        for _, n in ipairs {0, 1, 125, 126, 65535, 65536, 1000000} do
            local payload = ("abc\0defg"):rep(n // 8 + 1):sub(1, n)
            client:text(payload)
            check.next(client, payload, "text")
            client:binary(payload)
            check.next(client, payload, "binary")
        end
        assert.are.equal(1000, client:close(1000, "done"))
    end)

    it("answers pings, also between fragments and byte by byte", function()
        local client = connect()
        client:send(ws.TEXT, "one ", {fin = false})
        client:send(ws.PING, "are you there?")
        assert.are.same({fin = true, opcode = ws.PONG, payload = "are you there?"}, client:recv_frame())
        client:send(ws.CONTINUATION, "", {fin = false})
        client:send(ws.PONG, "unasked")
        client:send(ws.CONTINUATION, "two")
        check.next(client, "one two", "text")
        local bytes = ws.frame(ws.TEXT, "gr", {fin = false}) .. ws.frame(ws.CONTINUATION, "\xc3", {fin = false})
            .. ws.frame(ws.PING, "") .. ws.frame(ws.CONTINUATION, "\xbc\xc3\x9fe")
        for i = 1, #bytes do client:raw(bytes:sub(i, i)) end
        assert.are.equal(ws.PONG, client:recv_frame().opcode)
        check.next(client, "grüße", "text")
    end)

    it("accepts frames right after the upgrade request", function()
        local client = connect {
            behind = ws.frame(ws.TEXT, "early") .. ws.frame(ws.PING, "p") .. ws.frame(ws.TEXT, "bird"),
        }
        check.next(client, "early")
        assert.are.equal("p", client:recv_frame().payload)
        check.next(client, "bird")
    end)

    local errors = {
        {"an unmasked frame", 1002, ws.frame(ws.TEXT, "x", {unmasked = true})},
        {"a reserved bit", 1002, ws.frame(ws.TEXT, "x", {rsv = 4})},
        {"a reserved opcode", 1002, ws.frame(3, "x")},
        {"a reserved control opcode", 1002, ws.frame(11, "x")},
        {"a fragmented ping", 1002, ws.frame(ws.PING, "x", {fin = false})},
        {"a long ping", 1002, ws.frame(ws.PING, ("x"):rep(126))},
        {"a continuation of nothing", 1002, ws.frame(ws.CONTINUATION, "x")},
        {"a message inside a message", 1002, ws.frame(ws.TEXT, "x", {fin = false}) .. ws.frame(ws.TEXT, "y")},
        {"a length of 2^63", 1002, "\x82\xff\x80\0\0\0\0\0\0\0\1\2\3\4"},
        {"half a close code", 1002, ws.frame(ws.CLOSE, "\3")},
        {"a close code that is none", 1002, ws.frame(ws.CLOSE, "\3\xed")},
        {"a close reason that is no UTF-8", 1007, ws.frame(ws.CLOSE, "\3\xe8\xff")},
        {"text that is no UTF-8", 1007, ws.frame(ws.TEXT, "a\xc0\xaf")},
        {"a surrogate", 1007, ws.frame(ws.TEXT, "\xed\xa0\x80")},
        {"text cut in a character", 1007, ws.frame(ws.TEXT, "a\xc3")},
        {"bad UTF-8 in a fragment, at once", 1007, ws.frame(ws.TEXT, "a\xff", {fin = false})},
        {"a message too big, by its header", 1009, ws.frame(ws.BINARY, "", {length = 1000001})},
        {"a message too big in fragments", 1009,
            ws.frame(ws.BINARY, ("x"):rep(60000), {fin = false}) .. ws.frame(ws.CONTINUATION, "", {length = 940001})},
        {"too many fragments", 1008,
            ws.frame(ws.TEXT, "x", {fin = false}) .. ws.frame(ws.CONTINUATION, "x", {fin = false}):rep(100)},
    }
    for _, case in ipairs(errors) do
        it("closes with " .. case[2] .. " for " .. case[1], function()
            local client, witness = connect(), connect()
            client:raw(case[3])
            check.closed(client, case[2])
            witness:text "still here"
            check.next(witness, "still here")
        end)
    end

    it("answers a close frame, with and without a code", function()
        for _, code in ipairs {1000, 1001, 3000, 4999} do assert.are.equal(code, connect():close(code, "bye")) end
        assert.are.equal(1005, connect():close())
    end)

    it("removes clients that disconnect without a close frame", function()
        local clients = {}
        for i = 1, 20 do
            clients[i] = connect()
            if i % 2 == 0 then clients[i]:raw(ws.frame(ws.TEXT, "cut off"):sub(1, 5)) end
        end
        for _, client in ipairs(clients) do client:drop() end
        wait.till(function() return d:request("GET", "/api/users/42").body:find '"online":false' end)
    end)

    it("refuses invalid handshakes", function()
        for name, value in pairs {
            ["Sec-WebSocket-Version"] = "8", ["Sec-WebSocket-Key"] = "short", Upgrade = "h2c", Connection = "close",
        } do
            local bytes = ws.request("/ws"):gsub(name:gsub("%-", "%%-") .. ": [^\r]*", name .. ": " .. value)
            local s = require "http".open(d.port)
            s:send(bytes)
            local answer = s:response()
            assert.is_true(answer.status == 400 or answer.status == 426, name .. " " .. answer.status)
            if answer.status == 426 and name == "Sec-WebSocket-Version" then
                assert.are.equal("13", answer.headers["sec-websocket-version"])
            end
            s:close()
        end
    end)
end)

describe("the heartbeat", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("disconnects only the client that answers no ping", function()
        local d = daemon.start {
            env = {BELLHOP_WEBSOCKET_PING_INTERVAL = "0.3", BELLHOP_WEBSOCKET_PONG_TIMEOUT = "1"},
        }
        local silent, living = ws.connect(d.port, "/ws?user=silent"), ws.connect(d.port, "/ws?user=living")
        assert.are.equal(ws.PING, silent:recv_frame().opcode)
        wait.till(function()
            local _, why = living:recv(0.05)
            assert.are.equal("timeout", why)
            return d:request("GET", "/api/users/silent").body:find '"online":false'
        end)
        assert.is_nil(silent:recv_frame())
        for _ = 1, 3 do
            local frame = living:recv_frame()
            assert.are.equal(ws.PING, frame.opcode)
            living:send(ws.PONG, frame.payload)
        end
        check.quiet(d, living)
    end)
end)

describe("a slow consumer", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("is closed, without an effect on others", function()
        local d = daemon.start {
            env = {BELLHOP_WEBSOCKET_QUEUE_BYTES = "262144", BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "0.3"},
        }
        local slow = ws.connect(d.port, "/ws?user=slow", {receive_buffer = 4096})
        local quick = ws.connect(d.port, "/ws?user=quick")
        local megabyte = ("0123456789abcdef"):rep(65536)
        local published = 0
        wait.till(function()
            published = published + 1
            assert(published < 50, "the queue has no bound")
            d:publish("broadcast", megabyte)
            check.next(quick, megabyte)
            return d:request("GET", "/api/users/slow").body:find '"online":false'
        end, 30)
        d:wait_log "slow consumer"
        check.quiet(d, quick)
        repeat local frame, why = slow:recv_frame() until not frame or frame.opcode == ws.CLOSE or why
    end)
end)

describe("messages of clients without a hook", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local POLICY = "return { on_handshake = function(req) return { user = req:arg 'user' } end }"

    it("are refused or ignored", function()
        local d = daemon.start {policy = POLICY}
        local client = ws.connect(d.port, "/ws?user=42")
        client:text "hello"
        check.closed(client, 1008)
        d:stop()
        d = daemon.start {policy = POLICY, env = {BELLHOP_WEBSOCKET_CLIENT_MESSAGES = "ignore"}}
        client = ws.connect(d.port, "/ws?user=42")
        client:text "hello"
        client:send(ws.PING, "x")
        assert.are.equal(ws.PONG, client:recv_frame().opcode)
        check.quiet(d, client)
    end)
end)
