-- One client, or a hundred, with more work than fits into a turn of the loop, beside honest ones.
--
-- A policy counts what it does. While the daemon is stopped, the sockets are filled: an honest client asks,
-- the attackers send, another honest client asks. When the daemon goes on, the difference between the two
-- answers is what the attackers got in between. No clock is involved, and a faster machine does not do
-- much more in a turn.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local daemon = require "daemon"
local process = require "process"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local ATTACK = daemon.BIN:gsub("src/bellhop$", "tests/bench/bench_attack")
local SANITIZED = daemon.BIN:find "[at]san"

local POLICY = [[
local count = 0
return {
    on_handshake = function() return {anonymous = true} end,
    on_message = function(conn, data)
        if data == "ask" then return tostring(count) end
        count = count + 1
        return true
    end,
    http = {
        ["GET /work"] = function()
            count = count + 1
            return 200, nil, "done"
        end,
    },
}
]]

local MESSAGES = ws.frame(ws.TEXT, "a flooding message"):rep(4000)
local REQUESTS = ("GET /work HTTP/1.1\r\nHost: test\r\n\r\n"):rep(3000)

local function memory(d)
    for line in io.lines("/proc/" .. d.process.pid .. "/status") do
        local kib = line:match "^VmRSS:%s*(%d+)"
        if kib then return tonumber(kib) // 1024 end
    end
end

-- Returns when all its threads are stopped.
local function stop(d)
    d.process:signal "STOP"
    wait.till(function()
        local states = io.popen("cat /proc/" .. d.process.pid .. "/task/*/stat"):read "a"
        return not (states:gsub("%(.-%) T ", "")):find "%) %a "
    end, 10, "the daemon to stop")
end

local function ask(client)
    client:text "ask"
    return tonumber((assert(client:recv())))
end

describe("beside attackers", function()
    local d, honest, certificates

    setup(function()
        certificates = certs.new()
        local crt, key = certificates:make("localhost", {san = "DNS:localhost"})
        d = daemon.start {
            workers = 1,
            policy = POLICY,
            listen = {"127.0.0.1:0", "tls:127.0.0.1:0"},
            env = {
                BELLHOP_TLS_CERTIFICATES = crt, BELLHOP_TLS_KEYS = key, BELLHOP_WEBSOCKET_MESSAGES_PER_SECOND = "0",
                BELLHOP_WEBSOCKET_BYTES_PER_SECOND = "0", BELLHOP_WEBSOCKET_PING_INTERVAL = "600",
            },
        }
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
    end)
    before_each(function()
        honest = {}
        for i = 1, 4 do honest[i] = ws.connect(d.port, "/ws") end
        for _ = 1, 5 do
            for _, client in ipairs(honest) do ask(client) end
        end
    end)
    after_each(function()
        d.process:signal "CONT"
        ws.drop_all()
    end)

    -- Sends what the kernel takes of the endless repetition of `bytes`, and discards what has come.
    local function flood(attacker, bytes)
        local sock = attacker.sock
        sock:settimeout(0)
        local last, _, partial = sock:send(bytes, attacker.sent + 1)
        attacker.sent = (last or partial) % #bytes
        repeat
            local data, _, rest = sock:receive(262144)
        until not data or #(rest or "") > 0
    end

    local function most_between_answers(attackers, bytes, rounds)
        local most = 0
        for _ = 1, rounds do
            stop(d)
            for i = 1, 2 do honest[i]:text "ask" end
            for _, attacker in ipairs(attackers) do flood(attacker, bytes) end
            for i = 3, 4 do honest[i]:text "ask" end
            d.process:signal "CONT"
            local least, greatest = math.maxinteger, 0
            for _, client in ipairs(honest) do
                local count = tonumber((assert(client:recv())))
                least, greatest = math.min(least, count), math.max(greatest, count)
            end
            most = math.max(most, greatest - least)
        end
        return most
    end

    -- open(): a connection of an attacker. most: what may happen between two answers.
    local function attack(count, open, bytes, most)
        local attackers, before, sockets = {}, memory(d), d:metric "bellhop_edge_sockets"
        for i = 1, count do
            attackers[i] = open()
            attackers[i].sent = 0
        end
        local done = ask(honest[1])
        local between = most_between_answers(attackers, bytes, 15)
        assert.is_true(between <= most, ("%d between two answers"):format(between))
        wait.till(function() return ask(honest[1]) - done > 1000 end, 10, "the attackers to be served, too")
        for _, attacker in ipairs(attackers) do attacker:close() end
        d:wait_metric("bellhop_edge_sockets", sockets, 120) -- first it reads what they sent: millions of messages
        if not SANITIZED then
            wait.till(function() return memory(d) <= before + 32 end, 10, function()
                return ("memory: %d MiB before, %d after"):format(before, memory(d))
            end)
        end
        for _, client in ipairs(honest) do ask(client) end
    end

    local function open_ws() return ws.connect(d.port, "/ws").conn end

    local function open_http() return tcp.connect(d.port) end

    it("that send messages, a client waits for few of them", function()
        attack(1, open_ws, MESSAGES, 1500)
        attack(100, open_ws, MESSAGES, 100000)
        assert.are.equal(0, d:limited "messages_per_second")
    end)

    it("that pipeline requests, a client waits for few of them", function()
        attack(1, open_http, REQUESTS, 300)
        attack(100, open_http, REQUESTS, 8000)
    end)

    -- What a turn costs is tested in tests/unit/io; here that the connections end, and all else goes on.
    it("that update their TLS keys all the time, a client is served", function()
        for _, count in ipairs {1, 100} do
            local sockets, before = d:metric "bellhop_edge_sockets", d:metric "bellhop_io_tls_floods_total"
            local attacker = process.spawn {ATTACK, "keys", tostring(count), "1.5", tostring(d.ports[2])}
            repeat
                for _, client in ipairs(honest) do ask(client) end
            until attacker:status()
            assert.are.equal(0, attacker:status(), attacker:log())
            attacker:stop()
            assert.is_true(d:metric "bellhop_io_tls_floods_total" > before)
            d:wait_log "too many key updates"
            d:wait_metric("bellhop_edge_sockets", sockets)
        end
    end)
end)
