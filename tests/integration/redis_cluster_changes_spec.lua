-- Messages without a history and the connections of users, under traffic, while a Redis Cluster of 3+3 changes: slots
-- that move key by key, nodes that come and go, failovers, masters that are killed. There are no duplicates, no losses but
-- in the windows that docs/cluster.md names, all connections stay, and are known again soon. Streams are in
-- streams_cluster_spec.lua.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local redis = require "redis"
local redis_cluster = require "redis_cluster"
local traffic = require "traffic"
local ws = require "ws"

local describe_7 = redis.version() >= 7 and describe or pending

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
    BELLHOP_WEBSOCKET_PING_INTERVAL = "600",
    BELLHOP_TRACKING_LEASE = "2",
    BELLHOP_TRACKING_DEBOUNCE = "0.2",
}

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        return { user = req:arg "user", tenant = req:arg "tenant", topics = req:args "topic" }
    end,
    on_presence = function(event) bh.log.info("presence", { who = event.user, online = event.online }) end,
}
]]

local TARGETS = {
    {path = "users/42", channel = "notification:42", reaches = {"phone", "laptop", "tablet"}},
    {path = "tenants/7", channel = "notification:tenant:7", reaches = {"phone", "laptop", "tablet"}},
    {path = "topics/x", channel = "notification:topic:x", reaches = {"phone", "tablet"}},
    {path = "users/43", channel = "notification:43", reaches = {"desk"}},
    {path = "users/44", channel = "notification:44", reaches = {"shelf"}},
}

-- Users beside, in all parts of the tracker: each has one connection.
local CROWD = 20

local cluster, instances, flow, places
local round = 0

local function start(replicas)
    cluster, instances = redis_cluster.start(3, replicas), {}
    for i, name in ipairs {"node-a", "node-b", "node-c"} do
        instances[i] = daemon.start {
            redis = cluster:url(), env = ENV, policy = POLICY, args = {"--instance", name}, wait = "alive",
        }
    end
    for _, d in ipairs(instances) do d:wait_ready() end
end

local function begin()
    local a, b, c = table.unpack(instances)
    local clients = {
        phone = ws.connect(a.port, "/ws?user=42&tenant=7&topic=x"),
        laptop = ws.connect(b.port, "/ws?user=42&tenant=7"),
        tablet = ws.connect(c.port, "/ws?user=42&tenant=7&topic=x"),
        desk = ws.connect(b.port, "/ws?user=43"),
        shelf = ws.connect(c.port, "/ws?user=44"),
    }
    round, places = round + 1, {}
    for i = 1, CROWD do
        local user = ("crowd%d.%d"):format(round, i)
        ws.connect(instances[i % 3 + 1].port, ("/ws?tenant=crowd&user=%s"):format(user))
        places[user] = "node-" .. ("abc"):sub(i % 3 + 1, i % 3 + 1)
    end
    flow = traffic.new {instances = instances, targets = TARGETS, clients = clients}
    flow:run(0.5)
    flow:fault_begins()
end

local function are(status)
    for _, d in ipairs(instances) do
        if d:ready() ~= status then return false end
    end
    return true
end

-- Each channel has its subscribers where its slot is now.
local function are_subscribed()
    for _, target in ipairs(TARGETS) do
        local wanted = target.path:find "users/4[34]" and 1 or target.path == "topics/x" and 2 or 3
        if cluster:subscribers(target.channel) ~= wanted then return false end
    end
    return cluster:subscribers "notification:broadcast" == 3
end

local function seen(d, user)
    local body = d:request("GET", "/api/users/" .. user).body
    local list = {}
    for name in body:gmatch '"instance":"([^"]+)"' do list[#list + 1] = name end
    table.sort(list)
    return not body:find '"partial":true' and table.concat(list, " "), body
end

-- Every instance knows all connections; traffic goes on meanwhile.
local function are_known()
    for user, wanted in pairs(places) do
        for _, d in ipairs(instances) do
            if not d.gone and seen(d, user) ~= wanted then return false end
        end
    end
    return true
end

-- What on_presence has told of a user, on any instance: "+-+".
local function events(user)
    local list = {}
    for _, d in ipairs(instances) do
        for at, line in d:log():gmatch 'ts=(%S+) ([^\n]*msg=presence[^\n]*)' do
            if line:find("who=" .. user .. "%f[%s]") then
                list[#list + 1] = at .. (line:find "online=true" and "+" or "-")
            end
        end
    end
    table.sort(list)
    return (table.concat(list):gsub("[^Z]*Z", ""))
end

-- From now on nothing is lost again.
local function settled()
    flow:run(function() return cluster:is_ok() and are(200) end, 20, "/readyz 200")
    flow:run(are_subscribed, 15, "subscriptions at the new masters")
    flow:fault_ended()
    flow:run(0.5)
end

local function finish()
    flow:run(are_known, 20, "all connections")
    flow:run(1)
    for user in pairs(places) do assert.are.equal("+", events(user), user) end
    flow:check()
end

local function stop()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function another(master)
    for _, other in ipairs(cluster:masters()) do
        if other ~= master then return other end
    end
end

local function none_refused()
    if flow.refused == 0 then return end
    local logs = {}
    for i, d in ipairs(instances) do logs[i] = d:log() end
    error(("%d were refused\n%s\n%s"):format(flow.refused, flow.refusal, table.concat(logs, "\n")))
end

-- With traffic between all steps.
local function move(slot, to)
    cluster:migrate(slot, to, function() flow:run(0.05) end)
end

-- The slots of all targets, and of a part of the tracker.
local function slots()
    local list = {redis_cluster.slot "{ws3}:", redis_cluster.slot "notification:broadcast"}
    for _, target in ipairs(TARGETS) do list[#list + 1] = redis_cluster.slot(target.channel) end
    return list
end

describe_7("under traffic, a Redis Cluster", function()
    setup(function() start(1) end)
    teardown(stop)
    before_each(begin)
    after_each(ws.drop_all)

    it("moves slots: nobody is refused", function()
        for _, slot in ipairs(slots()) do move(slot, another(cluster:node_of(slot))) end
        settled()
        flow:fault_begins()
        for _, slot in ipairs(slots()) do move(slot, another(cluster:node_of(slot))) end
        settled()
        none_refused()
        finish()
    end)

    it("gets a master, and loses one", function()
        local first, added = cluster:masters()[1], cluster:add()
        for _, slot in ipairs(slots()) do move(slot, added) end
        settled()
        flow:fault_begins()
        for _, slot in ipairs(slots()) do move(slot, first) end
        flow:run(1.5) -- nobody sends it anything any more, whose answer it would take with it
        cluster:remove(added)
        settled()
        none_refused()
        finish()
    end)

    it("fails over by hand, master after master", function()
        for i, master in ipairs(cluster:masters()) do
            if i > 1 then flow:fault_begins() end
            local range = cluster:range_of(master)
            assert.are.equal("OK", range.replicas[1]:call("CLUSTER", "FAILOVER"))
            flow:run(function() return cluster:node_of(range.first) ~= master end, 15, "the failover")
            settled()
        end
        finish()
    end)

    -- Not the node that tells the test about the cluster.
    local function victim()
        return another(cluster:alive()[1])
    end

    it("loses a master that hangs, and that comes back as a replica", function()
        local dead = victim()
        local range = cluster:range_of(dead)
        dead.process:signal "STOP"
        finally(function() dead.process:signal "CONT" end)
        flow:run(function() return range.replicas[1]:call "ROLE"[1] == "master" end, 20, "the failover")
        dead.process:signal "CONT"
        flow:run(function() return dead:call "ROLE"[1] == "slave" end, 20, "a demoted master")
        settled()
        finish()
    end)

    it("loses a master while an instance dies, whose connections are forgotten, and the others not", function()
        local doomed = daemon.start {
            redis = cluster:url(), env = ENV, policy = POLICY, args = {"--instance", "node-doomed"},
        }
        for i = 1, CROWD do ws.connect(doomed.port, "/ws?user=doomed" .. i) end
        for i = 1, CROWD do
            flow:run(function() return seen(instances[1], "doomed" .. i) == "node-doomed" end, 10, "the doomed")
        end
        local dead = victim()
        local range = cluster:range_of(dead)
        doomed.process:signal "KILL"
        dead:kill()
        flow:run(function() return cluster:node_of(range.first) ~= dead end, 20, "the failover")
        doomed:stop(137)
        settled()
        for i = 1, CROWD do
            for _, d in ipairs(instances) do
                flow:run(function() return seen(d, "doomed" .. i) == "" end, 20, "nobody who is doomed")
            end
        end
        finish()
    end)
end)

describe_7("under traffic, a Redis Cluster without replicas", function()
    setup(function() start(0) end)
    teardown(stop)
    before_each(begin)

    it("loses a master, which comes back without its data", function()
        local dead = another(cluster:alive()[1])
        dead:kill()
        flow:run(function() return are(503) end, 10, "/readyz 503")
        flow:run(function() return flow.refused > 0 end, 5, "a refusal")
        dead:restart()
        settled()
        finish()
    end)
end)
