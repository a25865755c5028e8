-- A Redis Cluster of real redis-server processes on loopback, and a client of it. Nodes are those of redis.lua;
-- everything ends with redis.stop_all.
--
-- node.id is its id, node.address the port by which the nodes and clients of the cluster know it (with TLS
-- that is not node.port, which stays a plain one for the test).
local redis = require "redis"
local socket = require "socket"
local tcp = require "tcp"
local wait = require "wait"

local cluster = {}
cluster.__index = cluster

local SLOTS = 16384

-- --- slots ---

local function crc16(bytes)
    local crc = 0
    for i = 1, #bytes do
        crc = crc ~ bytes:byte(i) << 8
        for _ = 1, 8 do crc = (crc & 0x8000 ~= 0 and crc << 1 ~ 0x1021 or crc << 1) & 0xffff end
    end
    return crc
end

function cluster.slot(key)
    local tag = key:match "^[^{]*{([^}]+)}"
    return crc16(tag or key) % SLOTS
end

-- --- start ---

-- A port whose bus port, 10,000 above, is free, too.
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

local function tls_arguments(made, address)
    return {
        "--tls-port", tostring(address), "--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no",
        "--tls-cert-file", made:path "redis.crt", "--tls-key-file", made:path "redis.key",
        "--tls-ca-cert-file", made:path "ca.crt",
    }
end

local function start_node(self)
    local address = free_pair()
    local args = {
        "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-announce-ip", self.ip,
        "--cluster-node-timeout", tostring(self.options.node_timeout or 1000), "--repl-diskless-sync-delay", "0",
    }
    local function add(list) table.move(list, 1, #list, #args + 1, args) end
    local made, hostname = self.options.tls, self.options.hostname
    if made then add(tls_arguments(made, address)) end
    if hostname then add {"--cluster-announce-hostname", hostname, "--cluster-preferred-endpoint-type", "hostname"} end
    if self.options.ip then add {"--bind", "127.0.0.1", self.ip} end
    add(self.options.args or {})
    local node = redis.start(args, made and tcp.free_port() or address)
    node.address = address
    node.id = node:call("CLUSTER", "MYID")
    self.epoch = self.epoch + 1
    assert(node:call("CLUSTER", "SET-CONFIG-EPOCH", self.epoch) == "OK")
    if self.options.acl then assert(node:call("ACL", "SETUSER", table.unpack(self.options.acl)) == "OK") end
    self.nodes[#self.nodes + 1] = node
    return node
end

-- To all the others, so that nobody waits for gossip.
local function meet(self, node)
    for _, other in ipairs(self.nodes) do
        if other ~= node and other:alive() then
            assert(node:call("CLUSTER", "MEET", self.ip, other.address, other.address + 10000) == "OK")
        end
    end
end

local function add_slots(node, first, last)
    if node:call("CLUSTER", "ADDSLOTSRANGE", first, last) then return end
    local list = {} -- Redis before 7.0
    for slot = first, last do list[#list + 1] = slot end
    assert(node:call("CLUSTER", "ADDSLOTS", table.unpack(list)) == "OK")
end

local function replicate(node, master)
    wait.till(function() return node:call("CLUSTER", "REPLICATE", master.id) end, 10, "a replica to know its master")
end

local function is_linked(node)
    local role = node:call "ROLE"
    return role and (role[1] == "master" or role[4] == "connected")
end

-- Every node that runs knows every other, agrees on the owner of each slot, and each replica has its data.
function cluster:is_ok()
    local owners
    for _, node in ipairs(self:alive()) do
        local info = node:call("CLUSTER", "INFO")
        if not (info and info:find "cluster_state:ok" and info:find(("cluster_known_nodes:%d\r"):format(#self.nodes))
            and is_linked(node)) then
            return false
        end
        local seen = {}
        for i, range in ipairs(node:call("CLUSTER", "SLOTS")) do seen[i] = range[1] .. " " .. range[3][3] end
        table.sort(seen)
        seen = table.concat(seen, " ")
        if (owners or seen) ~= seen then return false end
        owners = seen
    end
    return true
end

function cluster:wait_ok()
    wait.till(function() return self:is_ok() end, 20, function()
        return "the cluster to be ok:\n" .. self:alive()[1]:call("CLUSTER", "NODES")
    end)
end

-- options: tls (certificates with redis and ca, certs.new), args (more arguments of each redis-server),
-- node_timeout (ms, default 1000), user (of url, "name:password"), acl (arguments of ACL SETUSER on each), hostname
-- (that the nodes announce and clients are told, instead of addresses), ip (default 127.0.0.1). `replicas`: of each master,
-- default none.
-- nodes: the masters in the order of their slots, then their replicas in that order.
function cluster.start(masters, replicas, options)
    options = options or {}
    local self = setmetatable({
        nodes = {}, epoch = 0, options = options, ip = options.ip or "127.0.0.1", clients = {}, owners = {},
    }, cluster)
    for _ = 1, masters * (1 + (replicas or 0)) do meet(self, start_node(self)) end
    for i = 1, masters do add_slots(self.nodes[i], (i - 1) * SLOTS // masters, i * SLOTS // masters - 1) end
    for i = masters + 1, #self.nodes do replicate(self.nodes[i], self.nodes[(i - 1) % masters + 1]) end
    self:wait_ok()
    return self
end

-- As bellhop wants it: the first `count` nodes (default: all that run), and `tail`.
function cluster:url(tail, count)
    local hosts, made, user, ip = {}, self.options.tls, self.options.user, self.ip
    local host = self.options.hostname or ip:find ":" and "[" .. ip .. "]" or ip
    for i, node in ipairs(self:alive()) do
        if i <= (count or i) then hosts[i] = host .. ":" .. node.address end
    end
    return ("%s://%s%s%s%s"):format(made and "rediss+cluster" or "redis+cluster", user and user .. "@" or "",
        table.concat(hosts, ","), made and "?ca=" .. made:path "ca.crt" or "", tail or "")
end

-- --- who is what ---

function cluster:alive()
    local list = {}
    for _, node in ipairs(self.nodes) do
        if node:alive() then list[#list + 1] = node end
    end
    return list
end

function cluster:by_id(id)
    for _, node in ipairs(self.nodes) do
        if node.id == id then return node end
    end
end

-- What CLUSTER SLOTS of a node (default: the first that runs) says: lists of first, last, master and replicas.
function cluster:map(node)
    local list = {}
    for i, range in ipairs((node or self:alive()[1]):call("CLUSTER", "SLOTS")) do
        local entry = {first = range[1], last = range[2], master = self:by_id(range[3][3]), replicas = {}}
        for k = 4, #range do entry.replicas[k - 3] = self:by_id(range[k][3]) end
        list[i] = entry
    end
    return list
end

-- The master of a key, and its slot; `key` may be a slot.
function cluster:node_of(key)
    local slot = math.type(key) == "integer" and key or cluster.slot(key)
    for _, range in ipairs(self:map()) do
        if range.first <= slot and slot <= range.last then return range.master, slot end
    end
end

-- The masters with slots, in the order of their first ones.
function cluster:masters()
    local map, list, seen = self:map(), {}, {}
    table.sort(map, function(a, b) return a.first < b.first end)
    for _, range in ipairs(map) do
        if not seen[range.master] then list[#list + 1] = range.master end
        seen[range.master] = true
    end
    return list
end

-- The first range of a master's slots, with its replicas.
function cluster:range_of(master)
    for _, range in ipairs(self:map()) do
        if range.master == master then return range end
    end
end

-- The first of prefix .. 1, prefix .. 2, … whose slot this node has.
function cluster:key_on(node, prefix)
    local map = self:map()
    for i = 1, 10000 do
        local slot = cluster.slot(prefix .. i)
        for _, range in ipairs(map) do
            if range.master == node and range.first <= slot and slot <= range.last then return prefix .. i end
        end
    end
end

-- --- a client ---

local function client_of(self, node)
    self.clients[node] = self.clients[node] or node:client()
    return self.clients[node]
end

local function drop_client(self, node)
    if self.clients[node] then self.clients[node]:close() end
    self.clients[node] = nil
end

local function by_address(self, port)
    for _, node in ipairs(self.nodes) do
        if node.address == port or node.port == port then return node end
    end
end

local WAITS = {TRYAGAIN = true, CLUSTERDOWN = true, MASTERDOWN = true, LOADING = true, READONLY = true}

-- What an answer asks for: the node to go to, and whether by ASKING; or "wait".
local function redirection(self, why)
    local kind, port = why:match "^(%u+) %d+ %S*:(%d+)"
    local node = port and by_address(self, math.tointeger(tonumber(port)))
    if node then return node, kind == "ASK" end
    if WAITS[why:match "^%u+"] then return "wait" end
end

local function ask(self, node, is_asking, ...)
    local client = node and node:alive() and client_of(self, node)
    if not client then return nil, "closed" end
    if is_asking then client:call "ASKING" end
    local answer, why = client:call(...)
    if answer == nil and (why == "closed" or why == "timeout") then drop_client(self, node) end
    return answer, why
end

-- A command for the owner of the slot of `key`, as redis-cli -c does, but patient while the cluster changes: an answer,
-- or nil and the error. A link that breaks is an error of a command that is not repeated.
function cluster:call(key, ...)
    local slot, deadline, is_asking = cluster.slot(key), wait.now() + 10, false
    local node = self.owners[slot] or self:node_of(slot)
    while true do
        local answer, why = ask(self, node, is_asking, ...)
        if answer ~= nil then
            if not is_asking then self.owners[slot] = node end
            return answer
        end
        self.owners[slot] = nil
        local target
        if why ~= "closed" or (node and node:alive()) then
            target, is_asking = redirection(self, why)
            if not target then return nil, why end
        end
        if wait.now() > deadline then return nil, why end
        if target == "wait" or not target then
            socket.sleep(0.02)
            target = self:node_of(slot)
        end
        node = target
    end
end

-- Publishes as a plain backend does; the number of subscribers at the owner.
function cluster:publish(channel, payload)
    return self:call(channel, "SPUBLISH", channel, payload)
end

-- The number of subscribers of a channel at the owner of its slot.
function cluster:subscribers(channel)
    local answer = ask(self, self:node_of(channel), false, "PUBSUB", "SHARDNUMSUB", channel)
    return answer and answer[2]
end

-- All keys that match.
cluster.keys = redis.keys

-- --- migrations ---

-- Keys of `slot` at `from` now move to `to` one by one, with cluster.move, until finish_migration.
function cluster.start_migration(slot, from, to)
    assert(to:call("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id) == "OK")
    assert(from:call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id) == "OK")
end

function cluster.move(key, from, to)
    local answer = assert(from:call("MIGRATE", "127.0.0.1", to.address, key, 0, 5000))
    assert(answer == "OK" or answer == "NOKEY")
end

function cluster.finish_migration(slot, from, to)
    for _, node in ipairs {to, from} do assert(node:call("CLUSTER", "SETSLOT", slot, "NODE", to.id) == "OK") end
end

-- Moves a slot to the master `to` with its keys, one by one. between(key) is called before each key, and
-- between(nil) before the end.
function cluster:migrate(slot, to, between)
    local from = self:node_of(slot)
    local source, target = client_of(self, from), client_of(self, to)
    between = between or function() end
    assert(target:call("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id) == "OK")
    assert(source:call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id) == "OK")
    repeat
        local keys = source:call("CLUSTER", "GETKEYSINSLOT", slot, 100)
        for _, key in ipairs(keys) do
            between(key)
            assert(source:call("MIGRATE", self.ip, to.address, key, 0, 5000))
        end
    until #keys == 0
    between()
    -- The target first: else the source sends clients to a node that sends them back. A source whose last slot this was
    -- may be a replica of the target by now.
    assert(target:call("CLUSTER", "SETSLOT", slot, "NODE", to.id) == "OK")
    local answer, why = source:call("CLUSTER", "SETSLOT", slot, "NODE", to.id)
    assert(answer == "OK" or why:find "only with masters", why)
    self.owners[slot] = nil
end

-- Moves slots of `from` to `to`, one after the other: the first `count` (default: all).
function cluster:move_slots(from, to, count, between)
    local moved = 0
    for _, range in ipairs(self:map(from)) do
        for slot = range.first, range.master == from and range.last or -1 do
            if moved == count then break end
            self:migrate(slot, to, between)
            moved = moved + 1
        end
    end
    self:wait_ok()
end

-- --- nodes come and go ---

-- A new master without slots, or a replica of `master`.
function cluster:add(master)
    local node = start_node(self)
    meet(self, node)
    wait.till(function()
        for _, other in ipairs(self:alive()) do
            if not other:call("CLUSTER", "NODES"):find(node.id, 1, true) then return false end
        end
        return true
    end, 10, "all nodes to know the new one")
    if master then replicate(node, master) end
    self:wait_ok()
    return node
end

-- Takes a node away whose slots have moved, or a replica; `is_dead`: it does not run any more.
function cluster:remove(node)
    for i, other in ipairs(self.nodes) do
        if other == node then table.remove(self.nodes, i) end
    end
    drop_client(self, node)
    for _, other in ipairs(self:alive()) do
        wait.till(function()
            local ok, why = other:call("CLUSTER", "FORGET", node.id)
            return ok or why:find "Unknown node"
        end, 10, "a node to forget another one")
    end
    node:stop()
    self:wait_ok()
end

-- Kills a node. With a replica of it: returns that when it has become the master.
function cluster:kill(node)
    local range = self:range_of(node)
    node:kill()
    drop_client(self, node)
    self.owners = {}
    return range and #range.replicas > 0 and self:wait_owner(range.first, node)
end

-- The master of the slot, as soon as it is another one than `before` and all nodes that run say so.
function cluster:wait_owner(slot, before)
    local owner
    wait.till(function()
        owner = self:node_of(slot)
        return owner and owner ~= before and owner:alive()
    end, 20, "another master")
    self:wait_ok()
    return owner
end

-- A failover by hand to a replica of `master` (default: the first); returns the new master. how: nil,
-- "FORCE" or "TAKEOVER".
function cluster:failover(master, replica, how)
    local range = self:range_of(master)
    replica = replica or range.replicas[1]
    assert(replica:call("CLUSTER", "FAILOVER", how) == "OK")
    self.owners = {}
    return self:wait_owner(range.first, master)
end

function cluster:stop()
    for node in pairs(self.clients) do drop_client(self, node) end
    for _, node in ipairs(self.nodes) do node:stop() end
end

cluster.stop_all = redis.stop_all

return cluster
