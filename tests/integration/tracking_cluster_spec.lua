-- Who is connected, on a Redis Cluster of three masters with a replica each: in 16 parts, through migrations of
-- their slots and failovers of their masters. Nobody who stays connected is called offline, and what happens to a
-- part concerns its users only.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local cluster = require "redis_cluster"
local redis = require "redis"
local wait = require "wait"
local ws = require "ws"

local USERS, PARTS = 64, 16
local LEASE, DEBOUNCE = 5, 0.3
local HOLD = 5 + LEASE -- how long events may be held back
local ENV = daemon.short_timeouts {
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = tostring(DEBOUNCE),
    BELLHOP_SERVER_DRAIN_TIMEOUT = "2",
    BELLHOP_WEBSOCKET_PING_INTERVAL = "600", -- which the clients would not answer
}
local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user", tenant = "7" } end,
    on_presence = function(event) bh.log.info("presence " .. event.user .. (event.online and "+" or "-") .. ".") end,
}
]]

local redises, a, b

local function part_of(user) return cluster.slot(user) % PARTS end
local function prefix_of(part) return ("{ws%d}:"):format(part) end
local function master_of(part) return (redises:node_of(prefix_of(part))) end

local function start(name, more)
    local env = {}
    for _, list in ipairs {ENV, more or {}} do
        for key, value in pairs(list) do env[key] = value end
    end
    return daemon.start {redis = redises:url(), env = env, policy = POLICY, args = {"--instance", name}}
end

local function events(user, sign)
    local count = 0
    for _, d in ipairs {a, b} do
        for _ in d:log():gmatch("presence " .. user .. "%" .. sign .. "%.") do count = count + 1 end
    end
    return count
end

local function lookup(d, user) return d:request("GET", "/api/users/" .. user) end

local function is_found(d, user)
    local answer = lookup(d, user)
    return answer.status == 200 and answer.body:find('"instance":"node-', 1, true)
        and not answer.body:find("partial", 1, true)
end

local function each_user(see)
    for n = 1, USERS do see("u" .. n, part_of("u" .. n)) end
end

local function wait_all_found(limit)
    for _, d in ipairs {a, b} do
        each_user(function(user)
            wait.till(function() return is_found(d, user) end, limit or 10, function()
                return ("%s to be found: %s"):format(user, lookup(d, user).body)
            end)
        end)
    end
end

local function assert_no_offline()
    each_user(function(user) assert.are.equal(0, events(user, "-"), user) end)
end

-- The last user of this part leaves, and that is told: events are not held back any more.
local last = 0
local function settle(part)
    local user
    repeat
        last = last + 1
        user = "s" .. last
    until part_of(user) == part
    local client = ws.connect(a.port, "/ws?user=" .. user)
    wait.till(function() return events(user, "+") == 1 end, HOLD + 5, "the user " .. user .. " to be online")
    client:close()
    wait.till(function() return events(user, "-") == 1 end, HOLD + 5, "the user " .. user .. " to be offline")
end

describe("tracking on a Redis Cluster", function()
    setup(function()
        redises = cluster.start(3, 1)
        a, b = start "node-a", start "node-b"
        for n = 1, USERS do ws.connect((n % 2 == 0 and a or b).port, "/ws?user=u" .. n) end
        wait_all_found()
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    it("is in 16 parts on all masters", function()
        local used = {}
        each_user(function(user, part)
            assert.are.equal(1, redises:call(prefix_of(part), "EXISTS", prefix_of(part) .. "connections:" .. user))
            used[master_of(part)] = true
        end)
        for _, master in ipairs(redises:masters()) do assert.is_true(used[master], "a master without a part") end
        wait.till(function() return a:request("GET", "/api/tenants/7").body:find('"connections":' .. USERS, 1, true) end, 5,
            "all connections of the tenant")
        each_user(function(user) assert.are.equal(1, events(user, "+"), user) end)
        assert.are.same({}, redises:keys "ws:*")
    end)

    it("is in one part with a prefix, which has a hash tag", function()
        local one = start("node-one", {BELLHOP_TRACKING_KEY_PREFIX = "{one}:"})
        ws.connect(one.port, "/ws?user=single")
        wait.till(function() return one:request("GET", "/api/users/single").body:find "node%-one" end, 5, "the user")
        assert.are.equal(1, redises:call("{one}:", "EXISTS", "{one}:connections:single"))
        one:stop()
        assert.are.same({}, redises:keys "{one}:connections*")
    end)

    it("goes on while the slot of a part moves key by key", function()
        local part = part_of "u1"
        local slot, from = cluster.slot(prefix_of(part)), master_of(part)
        local to = redises:masters()[1] == from and redises:masters()[2] or redises:masters()[1]
        local registrations = a:metric "bellhop_redis_registrations_total"
        local keys = 0
        redises:migrate(slot, to, function(key)
            keys = keys + 1
            if not key then
                local client = ws.connect(a.port, "/ws?user=u1")
                local till = wait.now() + 2.5 -- longer than two heartbeats
                repeat
                    each_user(function(user, of)
                        if of ~= part then assert.is_truthy(is_found(a, user), user) end
                    end)
                until wait.now() > till
                client:close()
                assert.are.equal(registrations, a:metric "bellhop_redis_registrations_total")
            end
        end)
        assert.is_true(keys > 4)
        wait_all_found()
        settle(part)
        assert_no_offline()
        -- This part alone has been registered again, when its link moved.
        assert.are.equal(registrations + 1, a:metric "bellhop_redis_registrations_total")
    end)

    it("outlives the death of a master", function()
        local part = part_of "u2"
        local dead = master_of(part)
        local of_dead = {}
        for i = 0, PARTS - 1 do of_dead[i] = master_of(i) == dead end
        dead:kill()
        each_user(function(user, of)
            if not of_dead[of] then assert.is_truthy(is_found(b, user), user) end
        end)
        redises.owners = {}
        redises:wait_owner(cluster.slot(prefix_of(part)), dead)
        for _, d in ipairs {a, b} do d:wait_ready() end
        wait_all_found(HOLD + 5)
        for i = 0, PARTS - 1 do if of_dead[i] then settle(i) end end
        assert_no_offline()
        dead:restart()
        redises:wait_ok()
    end)

    it("moves with a master that steps down", function()
        local part = part_of "u3"
        redises:failover(master_of(part))
        for _, d in ipairs {a, b} do d:wait_ready() end
        wait_all_found(HOLD + 5)
        settle(part)
        assert_no_offline()
    end)

    it("is cleaned up in each part after a dead instance", function()
        b.process:stop "KILL"
        for n = 1, USERS do
            local user = "u" .. n
            wait.till(function() return events(user, "-") == (n % 2 == 0 and 0 or 1) end, LEASE + HOLD + 5,
                function() return ("the events of %s; there are %d"):format(user, events(user, "-")) end)
        end
        check.error(a:request("GET", "/api/users/a%20b"), 400, "invalid_user")
        b:stop(137)
        for n = 2, USERS, 2 do assert.are.equal(0, events("u" .. n, "-"), "u" .. n) end
        wait.till(function()
            for _, key in ipairs(redises:keys "{ws*}:*") do if key:find("node-b", 1, true) then return false end end
            return true
        end, 10, "no key of node-b")
    end)
end)
