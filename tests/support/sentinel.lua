-- Redis Sentinels for a master: real redis-server processes in sentinel mode, which redis.stop_all ends, too.
local process = require "process"
local redis = require "redis"
local tcp = require "tcp"
local wait = require "wait"

local sentinel = {}

sentinel.MASTER = "mymaster"

local CONFIG = [[
port %d
bind 127.0.0.1
dir %s
sentinel monitor mymaster 127.0.0.1 %d %d
sentinel down-after-milliseconds mymaster 600
sentinel failover-timeout mymaster 2000
sentinel parallel-syncs mymaster 1
]]

local one = {}
one.__index = one

function one:call(...)
    return redis.call(self, ...)
end

one.client = redis.client

function one:stop()
    self.process:stop()
    os.execute("rm -rf " .. process.quote(self.dir))
end

-- The port of the master, according to this Sentinel.
function one:master_port()
    local address = self:call("SENTINEL", "get-master-addr-by-name", sentinel.MASTER)
    return address and math.tointeger(tonumber(address[2]))
end

local function start_one(master_port, quorum)
    local self = setmetatable({dir = process.temp_dir(), port = tcp.free_port()}, one)
    local file = process.write_file(self.dir .. "/sentinel.conf", CONFIG:format(self.port, self.dir, master_port, quorum))
    self.process = process.spawn {redis.SERVER, file, "--sentinel"}
    redis.add(self)
    wait.till(function()
        local c = self:client()
        local answer = c and c:call "PING"
        if c then c:close() end
        return answer == "PONG"
    end, 10, function() return "a Sentinel to answer: " .. self.process:log() end)
    -- A master that comes back becomes a replica after four of these periods (default 2 s).
    local _, why = self:call("SENTINEL", "DEBUG", "publish-period", "200", "info-period", "500")
    assert(not why or redis.version() < 7, why)
    return self
end

-- Starts `count` Sentinels that know each other and the replicas; the quorum is a majority.
function sentinel.start(count, master, replicas)
    local list = {}
    for i = 1, count do list[i] = start_one(master.port, count // 2 + 1) end
    for _, s in ipairs(list) do
        wait.till(function()
            local known = s:call("SENTINEL", "CKQUORUM", sentinel.MASTER)
            return known and known:find(count .. " usable", 1, true)
                and #s:call("SENTINEL", "replicas", sentinel.MASTER) == replicas
        end, 20, "the Sentinels to know everything")
    end
    return list
end

function sentinel.url(list)
    local hosts = {}
    for i, s in ipairs(list) do hosts[i] = "127.0.0.1:" .. s.port end
    return "redis+sentinel://" .. table.concat(hosts, ",") .. "/" .. sentinel.MASTER
end

return sentinel
