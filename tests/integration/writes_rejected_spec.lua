-- A Redis that rejects writes: messages are delivered and readiness is green, so nobody who is connected
-- may be said to be offline. Afterwards everything is tracked again without a restart.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {BELLHOP_TRACKING_DEBOUNCE = "0.2"}

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user", tenant = "7" } end,
    on_offline = function(msg)
        bh.log.warn("reached nobody", { data = msg.data })
        return "drop"
    end,
    http = {
        ["GET /tracker/:user"] = function(req)
            local user = req.params.user
            local online, how = bh.tracker.online(user)
            local list, list_how = bh.tracker.connections(user)
            local count, count_how = bh.tracker.count "7"
            return 200, nil, ("%s %s, %d %s, %d %s"):format(online, how, #list, list_how, count, count_how)
        end,
    },
}
]]

local server, a, b

local function get(d, path) return d:request("GET", path) end

local function has(answer, text)
    assert.are.equal(200, answer.status, answer.body)
    assert.truthy(answer.body:find(text, 1, true), answer.body)
end

local function wait_body(d, path, text)
    wait.till(function() return (get(d, path).body or ""):find(text, 1, true) end, 12, function()
        return ("%q in %s\n%s"):format(text, get(d, path).body, d:log())
    end)
end

-- Both know all, and say so without a reserve.
local function wait_whole(user)
    for _, d in ipairs {a, b} do
        wait.till(function()
            local body = get(d, "/api/users/" .. user).body
            return body:find('"online":true', 1, true) and not body:find("partial", 1, true)
        end, 12, function() return get(d, "/api/users/" .. user).body .. "\n" .. d:log() end)
    end
end

local function bgsave(status)
    wait.till(function() return server:call("BGSAVE") end, 5, "BGSAVE to start")
    wait.till(function()
        local info = server:call("INFO", "persistence")
        return info:find "rdb_bgsave_in_progress:0" and info:find("rdb_last_bgsave_status:" .. status)
    end, 10, "BGSAVE to end")
end

local CASES = {
    MISCONF = {
        reject = function()
            assert(os.execute("mkdir " .. server.dir .. "/dump.rdb"))
            server:call("CONFIG", "SET", "save", "10000 10000")
            bgsave "err"
        end,
        accept = function()
            assert(os.execute("rmdir " .. server.dir .. "/dump.rdb"))
            bgsave "ok"
            server:call("CONFIG", "SET", "save", "")
        end,
    },
    NOREPLICAS = {
        reject = function() server:call("CONFIG", "SET", "min-replicas-to-write", "1") end,
        accept = function() server:call("CONFIG", "SET", "min-replicas-to-write", "0") end,
    },
    OOM = {
        reject = function() server:call("CONFIG", "SET", "maxmemory", "1") end,
        accept = function() server:call("CONFIG", "SET", "maxmemory", "0") end,
    },
}

describe("a Redis that rejects writes", function()
    before_each(function()
        server = redis.start()
        a = daemon.start {redis = server:url(), env = ENV, policy = POLICY, args = {"--instance", "node-a"}}
        b = daemon.start {redis = server:url(), env = ENV, policy = POLICY, args = {"--instance", "node-b"}}
    end)
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    for name, case in pairs(CASES) do
        it("with " .. name .. " is not the end of presence", function()
            ws.connect(b.port, "/ws?user=before")
            wait_whole "before"
            wait_body(a, "/api/tenants/7", '"connections":1')
            case.reject()
            local _, why = server:call("SET", "k", "v")
            assert.matches("^" .. name, why)
            local here = ws.connect(a.port, "/ws?user=here")
            a:wait_log("reason=\"" .. name, 10)
            a:wait_log("hint=", 1)
            assert.is_true(a:metric "bellhop_redis_track_errors_total" > 0)
            assert.are.equal(200, a:ready())

            local answer = get(a, "/api/users/here")
            has(answer, '{"online":true,"connections":[{"instance":"node-a"')
            has(answer, '],"partial":true,"as_of":')
            has(a:request("POST", "/api/users/online", {body = '{"users":["here","before","nobody"]}'}),
                '{"online":{"here":true,"before":true,"nobody":false},"partial":true,"as_of":')
            has(get(a, "/api/tenants/7"), '{"connections":2,"partial":true,"as_of":')
            has(get(a, "/tracker/here"), "true partial, 1 partial, 2 partial")
            wait_body(b, "/api/users/here", '"partial":true')

            b:publish("users/here", "delivered")
            check.next(here, "delivered")
            case.accept()
            wait_whole "here"
            wait_whole "before"
            wait_body(a, "/api/tenants/7", '"connections":2')
            has(get(a, "/tracker/here"), "true nil, 1 nil, 2 nil")
            for _, d in ipairs {a, b} do assert.is_nil(d:log():find("reached nobody", 1, true)) end
        end)
    end

    it("because it became a replica does not make a user offline", function()
        ws.connect(a.port, "/ws?user=here")
        wait_whole "here"
        server:call("REPLICAOF", "127.0.0.1", tostring(tcp.free_port()))
        wait.till(function()
            local answer = get(a, "/api/users/here")
            assert.is_true(answer.status == 503 or answer.body:find('"online":true', 1, true) ~= nil, answer.body)
            return a:ready() == 503
        end, 10, "/readyz 503")
        server:call("REPLICAOF", "NO", "ONE")
        wait_whole "here"
    end)
end)
