-- on_presence and on_offline on three instances that share a Redis: each event happens once in the
-- cluster, also when an instance dies, and there are no false events; and the result of a publish.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local check = require "check"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local LEASE, DEBOUNCE = 2, 0.5
local LATE = 1.5 -- how much later than that an event may come
local CALM = 5 + LEASE -- how long nobody is called new or away after Redis has forgotten
local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = tostring(DEBOUNCE),
    BELLHOP_SERVER_DRAIN_TIMEOUT = "2",
}

local POLICY = [[
local bh = require "bellhop"

return {
    on_handshake = function(req)
        return { user = req:arg "user", tenant = req:arg "tenant", topics = req:args "topic" }
    end,
    on_presence = function(event)
        bh.redis.call("RPUSH", "events", ("%s %s %.3f"):format(event.user, event.online, event.at))
    end,
    on_offline = function(msg)
        bh.redis.call("RPUSH", "lost", msg.data)
        if msg.data:find "^later" then return { retry = 0.3 } end
        if msg.data == "handled" then return true end
        return "drop"
    end,
}
]]

local server, a, b, c

local function start(i)
    return daemon.start {
        redis = server:url(), env = ENV, policy = POLICY, args = {"--instance", "node-" .. ("abc"):sub(i, i)},
    }
end

local function setup_all()
    server = topology.start()
    a, b, c = start(1), start(2), start(3)
end

local function teardown_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function connect(d, user) return ws.connect(d.port, "/ws?user=" .. user) end

-- The events of a user so far: "online offline online", and the time of the last one.
local function events(user)
    local list, last = {}, nil
    for _, line in ipairs(server:call("LRANGE", "events", "0", "-1")) do
        local who, online, at = line:match "^(%S+) (%a+) (%S+)$"
        if who == user then
            list[#list + 1] = online == "true" and "online" or "offline"
            last = tonumber(at)
        end
    end
    return table.concat(list, " "), last
end

-- Returns the time of the last event.
local function wait_events(user, wanted, limit)
    local said, at
    wait.till(function()
        said, at = events(user)
        return said == wanted
    end, limit or 2, function() return ("the events [%s] of %s; there are [%s]"):format(wanted, user, said) end)
    return at
end

-- The events of all users so far; checked again at the end.
local raised = {}

-- The events of users (name -> expected) are these and no others: another user connects and disconnects
-- afterwards, and any pending event happens before those of that user.
local function only(wanted, limit)
    local marker = "marker" .. math.floor(wait.now() * 1000)
    local client = connect(a, marker)
    wait_events(marker, "online", limit)
    client:close()
    wait_events(marker, "online offline", DEBOUNCE + LATE)
    raised[marker] = "online offline"
    for user, list in pairs(wanted) do assert.are.equal(list, (events(user)), user) end
end

describe("the presence of a user", function()
    setup(setup_all)
    teardown(teardown_all)
    after_each(ws.drop_all)

    it("is one event on connect and one on disconnect", function()
        local came = wait.now()
        local phone = connect(b, "single")
        local at = wait_events("single", "online")
        assert.is_true(at > came - 1 and at < wait.now() + 1)
        local left = wait.now()
        phone:close()
        at = wait_events("single", "online offline", DEBOUNCE + LATE)
        assert.is_true(at > left - 0.5 and at < wait.now() + 0.5)
        assert.is_true(wait.now() > left + DEBOUNCE * 0.9)
        raised.single = "online offline"
    end)

    it("covers all devices", function()
        local phone, laptop, tablet = connect(a, "many"), connect(b, "many"), connect(c, "many")
        local second = connect(a, "many")
        wait_events("many", "online")
        phone:close()
        laptop:drop()
        second:reset()
        only {many = "online"}
        tablet:close()
        wait_events("many", "online offline", DEBOUNCE + LATE)
        local again = connect(b, "many")
        wait_events("many", "online offline online")
        again:close()
        wait_events("many", "online offline online offline", DEBOUNCE + LATE)
        raised.many = "online offline online offline"
    end)

    it("does not change on a quick reconnect, on any instance", function()
        local client = connect(a, "restless")
        wait_events("restless", "online")
        for i = 1, 8 do
            client:close()
            client = connect(({a, b, c})[i % 3 + 1], "restless")
        end
        only {restless = "online"}
        client:close()
        wait_events("restless", "online offline", DEBOUNCE + LATE)
        raised.restless = "online offline"
    end)

    it("is reported for each of many users", function()
        local clients, wanted = {}, {}
        for i = 1, 60 do
            clients[i] = connect(({a, b, c})[i % 3 + 1], "crowd" .. i % 30)
            wanted["crowd" .. i % 30] = "online"
        end
        for user in pairs(wanted) do wait_events(user, "online") end
        for i = 1, 60 do clients[i]:close() end
        for user in pairs(wanted) do
            wait_events(user, "online offline", DEBOUNCE + LATE)
            raised[user] = "online offline"
        end
    end)

    it("survives the stop of an instance", function()
        local mover, goer = connect(c, "mover"), connect(c, "goer")
        wait_events("mover", "online")
        wait_events("goer", "online")
        c.process:signal "TERM"
        check.closed(mover, 1001)
        check.closed(goer, 1001)
        local again = connect(a, "mover")
        assert.are.equal(0, c.process:wait())
        c:stop()
        wait_events("goer", "online offline", DEBOUNCE + LATE)
        assert.are.equal("online", (events "mover"))
        c = start(3)
        again:close()
        wait_events("mover", "online offline", DEBOUNCE + LATE)
        raised.mover, raised.goer = "online offline", "online offline"
    end)

    it("ends once for users of an instance that dies, unless they are connected elsewhere", function()
        local wanted, movers = {}, {}
        for i = 1, 10 do
            for _, name in ipairs {"lost", "moved", "stayed"} do
                connect(c, name .. i)
                wanted[name .. i] = "online"
            end
            connect(i % 2 == 0 and a or b, "stayed" .. i)
        end
        for user in pairs(wanted) do wait_events(user, "online") end
        c.process:signal "KILL"
        local died = wait.now()
        for i = 1, 10 do movers[i] = connect(i % 2 == 0 and a or b, "moved" .. i) end
        for i = 1, 10 do
            wanted["lost" .. i] = "online offline"
            wait_events("lost" .. i, "online offline", died + LEASE + DEBOUNCE + 2 * LATE - wait.now())
        end
        only(wanted)
        c:stop(137)
        c = start(3)
        movers[1]:close()
        wait_events("moved1", "online offline", DEBOUNCE + LATE)
        ws.drop_all()
        for user in pairs(wanted) do raised[user] = "online offline" end
    end)

    it("ends once for users of a suspended instance, and begins once when it resumes", function()
        local still, both = connect(c, "still"), connect(c, "both")
        local elsewhere = connect(a, "both")
        wait_events("still", "online")
        wait_events("both", "online")
        c.process:signal "STOP"
        wait_events("still", "online offline", LEASE + DEBOUNCE + 2 * LATE)
        c.process:signal "CONT"
        wait_events("still", "online offline online", LEASE + LATE)
        assert.are.equal("online", (events "both"))
        both:close()
        elsewhere:close()
        still:close()
        wait_events("still", "online offline online offline", DEBOUNCE + LATE)
        wait_events("both", "online offline", DEBOUNCE + LATE)
        raised.still, raised.both = "online offline online offline", "online offline"
    end)

    it("had no other events", function()
        only(raised)
        local count = 0
        for _, list in pairs(raised) do
            for _ in list:gmatch "%a+" do count = count + 1 end
        end
        assert.are.equal(count, server:call("LLEN", "events"))
    end)

    it("is right after Redis lost all data", function()
        local phone = connect(b, "amnesia")
        wait_events("amnesia", "online")
        server:call "FLUSHALL"
        wait.till(function() return server:has_key ":connections:amnesia" end, LEASE + LATE, "the user")
        only({}, CALM + LATE)
        local said = events "amnesia"
        assert.is_true(said == "" or said == "online", said)
        phone:close()
        wait_events("amnesia", (said .. " offline"):match "^ ?(.*)$", DEBOUNCE + LATE)
        only {amnesia = (said .. " offline"):match "^ ?(.*)$"}
    end)
end)

-- status, instances and local of the answer to a publish.
local function outcome(answer)
    local status, instances, here = answer:match '"status":"(%a+)","instances":(%d+),"local":(%d+)'
    assert(status, answer)
    return ("%s %s %s"):format(status, instances, here)
end

local function lost() return table.concat(server:call("LRANGE", "lost", "0", "-1"), " ") end

local function wait_lost(wanted)
    wait.till(function() return lost() == wanted end, 3, function()
        return ("[%s] to be told as lost; there is [%s]"):format(wanted, lost())
    end)
end

describe("a publish", function()
    setup(setup_all)
    teardown(teardown_all)
    before_each(function() server:call("DEL", "lost") end)
    after_each(ws.drop_all)

    it("reports its receivers", function()
        ws.connect(a.port, "/ws?user=42&tenant=7&topic=x")
        ws.connect(a.port, "/ws?user=42&tenant=7")
        ws.connect(b.port, "/ws?user=42&topic=x")
        for _, strategy in ipairs {"local_first", "redis", "both"} do
            local query = "strategy=" .. strategy
            assert.are.equal("delivered 2 2", outcome(a:publish("users/42", "x", query)), query)
            assert.are.equal("delivered 2 1", outcome(b:publish("users/42", "x", query)), query)
            assert.are.equal("published 2 0", outcome(c:publish("users/42", "x", query)), query)
            assert.are.equal("delivered 1 2", outcome(a:publish("tenants/7", "x", query)), query)
            assert.are.equal("published 1 0", outcome(b:publish("tenants/7", "x", query)), query)
            assert.are.equal("delivered 2 1", outcome(a:publish("topics/x", "x", query)), query)
            assert.are.equal("published 2 0", outcome(c:publish("topics/x", "x", query)), query)
            assert.are.equal("offline 0 0", outcome(c:publish("users/nobody", "x", query)), query)
            assert.are.equal("offline 0 0", outcome(a:publish("topics/nothing", "x", query)), query)
        end
        assert.are.equal("delivered 1 2", outcome(a:publish("users/42", "x", "strategy=local")))
        assert.are.equal("offline 0 0", outcome(c:publish("users/nobody", "x", "strategy=local")))
    end)

    it("with a receiver on any instance is delivered", function()
        for i = 1, 10 do -- also when they have only just come
            local user = "fresh" .. i
            local phone = connect(b, user)
            assert.are.equal("published 1 0", outcome(c:publish("users/" .. user, "kept")))
            check.next(phone, "kept")
        end
        a:publish("users/43", "gone")
        wait_lost "gone"
    end)

    it("without receivers is reported once, for every target", function()
        a:publish("users/43", "one")
        wait_lost "one"
        b:publish("tenants/43", "two")
        wait_lost "one two"
        c:publish("topics/43", "handled")
        wait_lost "one two handled"
    end)

    it("is retried as the script says, until a receiver connects", function()
        assert.are.equal("offline 0 0", outcome(a:publish("users/44", "later")))
        wait_lost "later later"
        local phone = connect(c, "44")
        check.next(phone, "later")
        local told = lost()
        a:publish("users/46", "later on")
        wait_lost(told .. " later on later on")
        check.quiet(a, phone)
    end)

    it("to a user who just disconnected is lost", function()
        local phone = connect(b, "45")
        assert.are.equal("published 1 0", outcome(a:publish("users/45", "there")))
        check.next(phone, "there")
        phone:close()
        wait.till(function() return b:request("GET", "/api/users/45").body:find '"online":false' end)
        assert.are.equal("offline 0 0", outcome(a:publish("users/45", "away")))
        -- The test before left a message that is still being retried.
        wait.till(function() return lost():find("away", 1, true) end, 3, "away to be told as lost")
    end)
end)
