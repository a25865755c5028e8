-- Policies that compute for too long because of what a client is or sends: the others are served.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local deflate = require "deflate"
local ws = require "ws"

local MANY = 100
local FAILED = 'bellhop_script_errors_total{hook="on_message"}'

local POLICY = [[
local bh = require "bellhop"
local runs = 0
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_deliver = function(conn)
        if conn.user:find "^bad" then while true do end end
    end,
    on_message = function(conn, data)
        if conn.user == "json" then return type(bh.json.decode(data)) end
        return data
    end,
    timers = {
        slow = { every = 0.1, fn = function()
            runs = runs + 1
            while runs <= 2 do end
        end },
    },
}
]]

local function lines_with(log, text)
    local n = 0
    for line in log:gmatch "[^\n]+" do
        if line:find(text, 1, true) then n = n + 1 end
    end
    return n
end

-- The thread sanitizer holds the watchdog's signals back.
if not daemon.HAS_WATCHDOG then return end

describe("a policy that computes for too long", function()
    local d

    before_each(function()
        d = daemon.start {
            policy = POLICY, workers = 1,
            env = { BELLHOP_WEBSOCKET_MESSAGE_BYTES = "16777216" },
        }
    end)
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local function connect(user, options) return ws.connect(d.port, "/ws?user=" .. user, options) end

    it("in on_deliver for many connections ends these connections", function()
        local bad, witness = {}, connect "witness"
        for i = 1, MANY do bad[i] = connect("bad" .. i) end
        for i = 1, 3 do
            d:publish("broadcast", "message " .. i, "strategy=local")
            check.next(witness, "message " .. i)
        end
        for i = 1, MANY do check.closed(bad[i], 1011, "on_deliver failed") end
        d:publish("broadcast", "afterwards", "strategy=local")
        check.next(witness, "afterwards")
        assert.are.equal(MANY, d:metric "bellhop_script_deliver_off_total")
        assert.is_true(d:metric "bellhop_script_cpu_limit_total" >= 3 * MANY)
        d:wait_log "on_deliver is too slow"
        local log = d:log()
        assert.matches("connection closed: on_deliver is too slow\" .*hook=on_deliver user=bad%d+ ", log)
        assert.is_true(lines_with(log, "on_deliver is too slow") < MANY)
        assert.is_true(lines_with(log, "the hook ran for more than") < MANY)
    end)

    for _, unit in ipairs { "1,", "{},", "[[]]," } do
        it("on one message of " .. unit .. " stops with an error, and the connection stays open", function()
            local client = connect("json", { headers = { ["Sec-WebSocket-Extensions"] = "permessage-deflate" } })
            local witness = connect "witness"
            local bytes = deflate.deflate("[" .. unit:rep((16 << 20) // #unit - 2) .. "1]")
            client:send(ws.TEXT, bytes, { rsv = 4 })
            witness:text(unit)
            check.next(witness, unit)
            d:wait_metric(FAILED, 1)
            client:text "[]"
            check.next(client, "table")
        end)
    end

    it("in a timer runs it less often, until it is fast again", function()
        d:wait_log "its period was restored"
        local log = d:log()
        assert.are.equal(2, lines_with(log, "its period was doubled"))
        assert.matches("timer=slow script=%S*policy%.lua generation=1 period=0%.2\n", log)
        assert.matches("timer=slow script=%S*policy%.lua generation=1 period=0%.4\n", log)
        assert.are.equal(1, lines_with(log, "its period was restored"))
    end)
end)
