-- Instances of one name: one that was killed and started again does not count its dead connections for
-- the whole lease; two hosts that were given the same name are left alone, and warned of.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local LEASE = 300
local ENV = daemon.short_timeouts {
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = "0.5",
}

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_presence = function(event)
        bh.redis.call("RPUSH", "events", event.user .. (event.online and " online" or " offline"))
    end,
}
]]

local server

local function start(name)
    return daemon.start {redis = server:url(), env = ENV, policy = POLICY, args = {"--instance", name}}
end

local function user(d, name) return d:request("GET", "/api/users/" .. name).body end

local function connections(d, name)
    local n = 0
    for _ in user(d, name):gmatch '"instance"' do n = n + 1 end
    return n
end

local function wait_connections(d, name, n)
    wait.till(function() return connections(d, name) == n end, 10, function()
        return ("%d connections of %s: %s\n%s"):format(n, name, user(d, name), d:log())
    end)
end

local function events(name)
    local list = {}
    for _, line in ipairs(server:call("LRANGE", "events", "0", "-1")) do
        local who, what = line:match "^(%S+) (%S+)$"
        if who == name then list[#list + 1] = what end
    end
    return table.concat(list, " ")
end

local function wait_events(name, wanted)
    wait.till(function() return events(name) == wanted end, 10, function()
        return ("the events [%s] of %s; there are [%s]"):format(wanted, name, events(name))
    end)
end

describe("instances of one name", function()
    before_each(function() server = topology.start() end)
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    it("may be the same one, restarted after a crash", function()
        local a, other = start "node-a", start "node-b"
        ws.connect(a.port, "/ws?user=gone")
        ws.connect(a.port, "/ws?user=back")
        wait_connections(other, "gone", 1)
        wait_connections(other, "back", 1)
        a.process:signal "KILL"
        a:stop(137)
        a = start "node-a"
        ws.connect(a.port, "/ws?user=back")
        a:wait_log("ended the lease of an earlier process of this instance", 15)
        wait_events("gone", "online offline")
        for _, d in ipairs {a, other} do
            wait_connections(d, "gone", 0)
            wait_connections(d, "back", 1)
        end
        assert.are.equal("online", events "back")
        assert.is_nil(a:log():find("same name", 1, true))
    end)

    it("may be two hosts: nothing is ended", function()
        local first = start "node-a"
        local here = ws.connect(first.port, "/ws?user=here")
        wait_connections(first, "here", 1)
        local second = start "node-a"
        second:wait_log("another instance runs under the same name", 15)
        local line = second:log():match "[^\n]*same name[^\n]*"
        local other, name = line:match " other=(%S+)", line:match " name=(%S+)"
        assert.truthy(name and other and name ~= other, line)
        if #server:masters() == 1 then -- else each part of the tracker has its own
            for d, wanted in pairs {[first] = other, [second] = name} do
                assert.are.equal(wanted, d:log():match 'are tracked in Redis"[^\n]-name=(%S+)', d:log())
            end
        end
        assert.is_nil(first:log():find("registering them again", 1, true))
        wait_connections(second, "here", 1)
        second:publish("users/here", "delivered")
        check.next(here, "delivered")
        assert.are.equal("online", events "here")
    end)
end)
