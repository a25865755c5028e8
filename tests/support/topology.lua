-- The Redis of a spec in each way that it can be set up: one, a master that Sentinel watches, three independent ones
-- that share the topics, and a Redis Cluster of three masters with a replica each. Specs whose subject is not the
-- Redis itself start it by this, and run on all four.
--
-- topology.start() is by the environment variable BELLHOP_TEST_REDIS (single, sentinel, shards or cluster; default
-- single). What it returns has `url` for bellhop, and for backends and looks at keys those methods of a redis.lua
-- server that find the server by the key or channel: call, cli, publish, subscribers, client_of; and masters and keys.
-- With `single` and `sentinel` it is that server, with all its methods. redis.stop_all ends everything.
local redis = require "redis"
local redis_cluster = require "redis_cluster"
local sentinel = require "sentinel"
local wait = require "wait"

local topology = {KINDS = {"single", "sentinel", "shards", "cluster"}}

topology.KIND = os.getenv "BELLHOP_TEST_REDIS" or "single"

-- For a spec that runs on all in one run: those, or the one of the environment.
function topology.kinds()
    if os.getenv "BELLHOP_TEST_REDIS" then return {topology.KIND} end
    return redis.version() >= 7 and topology.KINDS or {table.unpack(topology.KINDS, 1, 3)} -- no cluster
end

-- Specs that run on all of them; tests/run.sh reads this with BELLHOP_TEST_REDIS. topologies_spec.lua, which has the main
-- job, runs on each in every ordinary run.
topology.SPECS = {
    "topologies", "cluster", "filter", "history_api", "ids", "passed_on", "presence", "same_name", "sse_streams", "streams",
    "streams_instances", "streams_many", "tracking",
}

function topology.files()
    local list = {}
    for i, name in ipairs(topology.SPECS) do list[i] = "tests/integration/" .. name .. "_spec.lua" end
    return table.concat(list, "\n")
end

-- --- which server has it ---

-- The argument that decides: that of FCALL and EVAL is behind the number of keys.
local function key_of(command, ...)
    local is_script = ({FCALL = true, EVAL = true, EVALSHA = true})[command:upper()]
    return tostring((select(is_script and 3 or 1, ...)) or "")
end

-- The topic of a channel, or of a key of its history.
local function topic_of(key)
    local name = key:match "^{notification:(.-)}" or key:match "^notification:(.*)"
    if not name then return nil end
    if name == "broadcast" then return "all" end
    local topic = (name:find "^tenant:" or name:find "^topic:") and name or "user:" .. name
    return (topic:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The hash of include/bellhop/backend/redis.h, implemented again.
function topology.weight(node, topic)
    local h = 0xcbf29ce484222325
    for c in (node .. "\0" .. topic):gmatch "." do h = (h ~ c:byte()) * 0x100000001b3 end
    h = (h ~ (h >> 33)) * 0xff51afd7ed558ccd
    h = (h ~ (h >> 33)) * 0xc4ceb9fe1a85ec53
    return h ~ (h >> 33)
end

-- The one of several servers that has a topic.
function topology.shard_of(servers, topic)
    local best, greatest
    for _, server in ipairs(servers) do
        local w = topology.weight(("127.0.0.1:%d/0"):format(server.port), topic)
        if not best or math.ult(greatest, w) then best, greatest = server, w end
    end
    return best
end

-- --- several servers as one ---

local several = {}
several.__index = several

-- Words of a command, which may have another name there.
function several.words(_, ...) return ... end

-- Commands for all of them. The answers are one: a list, a sum, or the last.
local FOR_ALL = {
    CLIENT = true, CONFIG = true, DBSIZE = true, FLUSHALL = true, FUNCTION = true, KEYS = true, PUBSUB = true, SCRIPT = true,
}

function several:call_all(...)
    local sum, list, last, why = 0, {}, nil, nil
    for _, server in ipairs(self:masters()) do
        last, why = server:call(...)
        if math.type(last) == "integer" then sum = sum + last end
        if type(last) == "table" then table.move(last, 1, #last, #list + 1, list) end
    end
    return math.type(last) == "integer" and sum or type(last) == "table" and list or last, why
end

function several:call(...)
    if FOR_ALL[...] then return self:call_all(...) end
    return self:call_at(key_of(...), self:words(...))
end

function several:call_at(key, ...) return self:node_of(key):call(...) end

function several:cli(...)
    return self:node_of(key_of(...)):cli(self:words(...))
end

function several:subscribers(channel) return self:node_of(channel):subscribers(channel) end

-- A connection to the server of a channel or key; `...`: a command for it.
function several:client_of(key, ...)
    return self:node_of(key):client(...)
end

several.publish, several.keys, several.has_key = redis.publish, redis.keys, redis.has_key

local shards = setmetatable({}, several)
shards.__index = shards

function shards:masters() return self.servers end

function shards:url()
    local urls = {}
    for i, server in ipairs(self.servers) do urls[i] = server:url() end
    return table.concat(urls, ",")
end

-- Keys that are no history are where they are; what bh.redis writes is on the first.
function shards:node_of(key)
    local topic = topic_of(key)
    if topic then return topology.shard_of(self.servers, topic) end
    for _, server in ipairs(self.servers) do
        if server:call("EXISTS", key) == 1 then return server end
    end
    return self.servers[1]
end

local cluster = setmetatable({}, several)
cluster.__index = cluster

function cluster:masters() return self.cluster:masters() end
function cluster:url(...) return self.cluster:url(...) end
function cluster:node_of(key) return (self.cluster:node_of(key)) end
function cluster:call_at(...) return self.cluster:call(...) end
function cluster:subscribers(channel) return self.cluster:subscribers(channel) end

-- Nobody subscribes to anything but shard channels.
function cluster.words(_, command, ...)
    return ({PUBLISH = "SPUBLISH", SUBSCRIBE = "SSUBSCRIBE"})[command] or command, ...
end

-- --- start ---

local start = {}

function start.single(args) return redis.start(args) end

function start.sentinel(args)
    local all = table.move(args or {}, 1, #(args or {}), 3, {"--repl-diskless-sync-delay", "0"})
    local master = redis.start(all)
    local replica = redis.start {"--replicaof", "127.0.0.1", tostring(master.port), table.unpack(all)}
    wait.till(function()
        return replica:call("INFO", "replication"):find "master_link_status:up"
    end, 15, "the replica to follow")
    local sentinels = sentinel.start(1, master, 1)
    master.replica, master.sentinels = replica, sentinels
    function master.url() return sentinel.url(sentinels) end
    return master
end

function start.shards(args)
    return setmetatable({servers = {redis.start(args), redis.start(args), redis.start(args)}}, shards)
end

-- A node that is late for a moment, because the machine is busy, is not replaced.
function start.cluster(args, options)
    local all = {node_timeout = 5000, args = args}
    for name, value in pairs(options or {}) do all[name] = value end
    return setmetatable({cluster = redis_cluster.start(3, 1, all)}, cluster)
end

-- args: more arguments of each redis-server. kind: default as the environment says. options: those of
-- redis_cluster.start.
function topology.start(args, kind, options)
    kind = kind or topology.KIND
    local server = assert(start[kind], "BELLHOP_TEST_REDIS: single, sentinel, shards or cluster")(args, options)
    server.kind = kind
    return server
end

return topology
