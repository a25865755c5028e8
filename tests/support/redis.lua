-- Real redis-server processes, a RESP client, and redis-cli. BELLHOP_TEST_REDIS_SERVER names another server program,
-- as of another version or of Valkey; its -cli is the one beside it, or the one found in PATH.
local process = require "process"
local tcp = require "tcp"
local wait = require "wait"

local redis = {}
redis.__index = redis

local client = {}
client.__index = client

-- --- RESP ---

function client:write(...)
    local words = {...}
    local parts = {"*" .. #words .. "\r\n"}
    for _, word in ipairs(words) do
        word = tostring(word)
        parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    return self.conn:send(table.concat(parts))
end

-- A value, or nil and the reason. An error reply of Redis is nil and its text.
function client:read(timeout)
    local line, why = self.conn:read_till("\r\n", timeout)
    if not line then return nil, why end
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "-" then return nil, rest end
    if kind == "+" then return rest end
    if kind == ":" then return math.tointeger(tonumber(rest)) end
    local n = tonumber(rest)
    if n < 0 then return false end
    if kind == "$" then return (assert(self.conn:read(n + 2)):sub(1, n)) end
    local list = {}
    for i = 1, n do list[i] = self:read(timeout) end
    return list
end

function client:call(...)
    local ok, why = self:write(...)
    if not ok then return nil, why end
    return self:read()
end

function client:close() self.conn:close() end

-- --- servers ---

redis.SERVER = os.getenv "BELLHOP_TEST_REDIS_SERVER" or "redis-server"

local function beside(server)
    local path = server:gsub("server$", "cli")
    local file = path:find "/" and io.open(path)
    if not file then return "redis-cli" end
    file:close()
    return path
end

redis.CLI = beside(redis.SERVER)

-- Of the program: major and minor as a number (7.0).
function redis.version()
    if not redis.known_version then
        local said = process.run {redis.SERVER, "--version"}
        redis.known_version = assert(tonumber(said:match "v=(%d+%.%d+)"), said)
    end
    return redis.known_version
end

-- Arguments for a server that allows DEBUG, which old ones always do.
function redis.with_debug()
    return redis.version() >= 7 and {"--enable-debug-command", "yes"} or {}
end

local all = {}

local function launch(self, may_load)
    local argv = {redis.SERVER, "--port", tostring(self.port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--daemonize", "no", "--dir", self.dir}
    for _, word in ipairs(self.args) do argv[#argv + 1] = word end
    self.process = process.spawn(argv)
    wait.till(function()
        if self.process:status() then return true end
        local c = self:client()
        local answer, why = nil, nil
        if c then
            answer, why = c:call "PING"
            c:close()
        end
        return answer == "PONG" or (why and (why:find "NOAUTH" or may_load and why:find "LOADING"))
    end, 10, "redis-server to answer")
end

-- args: more arguments of redis-server. Without a port it tries another one if the first is taken meanwhile.
function redis.start(args, port)
    local self = setmetatable({dir = process.temp_dir(), args = args or {}}, redis)
    all[self] = true
    for _ = 1, 5 do
        self.port = port or tcp.free_port()
        launch(self)
        if not self.process:status() then return self end
        local _, log = self.process:stop()
        self.log = log
    end
    error("redis-server does not start:\n" .. self.log, 2)
end

-- A server with TLS on `port`, the certificates redis and ca of `made` (certs.new), and further
-- arguments; and its URL, which ends with `tail`.
function redis.start_tls(made, port, ...)
    return redis.start {
        "--tls-port", tostring(port), "--tls-cert-file", made:path "redis.crt", "--tls-key-file", made:path "redis.key",
        "--tls-ca-cert-file", made:path "ca.crt", ...,
    }
end

function redis.tls_url(made, port, tail)
    return ("rediss://127.0.0.1:%d?ca=%s%s"):format(port, made:path "ca.crt", tail or "")
end

function redis:url(user_info, tail)
    return "redis://" .. (user_info and user_info .. "@" or "") .. "127.0.0.1:" .. self.port .. (tail or "")
end

function redis:client(...)
    local conn, why = tcp.connect(self.port)
    if not conn then return nil, why end
    local c = setmetatable({conn = conn}, client)
    if ... then assert(c:call(...)) end
    return c
end

-- One command on a connection of its own.
function redis:call(...)
    local c = assert(self:client())
    local answer, why = c:call(...)
    c:close()
    return answer, why
end

-- The output of redis-cli.
function redis:cli(...)
    local output, status = process.run {redis.CLI, "-p", tostring(self.port), ...}
    assert(status == 0, output)
    return output
end

function redis:alive()
    return not self.process:status()
end

function redis:kill()
    self.process:stop "KILL"
end

-- may_load: return while it still loads its data.
function redis:restart(may_load)
    launch(self, may_load)
    assert(not self.process:status(), "redis-server does not start again")
end

-- The number of subscribers of a channel.
function redis:subscribers(channel)
    return self:call("PUBSUB", "NUMSUB", channel)[2]
end

-- --- as a server of topology.lua, which may be several ---

-- The number of subscribers that it reached.
function redis:publish(channel, payload) return self:call("PUBLISH", channel, payload) end

-- A connection to the server of a channel or key.
function redis:client_of(_, ...) return self:client(...) end

-- The servers that have data.
function redis:masters() return {self} end

-- All keys that match, sorted.
function redis:keys(pattern)
    local list = {}
    for _, server in ipairs(self:masters()) do
        for _, key in ipairs(server:call("KEYS", pattern or "*")) do list[#list + 1] = key end
    end
    table.sort(list)
    return list
end

-- Whether there is a key with this end. (What is before it may depend on how many servers there are.)
function redis:has_key(tail)
    for _, key in ipairs(self:keys()) do
        if key:sub(-#tail) == tail then return true end
    end
    return false
end

function redis:stop()
    if not all[self] then return end
    all[self] = nil
    self.process:stop()
    os.execute("rm -rf " .. process.quote(self.dir))
end

-- Another process that stop_all ends by its `stop`.
function redis.add(process_of_redis)
    all[process_of_redis] = true
end

function redis.stop_all()
    for server in pairs(all) do
        server:stop()
        all[server] = nil
    end
end

return redis
