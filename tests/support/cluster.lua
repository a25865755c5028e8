-- A Redis Cluster of real redis-server processes on loopback, masters only.
local redis = require "redis"
local socket = require "socket"
local tcp = require "tcp"
local wait = require "wait"

local cluster = {}
cluster.__index = cluster

local SLOTS = 16384

-- Two ports, of which the second one, 10,000 above, is for the bus.
local function free_pair()
    for _ = 1, 100 do
        local port = tcp.free_port()
        local bus = port < 55000 and socket.bind("127.0.0.1", port + 10000)
        if bus then
            bus:close()
            return port
        end
    end
    error "no free ports for a cluster"
end

local function node(index)
    local port = free_pair()
    local server = redis.start({"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout",
        "2000", "--cluster-announce-ip", "127.0.0.1", "--cluster-port", tostring(port + 10000)}, port)
    server.id = server:call("CLUSTER", "MYID")
    assert(server:call("CLUSTER", "SET-CONFIG-EPOCH", index) == "OK")
    return server
end

function cluster.start(count)
    local self = setmetatable({nodes = {}}, cluster)
    for i = 1, count do self.nodes[i] = node(i) end
    for i, server in ipairs(self.nodes) do
        local first, last = (i - 1) * SLOTS // count, i * SLOTS // count - 1
        assert(server:call("CLUSTER", "ADDSLOTSRANGE", first, last) == "OK")
        if i > 1 then assert(server:call("CLUSTER", "MEET", "127.0.0.1", self.nodes[1].port) == "OK") end
    end
    wait.till(function()
        for _, server in ipairs(self.nodes) do
            local info = server:call("CLUSTER", "INFO")
            if not (info:find "cluster_state:ok" and info:find("cluster_known_nodes:" .. count, 1, true)) then return false end
        end
        return true
    end, 20, "the cluster to be ok")
    return self
end

-- The node of a key's slot, and the slot.
function cluster:node_of(key)
    local slot = self.nodes[1]:call("CLUSTER", "KEYSLOT", key)
    return self.nodes[math.min(slot * #self.nodes // SLOTS + 1, #self.nodes)], slot
end

-- Keys of `slot` at `from` now move to `to` one by one, with cluster.move, until finish_migration.
function cluster.start_migration(slot, from, to)
    assert(to:call("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id) == "OK")
    assert(from:call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id) == "OK")
end

function cluster.move(key, from, to)
    assert(from:call("MIGRATE", "127.0.0.1", to.port, key, 0, 5000) == "OK")
end

function cluster.finish_migration(slot, from, to)
    for _, server in ipairs {to, from} do assert(server:call("CLUSTER", "SETSLOT", slot, "NODE", to.id) == "OK") end
end

function cluster.stop_all() redis.stop_all() end

return cluster
