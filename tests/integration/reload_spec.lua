-- Scripts in a real instance: reloads, scripts that exceed their limits, and timers.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local process = require "process"
local wait = require "wait"
local ws = require "ws"

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
end


local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_message = function(conn, data)
        conn.vars.n = (conn.vars.n or 0) + 1
        if data == "slow" then bh.sleep(0.5) end
        return "NAME " .. data .. " " .. conn.vars.n
    end,
}
]]

local function write(d, text) process.write_file(d.policy_dir .. "/policy.lua", text) end

local function reload(d) return d:request("POST", "/api/reload") end

local function generation(d)
    local answer = reload(d)
    assert.are.equal(200, answer.status, answer.body)
    return math.tointeger(tonumber(answer.body:match '^{"generation":(%d+)}'))
end

describe("a reload", function()
    local d
    before_each(function() d = daemon.start {policy = POLICY:gsub("NAME", "one")} end)
    after_each(stop_all)

    it("by POST /api/reload keeps connections, their vars, and pending hooks", function()
        local client, other = ws.connect(d.port, "/ws?user=42"), ws.connect(d.port, "/ws?user=43")
        client:text "a"
        check.next(client, "one a 1")
        other:text "slow"
        other:text "b"
        write(d, (POLICY:gsub("NAME", "two")))
        assert.are.equal(2, generation(d))
        client:text "c"
        check.next(client, "two c 2")
        d:publish("users/42", "hello")
        check.next(client, "hello")
        check.next(other, "one slow 1")
        check.next(other, "two b 2")
    end)

    it("by SIGHUP does the same", function()
        local client = ws.connect(d.port, "/ws?user=42")
        write(d, (POLICY:gsub("NAME", "two")))
        d.process:signal "HUP"
        d:wait_log "scripts reloaded"
        client:text "a"
        check.next(client, "two a 1")
    end)

    it("of a broken script changes nothing, and returns the reason", function()
        local client = ws.connect(d.port, "/ws?user=42")
        write(d, "return {\n  on_message = function(")
        check.error(reload(d), 500, "reload_failed", "policy.lua:2:")
        write(d, "return { on_mesage = print }")
        check.error(reload(d), 500, "reload_failed", 'did you mean \\"on_message\\"')
        write(d, "return { on_init = function(ctx) if ctx.worker == 2 then error 'not here' end end }")
        check.error(reload(d), 500, "reload_failed", "policy.lua:1: not here")
        client:text "a"
        check.next(client, "one a 1")
        d:wait_log "keeping the current scripts"
        write(d, (POLICY:gsub("NAME", "two")))
        assert.are.equal(2, generation(d))
    end)

    it("fails when on_init takes longer than a hook may", function()
        stop_all()
        d = daemon.start {policy = POLICY, env = {BELLHOP_SCRIPT_HOOK_TIMEOUT = "0.3"}}
        write(d, "return { on_init = function() require 'bellhop'.sleep(100) end }")
        check.error(reload(d), 500, "reload_failed", "script.hook_timeout")
        write(d, "while true do end")
        if daemon.HAS_WATCHDOG then check.error(reload(d), 500, "reload_failed", "loading the script ran for more than") end
    end)

    it("adds and removes hooks", function()
        local client = ws.connect(d.port, "/ws?user=42")
        write(d, [[return {
            on_handshake = function(req) return { user = "same" } end,
            on_deliver = function(conn, msg) return msg.data .. "!" end,
            http = { ["GET /hello/:name"] = function(req) return 200, nil, "hello " .. req.params.name end },
        }]])
        generation(d)
        d:publish("users/42", "hello")
        check.next(client, "hello!")
        assert.are.equal("hello you", d:request("GET", "/hello/you").body)
        write(d, "return { on_handshake = function(req) return { user = '44' } end }")
        generation(d)
        d:publish("users/42", "hello")
        check.next(client, "hello")
        assert.are.equal(404, d:request("GET", "/hello/you").status)
    end)

    it("does not prevent the instance from stopping", function()
        stop_all()
        for _ = 1, 8 do
            local ending = daemon.start {policy = POLICY, workers = 4, env = {BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "0.1"}}
            ws.connect(ending.port, "/ws?user=42")
            ending.process:signal "HUP"
            ending:stop()
        end
    end)

    it("loses nothing when repeated under traffic", function()
        local client = ws.connect(d.port, "/ws?user=42")
        for i = 1, 30 do
            client:text("m" .. i)
            d.process:signal "HUP"
            d:publish("users/42", "p" .. i)
            local got = {}
            for _ = 1, 2 do got[#got + 1] = client:recv() end
            table.sort(got)
            assert.are.same({"one m" .. i .. " " .. i, "p" .. i}, got)
        end
        wait.till(function() return reload(d).status == 200 end)
    end)
end)

describe("a script that exceeds a limit", function()
    local d, good, bad
    setup(function()
        d = daemon.start {
            workers = 1,
            env = {BELLHOP_SCRIPT_MEMORY_LIMIT = tostring(48 << 20)},
            policy = [[
                local bh = require "bellhop"
                kept = {}
                local acts = {
                    loop = function() while true do end end,
                    catch = function() while true do pcall(function() while true do end end) end end,
                    wrap = function() coroutine.wrap(function() while true do end end)() end,
                    handler = function() xpcall(error, function() while true do end end) end,
                    pattern = function() return ("a"):rep(60000):find((".-"):rep(20) .. "b") end,
                    plain = function()
                        return (("a"):rep(200000) .. "b"):find(("a"):rep(100000) .. "c", 1, true)
                    end,
                    move = function() table.move({}, 1, 1 << 40, 1) end,
                    memory = function() while true do kept[#kept + 1] = ("x"):rep(1000) .. #kept end end,
                }
                return {
                    on_handshake = function(req) return { user = req:arg "user" } end,
                    on_message = function(conn, data)
                        if data == "ping" then return "pong" end
                        acts[data]()
                        return "done"
                    end,
                }]],
        }
        good, bad = ws.connect(d.port, "/ws?user=good"), ws.connect(d.port, "/ws?user=bad")
    end)
    teardown(stop_all)

    local acts = {"loop", "catch", "wrap", "handler", "pattern", "plain", "move", "memory"}
    for _, act in ipairs(daemon.HAS_WATCHDOG and acts or {}) do
        it("by " .. act .. " is aborted, and its worker serves others again", function()
            local failed = d:metric "bellhop_script_errors_total"
            bad:text(act)
            good:text "ping"
            check.next(good, "pong")
            -- The debt of the one before may have to be waited off first.
            if act == "plain" then
                check.next(bad, "done")
            else
                d:wait_metric("bellhop_script_errors_total", failed + 1)
            end
            d:publish("users/bad", "still here")
            check.next(bad, "still here")
        end)
    end
end)

describe("limits of an identity", function()
    after_each(stop_all)

    it("apply to its connections, and the configured ones to all others", function()
        local d = daemon.start {workers = 1, policy = [[
            return {
                on_handshake = function(req)
                    return { user = req:arg "user", limits = req:arg "slow" and { messages_per_second = 10 } or nil }
                end,
                on_message = function(conn, data) return data end,
            }]]}
        local slow, fast = ws.connect(d.port, "/ws?user=42&slow=1"), ws.connect(d.port, "/ws?user=43")
        local limited, frames = d:limited "messages_per_second", {}
        for i = 1, 20 do frames[i] = ws.frame(ws.TEXT, "m" .. i) end
        fast:raw(table.concat(frames))
        for i = 1, 20 do check.next(fast, "m" .. i) end
        assert.are.equal(limited, d:limited "messages_per_second")
        slow:raw(table.concat(frames))
        for i = 1, 20 do check.next(slow, "m" .. i) end
        assert.is_true(d:limited "messages_per_second" > limited)
    end)
end)

describe("time", function()
    local d
    after_each(stop_all)

    it("closes a connection when on_expire says so", function()
        d = daemon.start {policy = [[
            local bh = require "bellhop"
            return {
                on_handshake = function(req) return { user = req:arg "user", expires = os.time() + 1 } end,
                on_expire = function(conn)
                    bh.sleep(0.01)
                    conn.vars.n = (conn.vars.n or 0) + 1
                    conn:send("again " .. conn.vars.n)
                    return conn.vars.n < 2 and os.time() + 1
                end,
            }]]}
        local client = ws.connect(d.port, "/ws?user=42")
        check.next(client, "again 1")
        check.next(client, "again 2")
        check.closed(client, 4401, "expired")
    end)

    it("lets on_shutdown send messages before connections are closed", function()
        d = daemon.start {policy = [[
            local bh = require "bellhop"
            return {
                on_handshake = function(req) return { user = req:arg "user" } end,
                on_shutdown = function(reason, grace)
                    bh.sleep(0.05)
                    for _, conn in ipairs(bh.hub.by_user "42") do conn:send("bye " .. reason) end
                end,
            }]]}
        local client = ws.connect(d.port, "/ws?user=42")
        d.process:signal "TERM"
        check.next(client, "bye stop")
        check.closed(client, 1001)
        assert.are.equal(0, d.process:wait(10))
    end)

    it("runs timers on each worker, or on one", function()
        d = daemon.start {workers = 2, policy = [[
            local bh = require "bellhop"
            local function count(what) return function() bh.shared.runs:incr(what) end end
            return {
                on_handshake = function(req) return { user = req:arg "user" } end,
                on_message = function(conn, data) return tostring(bh.shared.runs:get(data) or 0) end,
                timers = {
                    all = { every = 0.1, fn = count "worker" },
                    one = { every = 0.1, scope = "instance", fn = count "instance" },
                },
            }]]}
        local client = ws.connect(d.port, "/ws?user=42")
        local function runs(what)
            client:text(what)
            return tonumber((client:recv()))
        end
        wait.till(function() return runs "instance" >= 5 end)
        local one, all = runs "instance", runs "worker"
        assert.is_true(all >= one * 2 - 3 and all <= one * 2 + 3, one .. " " .. all)
    end)
end)
