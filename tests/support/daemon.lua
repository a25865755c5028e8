-- Real bellhop processes. The daemon picks a free port (":0") and logs it.
local http = require "http"
local process = require "process"
local wait = require "wait"

local daemon = {}
daemon.__index = daemon

daemon.BIN = os.getenv "BELLHOP_BIN" or "build/asan/src/bellhop"
-- The thread sanitizer delays signals while Lua calls no intercepted function.
daemon.HAS_WATCHDOG = not daemon.BIN:find("tsan", 1, true)

-- Environment variables: short timeouts for Redis, and further ones.
function daemon.short_timeouts(more)
    local env = {
        BELLHOP_REDIS_PROBE_INTERVAL = "0.2",
        BELLHOP_REDIS_COMMAND_TIMEOUT = "1",
        BELLHOP_REDIS_CONNECT_TIMEOUT = "1",
    }
    for name, value in pairs(more or {}) do env[name] = value end
    return env
end

local all = {}

local function sanitizer_report(log)
    for _, mark in ipairs {"Sanitizer:", "runtime error:", "LeakSanitizer", "stack smashing", "Assertion `"} do
        if log:find(mark, 1, true) then return log end
    end
end

-- options: args (more arguments), env, dev (default true), redis (URL), policy (Lua text), workers,
-- listen (default one plain address; the first one must be plain), descriptors (the limit), reader (true:
-- the log is a pipe, see daemon:signal_reader), wait (false: do not wait until it is ready; "alive": until it listens).
function daemon.start(options)
    options = options or {}
    local self = setmetatable({listen = options.listen or {"127.0.0.1:0"}}, daemon)
    local argv = {}
    local function add(...)
        for _, word in ipairs {...} do argv[#argv + 1] = word end
    end
    if options.descriptors then add("sh", "-c", 'ulimit -n "$0"; exec "$@"', tostring(options.descriptors)) end
    if options.reader then add("bash", "-c", 'exec "$0" "$@" 2> >(echo "reader=$BASHPID"; exec cat)') end
    add(daemon.BIN, "serve", "--listen", table.concat(self.listen, ","), "--workers", tostring(options.workers or 2))
    if options.dev ~= false then add "--dev" end
    if options.redis then add("--redis", options.redis) end
    if options.policy then
        self.policy_dir = process.temp_dir()
        add("--policy", process.write_file(self.policy_dir .. "/policy.lua", options.policy))
    end
    add(table.unpack(options.args or {}))
    self.process = process.spawn(argv, options.env)
    all[self] = true
    if options.wait ~= false then self:wait_port() end
    if options.wait == nil then self:wait_ready() end
    return self
end

function daemon:log() return self.process:log() end

-- Signals what reads the log; see the option `reader`.
function daemon:signal_reader(name)
    os.execute(("kill -%s %s 2>/dev/null"):format(name, self:log():match "reader=(%d+)"))
end

function daemon:fail_if_dead(doing)
    if self.process:status() then
        error(("the daemon ended with status %d while %s; its log:\n%s"):format(self.process:status(), doing,
            self:log()), 0)
    end
end

-- Sets self.ports, one for each entry of `listen`, and self.port, the first.
function daemon:wait_port()
    self.ports = wait.till(function()
        self:fail_if_dead "starting"
        local ports = {}
        for port in self:log():gmatch 'listening[^\n]-address"?[=:]"?127%.0%.0%.1:(%d+)' do
            ports[#ports + 1] = math.tointeger(port)
        end
        return #ports == #self.listen and ports
    end, 20, function() return "the daemon to listen; its log:\n" .. self:log() end)
    self.port = self.ports[1]
end

function daemon:ready()
    local answer = http.get(self.port, "/readyz", {timeout = 2})
    return answer and answer.status or 0
end

function daemon:wait_ready(status)
    wait.till(function()
        self:fail_if_dead "getting ready"
        return self:ready() == (status or 200)
    end, 20, function() return "/readyz " .. (status or 200) .. "; the log:\n" .. self:log() end)
end

function daemon:wait_log(text, seconds)
    wait.till(function() return self:log():find(text, 1, true) end, seconds or 10, function()
        return ("%q in the log:\n%s"):format(text, self:log())
    end)
end

-- The sum over all labels, or one of them: 'name{label="value"}'.
function daemon:metric(name)
    local answer = self:request("GET", "/metrics")
    local sum = 0
    for line in answer.body:gmatch "[^\n]+" do
        if line:sub(1, #name) == name and line:sub(#name + 1, #name + 1):find "[ {]" then
            sum = sum + tonumber(line:match "(%S+)$")
        end
    end
    return sum
end

function daemon:limited(limit)
    return self:metric(('bellhop_edge_limited_total{limit="%s"}'):format(limit))
end

function daemon:wait_metric(name, value, seconds)
    wait.till(function() return self:metric(name) == value end, seconds, function()
        return ("%s is %s instead of %s"):format(name, self:metric(name), value)
    end)
end

-- A request on a kept-alive connection, so that requests are served in order.
function daemon:request(method, path, options)
    local bytes = http.format(method, path, options)
    for _ = 1, 2 do
        self.session = self.session or assert(http.open(self.port))
        local answer = self.session:send(bytes) and self.session:response(method)
        if answer and answer.headers.connection ~= "close" then return answer end
        self.session:close()
        self.session = nil
        if answer then return answer end
    end
    error("no answer to " .. method .. " " .. path, 2)
end

-- Publishes and expects 200; target is a path below /api.
function daemon:publish(target, body, query, headers)
    local path = "/api/" .. target .. (target ~= "broadcast" and "/messages" or "") .. (query and "?" .. query or "")
    local answer = self:request("POST", path, {body = body, headers = headers})
    if answer.status ~= 200 then
        error(("POST %s: %d %s"):format(path, answer.status, answer.body), 2)
    end
    return answer.body
end

-- Stops it and checks its exit status (default 0), and its log for a report of a sanitizer.
function daemon:stop(expected)
    if not all[self] then return end
    all[self] = nil
    if self.session then self.session:close() end
    local status, log = self.process:stop()
    if self.policy_dir then os.execute("rm -rf " .. process.quote(self.policy_dir)) end
    local report = sanitizer_report(log)
    if report then error("sanitizer report:\n" .. report, 2) end
    if status ~= (expected or 0) then
        error(("the daemon ended with status %d instead of %d; its log:\n%s"):format(status, expected or 0, log), 2)
    end
    return log
end

-- Stops every daemon, then raises the first error.
function daemon.stop_all()
    local first
    for d in pairs(all) do
        local ok, why = pcall(d.stop, d)
        if not ok then first = first or why end
    end
    if first then error(first, 0) end
end

return daemon
