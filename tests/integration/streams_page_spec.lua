-- The code for browsers of docs/streams.md, in a headless Chromium, over a network that goes away and comes back.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local documents = require "documents"
local proxy = require "proxy"
local wait = require "wait"

local POLICY = [==[
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_gap = function(conn, topic) conn:send_json { type = "reload", topic = topic } end,
    http = { ["GET /page"] = function() return 200, { ["Content-Type"] = "text/html" }, %q end },
}
]==]
local REFUSES = "return { on_handshake = function() return false, 403 end }"
local CONNECTIONS = {["/sse"] = "bellhop_edge_sse_connections", ["/ws"] = "bellhop_edge_connections"}
-- Shortens the back-off, and shows it.
local TIMES = [==[<script>
const later = setTimeout;
setTimeout = (run, ms) => { console.log("comes back"); return later(run, ms / 20); };
</script>]==]

describe("the code for browsers of docs/streams.md", function()
    if not browser.find() then return pending "there is no Chromium" end
    local d, network, page, connections

    after_each(function()
        page:stop()
        proxy.stop_all()
        daemon.stop_all()
    end)

    local function code_with(path)
        for _, block in ipairs(documents.blocks "docs/streams.md") do
            if block.language == "js" and block.text:find(":8080" .. path, 1, true) then return block.text end
        end
        error("no code with " .. path)
    end

    -- A page that reaches the server through a proxy. Its code knows the port of the page only.
    local function open(path)
        local code = code_with(path):gsub('"(%l+://)127%.0%.0%.1:8080', '"%1" + location.host + "')
        d = daemon.start {workers = 1, policy = POLICY:format(TIMES .. "<script>" .. code .. "</script>"), env = {
            BELLHOP_HISTORY_RULES = '[{"topic":"user:*","size":10}]', BELLHOP_SSE_RETRY = "0.1",
        }}
        network = proxy.start(d.port)
        connections = CONNECTIONS[path:match "^/%l+"]
        page = browser.open(("http://127.0.0.1:%d/page"):format(network.port))
        d:wait_metric(connections, 1, 40)
    end

    local function publish(from, to)
        for n = from, to do d:publish("users/42", tostring(n)) end
    end

    -- The numbers after a word, in their order.
    local function numbers(word)
        local list = {}
        for number in page:log():gmatch('CONSOLE[^\n]-"' .. word .. " (%d+)[\"\\]") do list[#list + 1] = tonumber(number) end
        return list
    end

    local function expect_received(...)
        local expected = {...}
        wait.till(function() return #numbers "received" >= #expected end, 40, function() return page:log() end)
        assert.are.same(expected, numbers "received")
    end

    local function is_away()
        d:wait_metric(connections, 0, 40)
    end

    local function loses_nothing(path)
        open(path)
        publish(1, 1)
        expect_received(1)
        network:cut()
        is_away()
        publish(2, 4)
        network:resume()
        expect_received(1, 2, 3, 4)
        publish(5, 5)
        expect_received(1, 2, 3, 4, 5)
        assert.is_nil(page:log():find("load the state", 1, true))
    end

    local function tells_a_gap(path)
        open(path)
        publish(1, 1)
        expect_received(1)
        network:cut()
        is_away()
        publish(2, 20)
        network:resume()
        page:wait "load the state of user:42"
        publish(21, 21)
        expect_received(1, 21)
    end

    for name, path in pairs {["server-sent events"] = "/sse?user", ["JSON WebSockets"] = "/ws?format=json"} do
        describe("for " .. name, function()
            it("misses nothing while the network is away", function() loses_nothing(path) end)
            it("tells what is gone", function() tells_a_gap(path) end)
        end)
    end

    it("makes a new EventSource when the old one has given up", function()
        open "/sse?user"
        publish(1, 1)
        expect_received(1)
        local other = daemon.start {workers = 1, policy = REFUSES}
        network:move(other.port)
        is_away()
        publish(2, 3)
        wait.till(function() return other:metric "bellhop_edge_sse_refused_total" > 1 end, 40, "a second one")
        network:move(d.port)
        expect_received(1, 2, 3)
        assert.is_nil(page:log():find("load the state", 1, true))
    end)

    it("calls for the state when a new EventSource has no id", function()
        open "/sse?user"
        local other = daemon.start {workers = 1, policy = REFUSES}
        network:move(other.port)
        page:wait "load the state of everything"
    end)

    for _, path in ipairs {"/sse?user", "/ws?format=json", "/ws?user"} do
        it("does not come back after a close for good, from " .. path, function()
            open(path)
            d:request("DELETE", "/api/users/42/connections?code=4900&reason=sold")
            is_away()
            local another = browser.open(("http://127.0.0.1:%d/page"):format(network.port)) -- takes a second
            d:wait_metric(connections, 1, 40)
            another:stop()
            assert.are.equal(2, d:metric(connections:gsub("connections$", "connections_opened_total")))
            assert.is_nil(page:log():find("comes back", 1, true))
        end)
    end

    it("for raw WebSockets loads the state when it comes back, or a gap is told", function()
        open "/ws?user"
        page:wait "state %[%]"
        publish(1, 1)
        expect_received(1)
        network:cut()
        is_away()
        publish(2, 3)
        network:resume()
        page:wait "state %[1,2,3%]"
        publish(4, 4)
        expect_received(1, 4)
    end)
end)
