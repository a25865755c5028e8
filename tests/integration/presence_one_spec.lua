-- Presence, undelivered messages, and the result of a publish, on one instance.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local wait = require "wait"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
local function tell(text) bh.publish { topic = "events", data = text, strategy = "local" } end
return {
    on_handshake = function(req)
        return { user = req:arg "user", tenant = req:arg "tenant", topics = { req:arg "topic" } }
    end,
    on_presence = function(event)
        assert(math.abs(event.at - os.time()) < 60)
        tell(event.user .. (event.online and " online" or " offline"))
    end,
    on_offline = function(msg, attempt)
        if msg.topic then return nil end
        tell(("%s missed %s at %d"):format(msg.user or msg.tenant, msg.data, attempt))
        if msg.data == "again" then return { retry = 0.1 } end
        return true
    end,
}
]]

describe("one instance", function()
    local d

    setup(function()
        d = daemon.start {policy = POLICY, env = {BELLHOP_TRACKING_DEBOUNCE = "0.3"}}
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function connect(query) return ws.connect(d.port, "/ws?" .. query) end
    local function publish(target, text, query)
        return http.post(d.port, "/api/" .. target .. (query and "?" .. query or ""), text).body
    end
    local function status(body) return body:match '"status":"(%a+)","instances":(%d+),"local":(%d+)' end

    -- Reads up to `last`; counts each event (also those of earlier users).
    local function events_until(witness, last)
        local seen = {}
        wait.till(function()
            local text = witness:recv()
            seen[text] = (seen[text] or 0) + 1
            return text == last
        end, 5)
        return seen
    end

    it("reports the result of a publish", function()
        assert.are.same({"offline", "0", "0"}, {status(publish("users/1/messages", "x"))})
        local phone, laptop = connect "user=1&tenant=7", connect "user=1&tenant=7"
        assert.are.same({"delivered", "1", "2"}, {status(publish("users/1/messages", "x"))})
        assert.are.same({"delivered", "1", "2"}, {status(publish("tenants/7/messages", "x", "strategy=redis"))})
        assert.are.same({"delivered", "1", "2"}, {status(publish("broadcast", "x", "id=once"))})
        assert.is_truthy(publish("broadcast", "x", "id=once"):find('"duplicate":true', 1, true))
        assert.are.same({"delivered", "1", "1"},
            {status(publish("users/1/messages", "x", "except=" .. phone.headers["bellhop-connection"]))})
        assert.are.same({"offline", "0", "0"}, {status(publish("topics/nobody/messages", "x"))})
        for _ = 1, 3 do check.next(phone, "x") end
        for _ = 1, 4 do check.next(laptop, "x") end
    end)

    it("calls on_presence once for all devices, after the debounce", function()
        local witness = connect "user=w&topic=events"
        events_until(witness, "w online")
        local phone, laptop = connect "user=9", connect "user=9"
        events_until(witness, "9 online")
        phone:close()
        laptop:close()
        laptop = connect "user=9" -- within the debounce
        laptop:close()
        local seen = events_until(witness, "9 offline")
        assert.is_nil(seen["9 online"])
        connect "user=10"
        seen = events_until(witness, "10 online")
        assert.is_nil(seen["9 online"] or seen["9 offline"])
    end)

    it("calls on_offline for a message without receivers", function()
        local witness = connect "user=w2&topic=events"
        events_until(witness, "w2 online")
        publish("users/away/messages", "hello")
        events_until(witness, "away missed hello at 1")
        publish("users/away/messages", "again")
        events_until(witness, "away missed again at 1")
        events_until(witness, "away missed again at 2")
        local back = connect "user=away"
        wait.till(function()
            local got = back:recv()
            return got == "again"
        end, 5)
        publish("topics/nobody/messages", "dropped")
        wait.till(function() return d:metric "bellhop_core_offline_dropped_total" >= 1 end, 5)
    end)

    it("counts the connections of a tenant", function()
        local one, two = connect "user=1&tenant=t9", connect "user=2&tenant=t9"
        assert.is_truthy(http.get(d.port, "/api/tenants/t9").body:find('{"connections":2,"as_of":"', 1, true))
        one:close()
        two:close()
        assert.are.equal(400, http.get(d.port, "/api/tenants/a%20b").status)
    end)
end)
