-- The connections of users, looked up on three instances that share a Redis; and that the result is
-- right again soon after any failure of an instance, the network or Redis.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local proxy = require "proxy"
local redis = require "redis"
local socket = require "socket"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local LEASE = 2
local SOON = LEASE + 6 -- seconds until which everything is right again: a lease, and reconnecting
local ENV = daemon.short_timeouts {
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = "0.2",
    BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "1",
    BELLHOP_SERVER_DRAIN_TIMEOUT = "2",
}

local POLICY = [[
local bh = require "bellhop"

return {
    on_handshake = function(req) return { user = req:arg "user", tenant = req:arg "tenant" } end,
    on_message = function(conn, data)
        local what, id = data:match "^(%a+) (%S+)$"
        if what == "online" then return tostring(bh.tracker.online(id)) end
        if what == "count" then return tostring(bh.tracker.count(id)) end
        local list = {}
        for i, c in ipairs(bh.tracker.connections(id)) do
            list[i] = ("%s/%s/%s/%d"):format(c.instance, c.id, c.tenant, c.opened_at // 1)
        end
        table.sort(list)
        return table.concat(list, " ")
    end,
}
]]

-- Proxies stand between an instance and one Redis, and only that one is restarted.
local it_single = topology.KIND == "single" and it or pending

local server, proxies, a, b, c

local function start(i)
    local name = "node-" .. ("abc"):sub(i, i)
    local d = daemon.start {
        redis = (proxies[i] or server):url(), env = ENV, policy = POLICY, args = {"--instance", name}, wait = "alive",
    }
    d.name = name
    return d
end

local function start_all()
    server, proxies = topology.start(), {}
    if topology.KIND == "single" then
        for i = 1, 3 do proxies[i] = proxy.start(server.port) end
    end
    a, b, c = start(1), start(2), start(3)
    for _, d in ipairs {a, b, c} do d:wait_ready() end
end

local function stop_all()
    ws.drop_all()
    for _, d in ipairs {a, b, c} do d.process:signal "CONT" end
    if server and server.process then server.process:signal "CONT" end
    daemon.stop_all()
    proxy.stop_all()
    redis.stop_all()
end

local function connect(d, user, tenant)
    local client = ws.connect(d.port, "/ws?user=" .. user .. (tenant and "&tenant=" .. tenant or ""))
    client.place = d.name .. "/" .. client.id
    return client
end

-- Seconds since 1970 of a time in the API's format.
local function seconds(text)
    local y, mon, day, h, min, s = text:match "^(%d+)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d%.%d%d%d)Z$"
    assert(y, text)
    local east = os.time() - os.time(os.date "!*t")
    return os.time {year = y, month = mon, day = day, hour = h, min = min, sec = 0, isdst = false} + east + s
end

-- The connections of a user on an instance: "node-a/<id> node-b/<id>", sorted; or nil and the error.
local function seen(d, user)
    local answer = d:request("GET", "/api/users/" .. user)
    if answer.status ~= 200 then return nil, answer end
    local list = {}
    for instance, id in answer.body:gmatch '{"instance":"([^"]*)","id":"([^"]*)"' do
        list[#list + 1] = instance .. "/" .. id
    end
    assert.are.equal(#list > 0, answer.body:find '"online":true' ~= nil, answer.body)
    table.sort(list)
    return table.concat(list, " "), answer
end

local function truth(clients)
    local list = {}
    for i, client in ipairs(clients) do list[i] = client.place end
    table.sort(list)
    return table.concat(list, " ")
end

-- Waits until all instances return these clients.
local function wait_seen(instances, user, clients, limit)
    local wanted, said = truth(clients), nil
    for _, d in ipairs(instances) do
        wait.till(function()
            said = seen(d, user)
            return said == wanted
        end, limit or 2, function()
            return ("%s to know that %s is on [%s]; it says [%s]"):format(d.name, user, wanted, said or "nothing")
        end)
    end
end

-- Requires these clients all the time. (That nothing happens can only be checked by waiting.)
local function stays_seen(instances, user, clients, time)
    local wanted, till = truth(clients), wait.now() + time
    repeat
        for _, d in ipairs(instances) do assert.are.equal(wanted, (seen(d, user))) end
        socket.sleep(0.02)
    until wait.now() > till
end

local function tenant_count(d, tenant)
    local answer = d:request("GET", "/api/tenants/" .. tenant)
    assert.are.equal(200, answer.status, answer.body)
    return math.tointeger(tonumber(answer.body:match '^{"connections":(%d+),"as_of":"[^"]+"}\n?$'))
end

local function wait_tenant(instances, tenant, count, limit)
    for _, d in ipairs(instances) do
        wait.till(function() return tenant_count(d, tenant) == count end, limit or 2, function()
            return ("%s to count %d of %s; it says %d"):format(d.name, count, tenant, tenant_count(d, tenant))
        end)
    end
end

-- Keys of the tracker that match, behind their prefix, which depends on how many parts it has.
local function keys(pattern)
    return table.concat(server:keys("*:" .. pattern), " ")
end

-- The answer over this key, which all parts of the tracker have and give; nil: they differ.
local function each_part(command, key, ...)
    local answer
    for _, one in ipairs(server:keys("*:" .. key)) do
        local said = server:call(command, one, ...)
        if answer and answer ~= said then return nil end
        answer = said
    end
    return answer
end

local function wait_no_keys(pattern, limit)
    wait.till(function() return keys(pattern) == "" end, limit or SOON, function()
        return "no " .. pattern .. ", but there is " .. keys(pattern)
    end)
end

describe("connections of three instances", function()
    setup(start_all)
    teardown(stop_all)
    after_each(ws.drop_all)

    it("are listed by each, from open to close", function()
        local before = wait.now()
        local phone, laptop, tablet = connect(a, "42", "7"), connect(b, "42"), connect(c, "42", "7")
        wait_seen({a, b, c}, "42", {phone, laptop, tablet})
        for _, d in ipairs {a, b, c} do
            local asked = wait.now()
            local _, answer = seen(d, "42")
            local as_of = seconds(answer.body:match '"as_of":"([^"]+)"')
            assert.is_true(as_of > asked - 1 and as_of < wait.now() + 1, answer.body)
            local opened = 0
            for text in answer.body:gmatch '"opened_at":"([^"]+)"' do
                local at = seconds(text)
                assert.is_true(at > before - 1 and at < wait.now() + 1, answer.body)
                opened = opened + 1
            end
            assert.are.equal(3, opened)
            assert.matches('"instance":"node-b","id":"' .. laptop.id .. '","tenant":null', answer.body, 1, true)
            assert.matches('"instance":"node-a","id":"' .. phone.id .. '","tenant":"7"', answer.body, 1, true)
        end
        assert.are.equal(3, each_part("HLEN", "connections:42"))
        phone:close()
        wait_seen({a, b, c}, "42", {laptop, tablet})
        laptop:drop()
        wait_seen({a, b, c}, "42", {tablet})
        tablet:reset()
        wait_seen({a, b, c}, "42", {})
        wait_no_keys "connections:*"
    end)

    it("are counted by tenant", function()
        local clients = {connect(a, "1", "7"), connect(a, "2", "7"), connect(b, "1", "7"), connect(c, "3", "8")}
        wait_tenant({a, b, c}, "7", 3)
        wait_tenant({a, b, c}, "8", 1)
        assert.are.equal(0, tenant_count(b, "9"))
        clients[1]:close()
        clients[4]:close()
        wait_tenant({a, b, c}, "7", 2)
        wait_tenant({a, b, c}, "8", 0)
        check.error(a:request("GET", "/api/tenants/a%20b"), 400, "invalid_tenant")
        clients[2]:close()
        clients[3]:close()
        wait_no_keys "tenant:*"
    end)

    it("are looked up for many users at once", function()
        local clients = {connect(a, "one"), connect(b, "two"), connect(b, "9223372036854775807")}
        wait_seen({c}, "two", {clients[2]})
        wait_seen({c}, "9223372036854775807", {clients[3]})
        wait_seen({c}, "one", {clients[1]})
        for _, d in ipairs {a, b, c} do
            local answer = d:request("POST", "/api/users/online",
                {body = '{"users":["one","nobody","two",9223372036854775807]}'})
            assert.matches('^{"online":{"one":true,"nobody":false,"two":true,"9223372036854775807":true},"as_of":"20',
                answer.body)
        end
    end)

    it("are available to scripts", function()
        local phone, laptop = connect(a, "42", "7"), connect(b, "42", "7")
        wait_seen({a, b, c}, "42", {phone, laptop})
        wait_tenant({a, b, c}, "7", 2)
        local asking = connect(c, "asking")
        asking:text "online 42"
        check.next(asking, "true")
        asking:text "online nobody"
        check.next(asking, "false")
        asking:text "count 7"
        check.next(asking, "2")
        asking:text "connections 42"
        local said = asking:recv()
        local one, two, rest = said:match "^(%S+)/7/%d+ (%S+)/7/%d+(.*)$"
        assert.are.equal(truth {phone, laptop}, one .. " " .. two)
        assert.are.equal("", rest)
    end)

    it("are closed from any instance, with code and reason", function()
        local phone, laptop, tablet = connect(a, "42"), connect(b, "42"), connect(c, "42")
        local other = connect(c, "43")
        wait_seen({a, b, c}, "42", {phone, laptop, tablet})
        local answer = b:request("DELETE", "/api/users/42/connections?code=4007&reason=moved")
        assert.are.equal(200, answer.status, answer.body)
        for _, client in ipairs {phone, laptop, tablet} do check.closed(client, 4007, "moved") end
        wait_seen({a, b, c}, "42", {})
        wait_seen({a, b, c}, "43", {other})
    end)

    it("may open and close quickly", function()
        local users, instances = {}, {a, b, c}
        for i = 1, 20 do users[i] = {} end
        for i = 1, 150 do
            local n = (i * 7) % 20 + 1
            table.insert(users[n], connect(instances[i % 3 + 1], "u" .. n, "crowd"))
            local leaver = users[(i * 3) % 20 + 1]
            if i % 5 > 1 and leaver[1] then
                local client = table.remove(leaver, 1)
                client[({"close", "drop", "reset"})[i % 3 + 1]](client)
            end
        end
        local left = 0
        for n, clients in ipairs(users) do
            wait_seen(instances, "u" .. n, clients)
            left = left + #clients
        end
        wait_tenant(instances, "crowd", left)
        ws.drop_all()
        wait_tenant(instances, "crowd", 0)
        for n = 1, #users do wait_seen(instances, "u" .. n, {}) end
    end)

    -- The last spec: it stops all instances.
    it("leave nothing in Redis", function()
        local clients = {connect(a, "42", "7"), connect(b, "42"), connect(c, "43", "8")}
        wait_seen({a, b, c}, "43", {clients[3]})
        for _, client in ipairs(clients) do client:close() end
        for _, pattern in ipairs {"connections:*", "tenant:*", "instance:*", "presence", "leaving"} do
            wait_no_keys(pattern)
        end
        a:stop()
        wait_no_keys "*node-a*"
        wait.till(function() return each_part("ZCARD", "instances") == 2 end, SOON, "node-a to be cleaned up after")
        b:stop()
        c:stop()
        -- Only the ends of the last leases are left.
        for _, key in ipairs(server:keys()) do
            assert.is_truthy(key:match ":pulse$" or key:match ":reaped$" or key:match ":instances$", key)
        end
        assert.are.equal(0, each_part("ZCOUNT", "instances", "1", "+inf"))
    end)
end)

describe("an instance", function()
    setup(start_all)
    teardown(stop_all)
    after_each(ws.drop_all)

    it("removes its connections when it stops", function()
        local phone, tablet, other = connect(a, "42", "7"), connect(c, "42", "7"), connect(c, "43")
        wait_seen({a, b}, "42", {phone, tablet})
        wait_seen({a, b}, "43", {other})
        c:stop()
        wait_seen({a, b}, "42", {phone})
        wait_seen({a, b}, "43", {})
        wait_tenant({a, b}, "7", 1)
        wait_no_keys("*node-c*", 2)
        c = start(3)
        c:wait_ready()
    end)

    it("that dies is removed after its lease, the others are not", function()
        local phone, laptop, tablet = connect(a, "42", "7"), connect(b, "43"), connect(c, "42", "7")
        local orphan = connect(c, "44")
        wait_seen({a, b}, "42", {phone, tablet})
        wait_seen({a, b}, "44", {orphan})
        c.process:signal "KILL"
        local died = wait.now()
        wait.till(function()
            local said = seen(a, "42")
            assert.is_true(said == truth {phone, tablet} or said == truth {phone}, said)
            assert.are.equal(truth {laptop}, (seen(a, "43")))
            return said == truth {phone}
        end, LEASE + 1.5, "the end of the lease")
        wait_seen({a, b}, "42", {phone}, died + LEASE + 1.5 - wait.now())
        wait_seen({a, b}, "44", {})
        wait_tenant({a, b}, "7", 1)
        wait_no_keys "*node-c*"
        assert.are.equal(1, each_part("HLEN", "connections:42"))
        assert.are.equal(0, #server:keys "*:connections:44")
        c:stop(137)
        c = start(3)
        c:wait_ready()
        wait_seen({a, b, c}, "44", {})
        local again = connect(c, "44")
        wait_seen({a, b, c}, "44", {again})
        stays_seen({a, b, c}, "42", {phone}, 0.5)
    end)

    it("that dies and restarts at once has no stale connections", function()
        local phone = connect(a, "42", "7")
        wait_seen({b}, "42", {phone, connect(c, "42", "7"), connect(c, "42", "7")})
        c.process:signal "KILL"
        c:stop(137)
        c = start(3)
        c:wait_ready()
        local tablet = connect(c, "42", "7")
        wait_seen({a, b, c}, "42", {phone, tablet}, SOON)
        wait_tenant({a, b, c}, "7", 2)
        stays_seen({a, b, c}, "42", {phone, tablet}, LEASE)
        assert.are.equal(3, each_part("ZCARD", "instances"))
    end)

    it("that is suspended for longer than its lease registers its connections again", function()
        local phone, tablet, leaver = connect(a, "42", "7"), connect(c, "42", "7"), connect(c, "42", "7")
        wait_seen({a, b}, "42", {phone, tablet, leaver})
        c.process:signal "STOP"
        wait_seen({a, b}, "42", {phone}, LEASE + 1.5)
        leaver:drop()
        c.process:signal "CONT"
        wait_seen({a, b, c}, "42", {phone, tablet}, SOON)
        wait_tenant({a, b, c}, "7", 2)
        stays_seen({a, b, c}, "42", {phone, tablet}, 0.5)
    end)

    it_single("that is cut off for longer than its lease registers its connections again", function()
        local phone, tablet, leaver = connect(a, "42", "7"), connect(c, "42", "7"), connect(c, "42", "7")
        wait_seen({a, b}, "42", {phone, tablet, leaver})
        proxies[3]:pause()
        wait_seen({a, b}, "42", {phone}, LEASE + 1.5)
        wait.till(function() return select(2, seen(c, "42")).status == 503 end, 5, "an honest answer")
        check.error(select(2, seen(c, "42")), 503, "tracker_unavailable")
        leaver:close()
        proxies[3]:resume()
        wait_seen({a, b, c}, "42", {phone, tablet}, SOON)
        wait_tenant({a, b, c}, "7", 2)
        stays_seen({a, b, c}, "42", {phone, tablet}, 0.5)
    end)
end)

describe("when Redis", function()
    setup(start_all)
    teardown(stop_all)
    after_each(ws.drop_all)

    -- During the fault one connection closes and one opens (later if Redis does not respond).
    local function survives(begin, finish, silent)
        local phone, laptop, tablet = connect(a, "42", "7"), connect(b, "42", "7"), connect(c, "43", "7")
        wait_seen({a, b, c}, "42", {phone, laptop})
        wait_seen({a, b, c}, "43", {tablet})
        begin()
        local late = not silent and connect(c, "42", "7")
        laptop:close()
        finish()
        late = late or connect(c, "42", "7")
        wait_seen({a, b, c}, "42", {phone, late}, SOON)
        wait_seen({a, b, c}, "43", {tablet}, SOON)
        wait_tenant({a, b, c}, "7", 3, SOON)
        stays_seen({a, b, c}, "42", {phone, late}, 0.3)
        for _, client in ipairs {phone, late, tablet} do client:close() end
        wait_seen({a, b, c}, "42", {})
        wait_tenant({a, b, c}, "7", 0)
    end

    local function honest()
        for _, d in ipairs {a, b, c} do
            wait.till(function() return select(2, seen(d, "42")).status ~= 200 end, 5, "an honest answer")
            check.error(select(2, seen(d, "42")), 503, "tracker_unavailable")
            check.error(d:request("GET", "/api/tenants/7"), 503, "tracker_unavailable")
            check.error(d:request("POST", "/api/users/online", {body = '{"users":["42"]}'}), 503, "tracker_unavailable")
        end
    end

    it("loses all data, all is registered again", function()
        survives(function() server:call "FLUSHALL" end, function() end)
        survives(function() server:call "FLUSHALL" end, function() server:call "FLUSHALL" end)
    end)

    it("loses its scripts, nothing changes", function()
        survives(function() server:call("SCRIPT", "FLUSH") end, function() server:call("SCRIPT", "FLUSH") end)
    end)

    it_single("restarts without its data, all is registered again", function()
        survives(function()
            server:kill()
            os.remove(server.dir .. "/dump.rdb")
            honest()
        end, function() server:restart() end)
    end)

    it_single("restarts with old data, the current state wins", function()
        survives(function()
            local gone = connect(b, "42", "7")
            wait.till(function() return each_part("HLEN", "connections:42") == 3 end, 2, "three connections")
            server:call "SAVE"
            gone:close()
            server:kill()
        end, function() server:restart() end)
        os.remove(server.dir .. "/dump.rdb")
    end)

    it_single("hangs for longer than a lease, nobody is removed", function()
        survives(function()
            server.process:signal "STOP"
            local since = wait.now()
            honest()
            wait.till(function() return wait.now() > since + LEASE + 0.5 end)
        end, function() server.process:signal "CONT" end, true)
    end)

    it("disconnects all clients, nothing is lost", function()
        survives(function() server:call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") end,
            function() server:call("CLIENT", "KILL", "TYPE", "pubsub") end)
    end)
end)
