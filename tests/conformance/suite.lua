-- Runs cases, each on a connection of its own, against a daemon with examples/echo.conf.lua.
--
-- A group is the body of an `it`: it runs all its cases, and then reports which failed and why. Each case
-- must end with a closing handshake, without another byte, and with the end of the TCP connection.
local daemon = require "daemon"
local peer = require "peer"
local wait = require "wait"

local suite = {}

local FAILURES_MAX = 5
local FAILING_SECONDS = 10 -- after that a group ends at its first failure
local SEED = 6455

local server, port

suite.scale = tonumber(os.getenv "BELLHOP_CONFORMANCE_SCALE" or 1)

-- A number of messages or cases, at least `least`.
function suite.count(n, least) return math.max(math.floor(n * suite.scale), least or 1) end

-- For setup and teardown. settings: variables that override the configuration.
function suite.start(settings)
    port = tonumber(os.getenv "BELLHOP_CONFORMANCE_PORT")
    if port then return end
    server = daemon.start {args = {"-c", "examples/echo.conf.lua"}, env = settings}
    port = server.port
end

function suite.stop()
    if not server then return end
    local d = server
    server = nil
    local ok, why = pcall(wait.till, function() return d:metric "bellhop_edge_connections" == 0 end, 10,
        "the end of all connections")
    daemon.stop_all()
    if not ok then error(why, 0) end
end

local function run(fn, offer)
    local p
    local ok, why = pcall(function()
        p = peer.connect(port, offer)
        fn(p)
        if p.sock then p:close(1000, "done") end
    end)
    if p then p:drop() end
    return ok, why
end

local function report(failures, total)
    error(("%d of %d cases failed:\n  %s"):format(#failures, total, table.concat(failures, "\n  ")), 0)
end

-- body(case) runs cases: case(name, fn, offer), where fn gets the peer. If fn leaves the connection open,
-- the client closes it.
function suite.group(body)
    return function()
        math.randomseed(SEED)
        local failures, total, began = {}, 0, wait.now()
        body(function(name, fn, offer)
            total = total + 1
            local ok, why = run(fn, offer)
            if ok then return end
            failures[#failures + 1] = name .. ": " .. tostring(why)
            if #failures == FAILURES_MAX or wait.now() - began > FAILING_SECONDS then report(failures, total) end
        end)
        if #failures > 0 then report(failures, total) end
        assert(total > 0, "no cases")
    end
end

-- Another connection besides that of the case.
function suite.connect(offer) return peer.connect(port, offer) end

-- Broadcasts a message over the API; false for a foreign server.
function suite.broadcast(payload)
    if not server then return false end
    server:publish("broadcast", payload)
    return true
end

function suite.random_bytes(n)
    local words = {}
    for i = 1, (n + 7) // 8 do words[i] = string.pack("<i8", math.random(0)) end
    return table.concat(words):sub(1, n)
end

-- n bytes of text, with characters of two bytes.
function suite.text(n)
    local line = "Hello-µ@ßöäüàá-UTF-8!! "
    return line:rep(n // #line) .. ("*"):rep(n % #line)
end

return suite
