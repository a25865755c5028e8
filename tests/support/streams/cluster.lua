-- A Redis (topology.lua) and instances with histories, for one spec; everything ends with cluster.stop_all.
local daemon = require "daemon"
local process = require "process"
local proxy = require "proxy"
local redis = require "redis"
local topology = require "topology"

local cluster = {}
cluster.__index = cluster

-- The rules, as JSON; large enough that nothing is trimmed in a test.
cluster.RULES = [[ [
    {"topic": "user:*", "size": 10000}, {"topic": "tenant:*", "size": 10000}, {"topic": "all", "size": 10000},
    {"topic": "topic:news", "size": 10000, "bytes": 67108864}
] ]]

-- One more instance, behind a proxy if the cluster has them.
function cluster:add(name)
    local i = #self.instances + 1
    local url = self.url
    if self.proxied then
        self.proxies[i] = proxy.start(self.server.port)
        url = self.proxies[i]:url()
    end
    local d = daemon.start {
        redis = url, env = self.env, workers = 2, args = {"--instance", name}, wait = "alive", dev = self.dev,
        policy = self.policy,
    }
    self.instances[i] = d
    return d
end

-- options: count (of instances, default 3), proxies (true: one for each instance), redis (arguments of
-- the server, or a server), history (rules), env, dev, policy, url.
function cluster.start(options)
    options = options or {}
    local self = setmetatable({
        instances = {}, proxies = {}, proxied = options.proxies, dev = options.dev, policy = options.policy,
    }, cluster)
    self.env = daemon.short_timeouts(options.env)
    self.env.BELLHOP_HISTORY_RULES = options.history or cluster.RULES
    self.server = options.redis and options.redis.port and options.redis or topology.start(options.redis)
    self.url = options.url or self.server:url()
    for i = 1, options.count or 3 do self:add("node-" .. i) end
    for _, d in ipairs(self.instances) do d:wait_ready() end
    return self
end

-- Whether /readyz of all instances answers so.
function cluster:are(status)
    return function()
        for _, d in ipairs(self.instances) do
            if not d.gone and d:ready() ~= status then return false end
        end
        return true
    end
end

-- The ids of the links that Redis has from subscribers.
function cluster:subscriber_links()
    local ids = {}
    for id in self.server:call("CLIENT", "LIST", "TYPE", "pubsub"):gmatch "id=(%d+)" do ids[id] = true end
    return ids
end

-- All links of `before` are closed, and there are as many new ones.
function cluster:links_renewed(before)
    return function()
        local n = 0
        for id in pairs(self:subscriber_links()) do
            if before[id] then return false end
            n = n + 1
        end
        return n >= #self.instances
    end
end

function cluster.stop_all()
    for _, p in ipairs(process.running()) do p:signal "CONT" end
    local ok, why = pcall(daemon.stop_all)
    proxy.stop_all()
    redis.stop_all()
    if not ok then error(why, 0) end
end

return cluster
