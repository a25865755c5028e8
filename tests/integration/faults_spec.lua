-- Clients that disconnect at any point, send slowly or stop responding; and an instance without free
-- descriptors. Afterwards no connection may be left.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local socket = require "socket"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        local seconds = req:arg "sleep"
        if seconds then bh.sleep(tonumber(seconds)) end
        return { user = req:arg "user" }
    end,
    on_message = function(conn, data)
        if data == "kick" then return false, 4000, "as you wish" end
        if data == "slow" then bh.sleep(0.1) end
        return data
    end,
    on_open = function(conn) if conn.user == "greeted" then conn:send(("x"):rep(100000)) end end,
}
]]

local GAUGES = {"bellhop_edge_sockets", "bellhop_edge_connections"}

local function gauges(d)
    local values = {}
    for i, name in ipairs(GAUGES) do values[i] = d:metric(name) end
    return values
end

local function wait_gauges(d, wanted)
    local now
    wait.till(function()
        now = gauges(d)
        return now[1] == wanted[1] and now[2] == wanted[2]
    end, 5, function() return ("%d sockets, %d connections; there are %d, %d"):format(
        wanted[1], wanted[2], now[1], now[2]) end)
end

-- User and system time of the process, in seconds.
local function cpu_seconds(pid)
    local f = assert(io.open("/proc/" .. pid .. "/stat"))
    local fields = {}
    for field in f:read "a":match "%)(.*)":gmatch "%S+" do fields[#fields + 1] = field end
    f:close()
    return (tonumber(fields[12]) + tonumber(fields[13])) / 100
end

-- A background program with a WebSocket of its own.
local CLIENT = [[
package.path = "tests/support/?.lua;" .. package.path
local ws = require "ws"
local client = ws.connect(tonumber(arg[1]), "/ws?user=" .. arg[2], arg[3] and {tls = {}} or nil)
repeat local data = client:recv(1000) until not data
]]

local function spawn_client(d, user, port)
    local child = process.spawn {"lua5.4", "-e", CLIENT:gsub("arg%[(%d)%]", function(i)
        local value = ({port or d.port, user, port})[tonumber(i)]
        return value and ("%q"):format(value) or "nil"
    end)}
    wait.till(function() return d:request("GET", "/api/users/" .. user).body:find '"online":true' end, 10,
        function() return "a client: " .. child:log() end)
    return child
end

local function wait_offline(d, user)
    wait.till(function() return d:request("GET", "/api/users/" .. user).body:find '"online":false' end)
end

describe("a client that disconnects", function()
    local d, dir, before
    local listeners = {plain = 1, tls = 2, proxy = 3}

    setup(function()
        dir = certs.new()
        local crt, key = dir:make "faults.example"
        d = daemon.start {
            listen = {"127.0.0.1:0", "tls:127.0.0.1:0", "proxy:tls:127.0.0.1:0"}, policy = POLICY,
            env = {
                BELLHOP_TLS_CERTIFICATES = crt, BELLHOP_TLS_KEYS = key, BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.1",
                BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "1",
            },
        }
    end)
    teardown(function()
        daemon.stop_all()
        dir:remove()
    end)
    before_each(function() before = gauges(d) end)
    after_each(function()
        ws.drop_all()
        wait_gauges(d, {1, 0})
    end)

    local function opened(query)
        return function()
            local client = ws.connect(d.port, "/ws?user=goer" .. (query or ""))
            return client.conn, client
        end
    end

    local function sent(listener, bytes)
        return function()
            local conn = tcp.connect(d.ports[listeners[listener]])
            if bytes ~= "" then conn:send(bytes) end
            return conn
        end
    end

    local function then_send(bytes)
        return function()
            local conn, client = opened()()
            conn:send(bytes)
            return conn, client
        end
    end

    local CLIENT_HELLO = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" .. ("r"):rep(32)
    local stages = {
        {"before it says anything", sent("plain", "")},
        {"in a request's head", sent("plain", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Ha")},
        {"in a request's body", sent("plain", "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")},
        {"in a chunk", sent("plain", "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf")},
        {"before the answer", sent("plain", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")},
        {"behind many requests", sent("plain", ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):rep(50))},
        {"while a hook thinks about its handshake", sent("plain", ws.request "/ws?user=goer&sleep=0.1")},
        {"while a hook thinks for ever", sent("plain", ws.request "/ws?user=goer&sleep=1000")},
        {"with a frame sent ahead", sent("plain", ws.request "/ws?user=goer&sleep=0.1" .. ws.frame(ws.TEXT, "slow"))},
        {"before the 101", sent("plain", ws.request "/ws?user=goer")},
        {"before it has read the welcome", sent("plain", ws.request "/ws?user=greeted")},
        {"once it is open", opened()},
        {"in a frame's head", then_send(ws.frame(ws.TEXT, ("x"):rep(1000)):sub(1, 3))},
        {"in a frame's payload", then_send(ws.frame(ws.TEXT, ("x"):rep(100000)):sub(1, 50000))},
        {"between fragments", then_send(ws.frame(ws.TEXT, "half", {fin = false}))},
        {"while a hook thinks about its message", then_send(ws.frame(ws.TEXT, "slow"):rep(3))},
        {"behind its close frame", then_send(ws.frame(ws.CLOSE, "\3\xe8"))},
        {"behind half a close frame", then_send(ws.frame(ws.CLOSE, "\3\xe8"):sub(1, 5))},
        {"before it answers our close frame", then_send(ws.frame(ws.TEXT, "kick"))},
        {"behind a broken frame", then_send "\xff\xff\xff\xff"},
        {"before the TLS handshake", sent("tls", "")},
        {"in a TLS record's head", sent("tls", "\x16\x03")},
        {"in the ClientHello", sent("tls", CLIENT_HELLO)},
        {"in a PROXY header", sent("proxy", "PROXY TCP4 1.2.3")},
        {"behind a PROXY header", sent("proxy", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")},
        {"behind a PROXY header and half a ClientHello", sent("proxy", "PROXY UNKNOWN\r\n" .. CLIENT_HELLO)},
    }
    for _, stage in ipairs(stages) do
        it(stage[1] .. ", with a reset or a FIN, is forgotten", function()
            local accepted, goers = d:metric "bellhop_io_accepts_total", {}
            for i = 1, 6 do goers[i] = {stage[2]()} end
            d:wait_metric("bellhop_io_accepts_total", accepted + 6)
            for i, goer in ipairs(goers) do
                local conn, client = goer[1], goer[2]
                if i % 2 == 0 then
                    (client or conn):reset()
                elseif client then
                    client:drop()
                else
                    conn:close()
                end
            end
            wait_gauges(d, before)
        end)
    end

    it("at any byte leaves nothing behind", function()
        local script = ws.request "/ws?user=goer" .. ws.frame(ws.TEXT, "one") .. ws.frame(ws.TEXT, "t", {fin = false})
            .. ws.frame(ws.PING, "ping") .. ws.frame(ws.CONTINUATION, "wo") .. ws.frame(ws.TEXT, "kick")
            .. ws.frame(ws.CLOSE, "\x0f\xa0")
        for i = 1, #script do
            local conn = tcp.connect(d.port)
            conn:send(script:sub(1, i))
            if i % 2 == 0 then conn:reset() else conn:close() end
        end
        wait_gauges(d, before)
    end)

    it("in the middle of a TLS handshake leaves nothing behind", function()
        local server = assert(socket.bind("127.0.0.1", 0))
        local _, port = server:getsockname()
        local child = process.spawn {"openssl", "s_client", "-connect", "127.0.0.1:" .. port}
        server:settimeout(10)
        local from = assert(server:accept())
        local head = assert(from:receive(5))
        local hello = head .. assert(from:receive((string.unpack(">I2", head, 4))))
        from:close()
        server:close()
        child:stop()
        for i = 1, 6 do
            local conn = tcp.connect(d.ports[2])
            conn:send(hello)
            assert.are.equal("\x16\x03\x03", conn:read(3))
            if i % 2 == 0 then conn:reset() else conn:close() end
        end
        wait_gauges(d, before)
    end)

    it("by kill -9 is offline at once", function()
        for _, port in ipairs {d.ports[1], d.ports[2]} do
            local child = spawn_client(d, "victim", port ~= d.port and port or nil)
            d:publish("broadcast", ("x"):rep(1000000))
            child:stop "KILL"
            wait_offline(d, "victim")
            wait_gauges(d, before)
        end
    end)

    it("does not affect others", function()
        local witness = ws.connect(d.port, "/ws?user=witness")
        local clients = {}
        for i = 1, 50 do clients[i] = ws.connect(d.port, "/ws?user=goer") end
        d:publish("broadcast", ("x"):rep(100000))
        for i, client in ipairs(clients) do
            if i % 2 == 0 then client:reset() else client:drop() end
        end
        check.next(witness, ("x"):rep(100000))
        check.quiet(d, witness)
        wait_offline(d, "goer")
    end)
end)

describe("a client that stops responding", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("is disconnected when it answers no ping", function()
        local d = daemon.start {
            policy = POLICY, env = {BELLHOP_WEBSOCKET_PING_INTERVAL = "0.3", BELLHOP_WEBSOCKET_PONG_TIMEOUT = "0.5"},
        }
        local child = spawn_client(d, "stopped")
        child:signal "STOP"
        local half, mute = ws.connect(d.port, "/ws?user=half"), ws.connect(d.port, "/ws?user=mute")
        half:raw(ws.frame(ws.TEXT, "half"):sub(1, -2))
        for _, user in ipairs {"stopped", "half", "mute"} do wait_offline(d, user) end
        assert.are.equal(3, d:metric "bellhop_edge_half_open_total")
        d:wait_metric("bellhop_edge_sockets", 1)
        child:stop "KILL"
        half:drop()
        mute:drop()
    end)
end)

describe("clients that send slowly", function()
    local d

    setup(function()
        d = daemon.start {policy = POLICY, env = {BELLHOP_HTTP_REQUEST_TIMEOUT = "0.6"}}
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("have a limited time for a request", function()
        local bytes = ws.request "/ws?user=slow" .. ("X-More: y\r\n"):rep(1000)
        local slow, done, began = {}, 0, wait.now()
        for i = 1, 30 do slow[i] = tcp.connect(d.port) end
        local at = 0
        wait.till(function()
            at = at + 1
            for i, conn in pairs(slow) do
                conn:send(bytes:sub(at, at))
                local answer = conn:read_till("\r\n", 0)
                if answer then
                    assert.are.equal("HTTP/1.1 408 Request Timeout", answer)
                    conn:close()
                    slow[i] = nil
                    done = done + 1
                end
            end
            assert.are.equal(200, http.get(d.port, "/healthz").status)
            return done == 30
        end, 10)
        assert.is_true(wait.now() - began > 0.5)
        assert.are.equal(30, d:limited "request_timeout")
        d:wait_metric("bellhop_edge_sockets", 1)
    end)

    it("may send a message slowly", function()
        local clients, bytes = {}, ws.frame(ws.TEXT, ("slow but honest "):rep(10))
        for i = 1, 10 do clients[i] = ws.connect(d.port, "/ws?user=slow" .. i) end
        for at = 1, #bytes do
            for _, client in ipairs(clients) do client:raw(bytes:sub(at, at)) end
        end
        for _, client in ipairs(clients) do check.next(client, ("slow but honest "):rep(10)) end
    end)
end)

describe("without descriptors", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("an instance serves its connections, and accepts others when some are closed", function()
        local d = daemon.start {policy = POLICY, descriptors = 64}
        d:request("GET", "/healthz")
        local clients, late = {}, {}
        for i = 1, 20 do clients[i] = ws.connect(d.port, "/ws?user=early") end
        for i = 1, 60 do
            late[i] = tcp.connect(d.port)
            late[i]:send(ws.request "/ws?user=late")
        end
        wait.till(function() return d:limited "descriptors" > 0 end)
        d:wait_log "out of file descriptors"
        local sockets = d:metric "bellhop_edge_sockets"
        assert.is_true(sockets > 21 and sockets < 64, sockets)

        local spent, began = cpu_seconds(d.process.pid), wait.now()
        local echoes = 0
        repeat
            local client = clients[echoes % #clients + 1]
            client:text("echo " .. echoes)
            check.next(client, "echo " .. echoes)
            echoes = echoes + 1
            socket.sleep(0.01)
        until wait.now() - began > 1
        local share = (cpu_seconds(d.process.pid) - spent) / (wait.now() - began)
        assert.is_true(share < 0.5, share)
        check.quiet(d, table.unpack(clients))

        local refused = 0
        for _, conn in ipairs(late) do
            local line = conn:read_till "\r\n\r\n"
            if line then
                assert.matches("^HTTP/1.1 [15]0[13] ", line)
                refused = refused + (line:find("503", 1, true) and 1 or 0)
            end
            conn:close()
        end
        assert.is_true(refused > 10, refused)
        for _, client in ipairs(clients) do client:drop() end
        wait_gauges(d, {1, 0})
        for i = 1, 20 do clients[i] = ws.connect(d.port, "/ws?user=early") end
        check.quiet(d, table.unpack(clients))
        ws.drop_all()
        wait_gauges(d, {1, 0})
        ws.connect(d.port, "/ws?user=last"):close(1000)
    end)
end)
