-- The memory budget, and unfinished messages: one client or a hundred cannot fill the memory, and others
-- are not affected.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local wait = require "wait"
local ws = require "ws"

local KIB, MIB = 1024, 1024 * 1024
local BUDGET = 24 * MIB
local ATTACKERS = 100
local LENGTH, PART = 1000 * KIB, 900 * KIB -- of an attacker's message
local SANITIZED = daemon.BIN:find "asan" or daemon.BIN:find "tsan"

local POLICY = [[
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_message = function(_, data) return data end,
}
]]

local function resident(d)
    for line in io.lines("/proc/" .. d.process.pid .. "/status") do
        local kib = line:match "^VmRSS:%s+(%d+)"
        if kib then return tonumber(kib) * KIB end
    end
end

local function echoes(client)
    client:text "still here"
    check.next(client, "still here")
end

-- The first bytes of a message of `length` bytes.
local function begin_message(client, length, part) client:raw(ws.frame(ws.BINARY, ("x"):rep(part), {length = length})) end

local function end_message(client, length, part)
    client:raw(("x"):rep(length - part))
    local payload, opcode = client:recv(60) -- a kernel that drops what a slow daemon leaves sends it again late
    assert.are.equal(length, payload and #payload, opcode)
    assert.is_true(payload == ("x"):rep(length) and opcode == "binary")
end

describe("the memory budget", function()
    local d

    setup(function()
        d = daemon.start {
            policy = POLICY, workers = 1,
            -- On a slow machine it takes longer than these until a hundred messages are half there.
            env = {
                BELLHOP_SERVER_MEMORY_BUDGET = tostring(BUDGET), BELLHOP_WEBSOCKET_MESSAGE_TIMEOUT = "0",
                BELLHOP_WEBSOCKET_PING_INTERVAL = "600",
            },
        }
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function connect(user) return ws.connect(d.port, "/ws?user=" .. user) end

    it("is shown by kind from the start", function()
        for _, kind in ipairs {"bodies", "messages", "queues", "held"} do
            assert.are.equal(0, d:metric(('bellhop_memory_bytes{kind="%s"}'):format(kind)))
        end
        assert.are.equal(BUDGET, d:metric "bellhop_memory_budget_bytes")
        assert.are.equal(0, d:limited "memory_budget")
    end)

    it("closes the oldest unfinished messages of the user that holds most", function()
        local honest, idle = connect "honest", connect "evil"
        begin_message(honest, 500 * KIB, 400 * KIB)
        local before, received, attackers = resident(d), d:metric "bellhop_edge_bytes_in_total", {}
        for i = 1, ATTACKERS do
            attackers[i] = connect "evil"
            begin_message(attackers[i], LENGTH, PART)
        end
        wait.till(function() return d:metric "bellhop_edge_bytes_in_total" >= received + ATTACKERS * PART end, 20,
            "the attackers' bytes")
        wait.till(function() return d:metric "bellhop_memory_bytes" <= BUDGET end, 10, "an end of the excess")
        local closed = d:limited "memory_budget"
        assert.is_true(closed > ATTACKERS - BUDGET // PART and closed < ATTACKERS, closed)
        d:wait_log "memory budget exceeded"
        for i = 1, closed do check.closed(attackers[i], 1013, "the server is short of memory") end
        for i = closed + 1, closed + 3 do end_message(attackers[i], LENGTH, PART) end -- long messages take turns
        end_message(honest, 500 * KIB, 400 * KIB)
        echoes(idle)
        ws.drop_all()
        wait.till(function() return d:metric "bellhop_memory_bytes" < 128 * KIB end, 10, "an end of what is held")
        if not SANITIZED then
            wait.till(function() return resident(d) < before + 8 * MIB end, 10, function()
                return ("%d KiB instead of %d"):format(resident(d) // KIB, before // KIB)
            end)
        end
    end)

    it("refuses bodies for which there is no room", function()
        local limited, held = d:limited "memory_budget", {}
        local head = "POST /api/topics/t/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        for i = 1, 5 do
            held[i] = http.open(d.port)
            held[i]:send(head:format(4 * MIB) .. ("x"):rep(4 * MIB - 100))
        end
        wait.till(function() return d:metric 'bellhop_memory_bytes{kind="bodies"}' > 20 * MIB end, 10, "the bodies")
        local answer = http.post(d.port, "/api/topics/t/messages", ("x"):rep(4 * MIB))
        check.error(answer, 503, "overloaded")
        assert.are.equal("1", answer.headers["retry-after"])
        assert.are.equal(limited + 1, d:limited "memory_budget")
        assert.are.equal(200, http.post(d.port, "/api/topics/t/messages", ("x"):rep(1000)).status)
        for _, s in ipairs(held) do
            s:send(("x"):rep(100))
            assert.are.equal(200, s:response().status)
            s:close()
        end
        assert.are.equal(200, http.post(d.port, "/api/topics/t/messages", ("x"):rep(4 * MIB)).status)
    end)
end)

describe("the memory budget of several workers", function()
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("is one, and the user that holds most is found on all of them", function()
        local d = daemon.start {policy = POLICY, workers = 3, env = {BELLHOP_SERVER_MEMORY_BUDGET = tostring(BUDGET)}}
        local honest, attackers = {}, {}
        for i = 1, 12 do
            honest[i] = ws.connect(d.port, "/ws?user=honest" .. i)
            begin_message(honest[i], 500 * KIB, 400 * KIB)
        end
        for i = 1, ATTACKERS do
            attackers[i] = ws.connect(d.port, "/ws?user=evil")
            begin_message(attackers[i], LENGTH, PART)
        end
        wait.till(function()
            return d:limited "memory_budget" > ATTACKERS - BUDGET // PART and d:metric "bellhop_memory_bytes" <= BUDGET
        end, 20, "an end of the excess")
        for i = 1, 12 do end_message(honest[i], 500 * KIB, 400 * KIB) end
    end)
end)

describe("an unfinished message", function()
    local d

    setup(function() d = daemon.start {policy = POLICY, env = {BELLHOP_WEBSOCKET_MESSAGE_TIMEOUT = "1"}} end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("is closed when it stands still, also a hundred of them", function()
        local witness, clients = ws.connect(d.port, "/ws?user=witness"), {}
        for i = 1, ATTACKERS do
            clients[i] = ws.connect(d.port, "/ws?user=evil")
            begin_message(clients[i], LENGTH, i * 100)
        end
        for _, client in ipairs(clients) do check.closed(client, 1008, "message not completed in time") end
        assert.are.equal(ATTACKERS, d:limited "message_timeout")
        echoes(witness)
    end)

    it("is not kept open by a byte now and then", function()
        local client = ws.connect(d.port, "/ws?user=slow")
        begin_message(client, LENGTH, 10)
        wait.till(function()
            client:raw "x"
            local data, why, code = client:recv(0.1)
            assert.is_nil(data)
            return why == "closed" and code == 1008
        end, 10, "the end of the connection")
    end)
end)
