-- The presence of users around a loss of Redis' data: FLUSHALL, a restart that is empty or from an older snapshot, a
-- replica that lacks the last seconds. Afterwards the last event of each user is the truth.
--
-- All faults happen side by side, each to a cluster of its own, on one timeline: users leave and come back at different
-- moments in relation to the loss.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local redis = require "redis"
local socket = require "socket"
local wait = require "wait"
local ws = require "ws"

local DEBOUNCE, LEASE = 1, 30
local WINDOW = 1.2 -- who was due to be offline so long before the loss may be announced again
local CALM = 8
local LOSS = 6 -- seconds after the start of a cluster
local SLACK = 0.5 -- between what happens here and in the server
local ENV = daemon.short_timeouts {
    BELLHOP_TRACKING_LEASE = tostring(LEASE),
    BELLHOP_TRACKING_DEBOUNCE = tostring(DEBOUNCE),
    BELLHOP_WEBSOCKET_PING_INTERVAL = "600", -- the clients only listen when they are asked
}
local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_presence = function(event) bh.log.info("presence", { user = event.user, online = event.online }) end,
}
]]

-- When users leave and come back, in seconds after the loss.
local users = {}
for i = 0, 11 do
    local leaves = -3.6 + 0.33 * i
    local comes = ({0.05, 0.4, 0.9, 1.6, 2.5, 4})[i % 6 + 1]
    users["away" .. i] = {leaves = leaves}
    users["back" .. i] = {leaves = leaves, comes = math.max(comes, leaves + 0.1)}
end
users.stays, users.new, users.visits = {}, {first = 0.3}, {first = 0.5, leaves = 0.7}
users.early = {leaves = -3.8, comes = -1}
users.late = {leaves = -0.2, comes = CALM + 1}

local function flush(server) server:call "FLUSHALL" end

local function restart_empty(server)
    server:kill()
    os.remove(server.dir .. "/dump.rdb")
    server:restart()
end

local function restart(server)
    server:kill()
    server:restart()
end

-- A replica that has stopped to replicate at `saved` takes over the address.
local function follow(cluster)
    cluster.replica = redis.start()
    cluster.replica:call("REPLICAOF", "127.0.0.1", cluster.server.port)
end

local function fail_over(server, cluster)
    server:kill()
    cluster.replica:call("CONFIG", "SET", "port", server.port)
end

-- saved: until when Redis has its data afterwards, in seconds after the loss.
local clusters = {
    {name = "FLUSHALL, one instance", size = 1, fault = flush},
    {name = "FLUSHALL, three instances", size = 3, fault = flush},
    {name = "an empty restart, one instance", size = 1, fault = restart_empty},
    {name = "an empty restart, two instances", size = 2, fault = restart_empty},
    {name = "an older snapshot, one instance", size = 1, fault = restart, saved = -4.5},
    {name = "an older snapshot, two instances", size = 2, fault = restart, saved = -4.5},
    {name = "a recent snapshot, two instances", size = 2, fault = restart, saved = -1},
    {name = "a snapshot of the last moment, two instances", size = 2, fault = restart, saved = -0.1},
    {name = "a failover to an older replica, two instances", size = 2, fault = fail_over, replica = true, saved = -2},
    {name = "a failover to a replica, three instances", size = 3, fault = fail_over, replica = true, saved = 0},
}

-- --- the timeline ---

local timeline = {}

local function at(when, fn, ...)
    local args = table.pack(...)
    timeline[#timeline + 1] = {when, #timeline, function() fn(table.unpack(args)) end}
end

local function run_timeline()
    table.sort(timeline, function(x, y) return x[1] < y[1] or x[1] == y[1] and x[2] < y[2] end)
    for _, step in ipairs(timeline) do
        socket.sleep(math.max(0, step[1] - wait.now()))
        step[3]()
    end
end

-- --- users ---

local function instance_of(cluster, i) return cluster.daemons[i % cluster.size + 1] end

local function come(cluster, state, i)
    state.client = ws.connect(instance_of(cluster, i).port, "/ws?user=" .. state.user)
end

local function leave(state)
    state.client:close()
    state.client = nil
    state.left = wait.now()
end

local function plan(cluster, start)
    cluster.states = {}
    local loss, i = start + LOSS, 0
    for user, moments in pairs(users) do
        local state = {user = user}
        i = i + 1
        cluster.states[user] = state
        at(moments.first and loss + moments.first or start, come, cluster, state, i)
        if moments.leaves then at(loss + moments.leaves, leave, state) end
        if moments.comes then at(loss + moments.comes, come, cluster, state, i + 1) end
    end
    if cluster.replica then
        at(start, follow, cluster)
        at(loss + cluster.saved, function()
            assert(cluster.replica:call("EXISTS", "ws:presence") == 1)
            cluster.replica:call("REPLICAOF", "NO", "ONE")
            cluster.kept_until = wait.now()
        end)
    elseif cluster.saved then
        at(loss + cluster.saved, function()
            cluster.kept_until = wait.now()
            cluster.server:call "SAVE"
        end)
    end
    at(loss, function()
        cluster.lost = wait.now()
        cluster.fault(cluster.server, cluster)
    end)
end

-- --- events ---

-- user -> list of true (online) and false, in their order.
local function events(cluster)
    local lines, list = {}, {}
    for _, d in ipairs(cluster.daemons) do
        for line in d:log():gmatch "[^\n]+" do
            if line:find("msg=presence", 1, true) then
                lines[#lines + 1] = {at = line:match "ts=(%S+)", number = #lines, text = line}
            end
        end
    end
    table.sort(lines, function(x, y) return x.at < y.at or x.at == y.at and x.number < y.number end)
    for _, line in ipairs(lines) do
        local user, online = line.text:match "user=(%S+)", line.text:match "online=(%a+)" == "true"
        list[user] = list[user] or {}
        table.insert(list[user], online)
    end
    return list
end

local function is_last_true(cluster, list)
    for user, state in pairs(cluster.states) do
        local own = list[user] or {}
        if (own[#own] or false) ~= (state.client ~= nil) then return false end
    end
    return true
end

local function count(list, online)
    local n = 0
    for _, one in ipairs(list) do
        if one == online then n = n + 1 end
    end
    return n
end

local function describe_list(list)
    local words = {}
    for i, online in ipairs(list) do words[i] = online and "online" or "offline" end
    return table.concat(words, " ")
end

-- Of a user who left before the loss, Redis may have lost that it was announced.
local function is_in_window(cluster, state)
    if not state.left then return false end
    local due, since = state.left + DEBOUNCE, math.min(cluster.kept_until or cluster.lost, cluster.lost) - WINDOW
    return due > since - SLACK and due < cluster.lost + SLACK
end

-- What is wrong with the events of this user, or nil.
local function fault_of(cluster, state, list)
    local online = state.client ~= nil
    if (list[#list] or false) ~= online then return "the last event is wrong" end
    if is_in_window(cluster, state) then return count(list, false) > 2 and "too many" or nil end
    for i = 1, #list do
        if list[i] ~= (i % 2 == 1) then return "raised twice" end
    end
end

describe("the presence of users is right after", function()
    setup(function()
        for _, cluster in ipairs(clusters) do
            cluster.server, cluster.daemons = redis.start {"--repl-diskless-sync-delay", "0"}, {}
            for i = 1, cluster.size do
                cluster.daemons[i] = daemon.start {
                    redis = cluster.server:url(), env = ENV, policy = POLICY, workers = 1, args = {"--instance", "node-" .. i},
                }
            end
        end
        for i, cluster in ipairs(clusters) do plan(cluster, wait.now() + 0.3 * i) end
        run_timeline()
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    for _, cluster in ipairs(clusters) do
        it(cluster.name, function()
            local all = cluster.lost + CALM + DEBOUNCE + 4
            wait.till(function() return is_last_true(cluster, events(cluster)) or wait.now() > all end, 30)
            local list, wrong = events(cluster), {}
            for user, state in pairs(cluster.states) do
                local why = fault_of(cluster, state, list[user] or {})
                if why then
                    wrong[#wrong + 1] = ("%s (left %.2f, %s): %s, %s"):format(user, (state.left or 0) - cluster.lost,
                        state.client and "here" or "gone", describe_list(list[user] or {}), why)
                end
            end
            table.sort(wrong)
            assert.are.equal("", table.concat(wrong, "\n"))
        end)
    end
end)
