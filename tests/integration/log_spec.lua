-- The log is a pipe whose reader stops and goes on: the server does not stop with it.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local wait = require "wait"
local ws = require "ws"

-- A message is a number of lines to log, of 1 KiB and more each; all lines of a worker are numbered.
local POLICY = [[
local bh = require "bellhop"
local written = 0
local text = ("x"):rep(1024)
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_message = function(conn, data)
        for i = 1, tonumber(data) do
            written = written + 1
            bh.log.info("numbered", { number = written, text = text })
        end
        return "logged"
    end,
}
]]

local LOST = "bellhop_base_log_lost_total"
local TOLD = 'level=warn msg="log lines were lost"'
local MANY, STEP = 3000, 250 -- lines; more than the pipe and the ring have room for

local d

local function start()
    d = daemon.start {policy = POLICY, reader = true, env = {BELLHOP_SERVER_DRAIN_TIMEOUT = "2"}}
end

local function say(client, lines)
    client:text(tostring(lines))
    check.next(client, "logged")
end

-- The reader stops, and nobody has room for further lines.
local function stop_reading(client)
    d:signal_reader "STOP"
    for _ = 1, MANY, STEP do say(client, STEP) end
    assert.is_true(d:metric(LOST) > 0)
end

-- Checks that all numbered lines are there in their order, or counted as lost where they are missing; other
-- lines may be lost, too. Returns the number of the last one, and how many were lost.
local function account(log)
    local number, lost, gap = 0, 0, 0
    for line in log:gmatch "[^\n]+" do
        if line:find(TOLD, 1, true) then
            local lines = math.tointeger(line:match " lines=(%d+)")
            lost, gap = lost + lines, gap + lines
        elseif line:find("msg=numbered", 1, true) then
            local next = math.tointeger(line:match " number=(%d+)")
            assert.is_true(next > number and next <= number + 1 + gap, next)
            number, gap = next, 0
        end
    end
    return number, lost
end

describe("a closed stderr", function()
    it("is not given to a socket", function()
        local child = process.spawn {
            "bash", "-c", [[exec "$0" serve --dev --listen 127.0.0.1:0 2>&-]], daemon.BIN,
        }
        wait.till(function()
            local pipe = assert(io.popen("readlink /proc/" .. child.pid .. "/fd/2"))
            local target = pipe:read "l"
            pipe:close()
            return target == "/dev/null"
        end, 10, "/dev/null as stderr")
        child:stop "KILL"
    end)
end)

describe("a log that nobody reads", function()
    after_each(function()
        ws.drop_all()
        if d then d:signal_reader "CONT" end
        daemon.stop_all()
    end)

    it("stops no client, and lost lines are counted and told", function()
        start()
        local client = ws.connect(d.port, "/ws?user=1")
        for round = 1, 2 do
            stop_reading(client)
            local other = ws.connect(d.port, "/ws?user=2")
            d:publish("users/2", "hello")
            check.next(other, "hello")
            for _, path in ipairs {"/healthz", "/readyz"} do
                assert.are.equal(200, http.get(d.port, path, {timeout = 5}).status)
            end
            d:signal_reader "CONT"
            wait.till(function() return select(2, d:log():gsub(TOLD:gsub("%W", "%%%0"), "")) == round end, 10,
                "the lost lines in the log")
            assert.are.equal(d:metric(LOST), select(2, account(d:log())))
            say(client, 1)
            wait.till(function() return account(d:log()) == round * (MANY + 1) end, 10, "the next line")
            other:drop()
        end
    end)

    it("does not hold up SIGTERM", function()
        start()
        stop_reading(ws.connect(d.port, "/ws?user=1"))
        d.process:signal "TERM"
        assert.are.equal(0, d.process:wait(20))
    end)

    it("does not hold up the end of a process that is killed by a signal", function()
        start()
        stop_reading(ws.connect(d.port, "/ws?user=1"))
        d.process:signal "ABRT"
        assert.are.equal(128 + 6, d.process:wait(20))
        d:signal_reader "CONT"
        d:stop(128 + 6)
        d = nil
    end)

    it("is written when a signal ends the process", function()
        start()
        local client = ws.connect(d.port, "/ws?user=1")
        d:signal_reader "STOP"
        say(client, 30)
        d.process:signal "ABRT"
        d.process:wait(20)
        d:signal_reader "CONT"
        wait.till(function() return account(d:log()) == 30 end, 10, "all lines")
        d:stop(128 + 6)
        d = nil
    end)

    it("is no matter of SIGUSR1, SIGUSR2 and SIGPIPE: they do nothing", function()
        start()
        for _, name in ipairs {"USR1", "USR2", "PIPE", "XFSZ"} do d.process:signal(name) end
        d:signal_reader "KILL"
        say(ws.connect(d.port, "/ws?user=1"), 10)
        wait.till(function() return d:metric(LOST) >= 10 end, 10, "lines that nobody can read to be counted")
        assert.are.equal(200, d:ready())
    end)
end)
