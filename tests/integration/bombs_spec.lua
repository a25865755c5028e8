-- Compressed messages that become large: one client with them, or a hundred, among others.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local deflate = require "deflate"
local wait = require "wait"
local ws = require "ws"

local OFFER = "permessage-deflate; client_max_window_bits"
local MIB = 1 << 20

-- Large messages are answered with their length.
local POLICY = [[return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_message = function(conn, data) return #data < 10000 and data or "got " .. #data end,
}]]

local function zeros(n) return deflate.deflate(("\0"):rep(n), 9) end

local function start(env)
    local all = {BELLHOP_WEBSOCKET_MESSAGE_BYTES = tostring(16 * MIB)}
    for name, value in pairs(env or {}) do all[name] = value end
    return daemon.start {policy = POLICY, env = all, workers = 1}
end

local function connect(d, user)
    return ws.connect(d.port, "/ws?user=" .. user, {headers = {["Sec-WebSocket-Extensions"] = OFFER}})
end

local function attackers(d, n)
    local all = {}
    for i = 1, n do all[i] = connect(d, "attacker" .. i) end
    return all
end

-- Round trips of small messages, every other one compressed.
local function be_served(client, n)
    for i = 1, n do
        local text = "honest " .. i
        if i % 2 == 0 then client:send(ws.TEXT, deflate.deflate(text), {rsv = 4}) else client:text(text) end
        check.next(client, text)
    end
end

local function messages(d) return d:metric "bellhop_edge_messages_in_total" end

describe("bombs", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("from one client do not keep others waiting", function()
        local d = start()
        local attacker, honest = attackers(d, 1)[1], connect(d, "honest")
        local frame = ws.frame(ws.BINARY, zeros(16 * MIB), {rsv = 4})
        assert.is_true(#frame < 17000)
        attacker:raw(frame:rep(4))
        be_served(honest, 20)
        assert.is_true(messages(d) < 24, "the bombs were served first")
        for _ = 1, 4 do check.next(attacker, "got " .. 16 * MIB) end
        attacker:text "and later"
        check.next(attacker, "and later")
    end)

    for _, mode in ipairs {"no_takeover", "takeover"} do
        it("from a hundred clients, with " .. mode, function()
            local d = start {BELLHOP_WEBSOCKET_COMPRESSION = mode}
            local all, honest = attackers(d, 100), connect(d, "honest")
            local frame = ws.frame(ws.BINARY, zeros(200 * 1024), {rsv = 4})
            for _, client in ipairs(all) do client:raw(frame .. ws.frame(ws.PING, "behind")) end
            be_served(honest, 20)
            assert.is_true(messages(d) < 120, "the bombs were served first")
            for _, client in ipairs(all) do
                local reply = client:recv_frame(30)
                assert.are.equal("got " .. 200 * 1024, reply.payload)
                assert.are.equal("behind", client:recv_frame(30).payload)
            end
            be_served(honest, 20)
        end)
    end

    it("end with their clients", function()
        local d = start()
        local frame = ws.frame(ws.BINARY, zeros(2 * MIB), {rsv = 4})
        for _ = 1, 2 do
            local all = attackers(d, 24)
            for _, client in ipairs(all) do client:raw(frame) end
            be_served(connect(d, "honest"), 5)
            ws.drop_all()
        end
        d:wait_metric("bellhop_edge_connections", 0, 60)
        be_served(connect(d, "honest"), 5)
    end)

    it("end with a close, also when the server closes", function()
        local d = start()
        local frame = ws.frame(ws.BINARY, zeros(16 * MIB), {rsv = 4})
        local all = attackers(d, 24)
        for _, client in ipairs(all) do client:raw(frame:rep(2) .. ws.frame(ws.CLOSE, "\3\xe8")) end
        for i = 1, 24 do d:request("DELETE", "/api/users/attacker" .. i .. "/connections") end
        for _, client in ipairs(all) do
            wait.till(function() return client:recv_frame(30).opcode == ws.CLOSE end, 30, "no close frame")
        end
        d:wait_metric("bellhop_edge_connections", 0, 30)
    end)

    it("survive a reload", function()
        local d = start()
        local frame = ws.frame(ws.BINARY, zeros(2 * MIB), {rsv = 4})
        local all = attackers(d, 3)
        for _, client in ipairs(all) do client:raw(frame) end
        assert.are.equal(200, d:request("POST", "/api/reload").status)
        for _, client in ipairs(all) do assert.are.equal("got " .. 2 * MIB, client:recv_frame(60).payload) end
    end)

    it("count as what they become", function()
        local d = start {BELLHOP_WEBSOCKET_BYTES_PER_SECOND = tostring(MIB)}
        local attacker, honest = attackers(d, 1)[1], connect(d, "honest")
        attacker:send(ws.BINARY, zeros(2 * MIB), {rsv = 4})
        attacker:text "later"
        check.next(attacker, "got " .. 2 * MIB)
        be_served(honest, 5)
        assert.is_true(d:limited "bytes_per_second" > 0)
        check.next(attacker, "later")
    end)
end)
