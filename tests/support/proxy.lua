-- A TCP proxy between an instance and its Redis that simulates network faults.
--
-- As a module this is the handle; as a program it is the proxy: one loop over pairs of sockets, with a
-- queue for each direction whose chunks have a time when they are due. It reads commands, a line each,
-- on a second port and replies to each when it is done:
--
--   delay MS   delay everything that arrives from now on (0: no delay)
--   pause      stop forwarding in both directions; connections stay, new ones hang
--   cut        reset all connections, refuse new ones
--   drop       reset all connections, accept new ones
--   swallow    discard everything on the connections that there are; they stay open, new ones work
--   mute       the same for connections that have sent SUBSCRIBE
--   resume     end pause or cut
--   upstream PORT   forward new connections there
--   count      reply with the number of pairs
package.path = "tests/support/?.lua;" .. package.path
local socket = require "socket"

-- --- the program ---

local CHUNK, QUEUE_MAX = 65536, 1024 * 1024
local program = {delay = 0, pairs = {}, paused = false}

-- Binds the port without listening.
local function bind(port)
    local sock = assert(socket.tcp4())
    assert(sock:setoption("reuseaddr", true))
    assert(sock:bind("127.0.0.1", port))
    return sock, select(2, sock:getsockname())
end

function program.listen(self)
    if self.listener then return end
    self.listener = bind(self.port)
    assert(self.listener:listen(512))
    self.listener:settimeout(0)
end

local function reset(sock)
    sock:setoption("linger", {on = true, timeout = 0})
    sock:close()
end

function program.drop(self, pair)
    self.pairs[pair] = nil
    reset(pair[1].sock)
    reset(pair[2].sock)
end

function program.drop_all(self)
    for pair in pairs(self.pairs) do self:drop(pair) end
end

-- side.out: chunks to write to side.sock, oldest first.
local function new_side(sock)
    sock:settimeout(0)
    sock:setoption("tcp-nodelay", true)
    return {sock = sock, out = {}, bytes = 0}
end

function program.accept(self)
    local client = self.listener:accept()
    if not client then return end
    local server = socket.tcp4()
    server:settimeout(1)
    if server:connect("127.0.0.1", self.upstream) then
        self.pairs[{new_side(client), new_side(server)}] = true
    else
        server:close()
        reset(client)
    end
end

function program.receive(self, pair, from, to)
    local data, why, partial = from.sock:receive(CHUNK)
    data = data or partial
    pair.subscriber = pair.subscriber or data:find("SUBSCRIBE", 1, true)
    if #data > 0 and not pair.swallowed then
        to.out[#to.out + 1] = {due = socket.gettime() + self.delay, data = data}
        to.bytes = to.bytes + #data
    end
    if why == "closed" then
        pair.ending = true
        from.deaf = true
    end
end

local function flush(side, now)
    while side.out[1] and side.out[1].due <= now do
        local chunk = side.out[1]
        local last, why, partial = side.sock:send(chunk.data)
        last = last or partial
        side.bytes = side.bytes - last
        if last < #chunk.data then
            chunk.data = chunk.data:sub(last + 1)
            return why == "timeout"
        end
        table.remove(side.out, 1)
    end
    return true
end

local function is_due(side, now) return side.out[1] and side.out[1].due <= now end

-- Forwards the end of a side after all of its data.
function program.finish(self, pair, now)
    if not flush(pair[1], now) or not flush(pair[2], now) then
        self:drop(pair)
    elseif pair.ending and not pair[1].out[1] and not pair[2].out[1] then
        self.pairs[pair] = nil
        pair[1].sock:close()
        pair[2].sock:close()
    end
end

-- The sockets to wait for, and the timeout.
function program.interests(self, now)
    local readers, writers, timeout, owner = {self.control}, {}, 1, {}
    if self.paused then return readers, writers, timeout, owner end
    readers[2] = self.listener
    for pair in pairs(self.pairs) do
        for i, side in ipairs(pair) do
            local other = pair[3 - i]
            owner[side.sock] = {pair, side, other}
            if not side.deaf and other.bytes < QUEUE_MAX then readers[#readers + 1] = side.sock end
            if is_due(side, now) then
                writers[#writers + 1] = side.sock
            elseif side.out[1] then
                timeout = math.min(timeout, side.out[1].due - now)
            end
        end
    end
    return readers, writers, timeout, owner
end

local commands = {}

function commands.delay(self, ms) self.delay = tonumber(ms) / 1000 end

function commands.pause(self) self.paused = true end

function commands.cut(self)
    if self.listener then self.listener:close() end
    self.listener = nil
    self:drop_all()
end

function commands.drop(self) self:drop_all() end

function commands.swallow(self)
    for pair in pairs(self.pairs) do pair.swallowed = true end
end

function commands.mute(self)
    for pair in pairs(self.pairs) do pair.swallowed = pair.swallowed or pair.subscriber end
end

function commands.resume(self)
    self.paused = false
    self:listen()
end

function commands.upstream(self, port) self.upstream = math.tointeger(tonumber(port)) end

function commands.count(self)
    local n = 0
    for _ in pairs(self.pairs) do n = n + 1 end
    return n
end

-- False when the control connection is closed.
function program.obey(self)
    local line, why = self.control:receive "*l"
    if not line then return why == "timeout" end
    local name, argument = line:match "^(%a+) ?(%d*)$"
    self.control:send(tostring(commands[name](self, argument) or "ok") .. "\n")
    return true
end

function program.turn(self)
    local readers, writers, timeout, owner = self:interests(socket.gettime())
    local ready = socket.select(readers, writers, timeout)
    if ready[self.control] then return self:obey() end
    for _, sock in ipairs(ready) do
        if sock == self.listener then
            self:accept()
        elseif owner[sock] then
            self:receive(table.unpack(owner[sock]))
        end
    end
    if not self.paused then
        for pair in pairs(self.pairs) do self:finish(pair, socket.gettime()) end
    end
    return true
end

function program.main(self, upstream)
    self.upstream = upstream
    local placeholder, control, control_port
    placeholder, self.port = bind(0)
    control, control_port = bind(0)
    assert(control:listen(1))
    self:listen()
    io.stdout:write("ports ", self.port, " ", control_port, "\n")
    io.stdout:flush()
    self.control = assert(control:accept())
    control:close()
    self.control:settimeout(0.5)
    while self:turn() do end
    placeholder:close()
end

if arg and arg[0] and arg[0]:find "support/proxy%.lua$" then
    program:main(assert(math.tointeger(tonumber(arg[1])), "usage: proxy.lua PORT"))
    return
end

-- --- the handle ---

local process = require "process"
local tcp = require "tcp"
local wait = require "wait"

local proxy = {}
proxy.__index = proxy

local all = {}

-- Forwards to a local port; self.port is the port to connect to.
function proxy.start(upstream)
    local self = setmetatable({}, proxy)
    self.process = process.spawn {"lua5.4", "tests/support/proxy.lua", tostring(upstream)}
    all[self] = true
    local control = wait.till(function()
        assert(not self.process:status(), self.process:log())
        local port, control = self.process:log():match "ports (%d+) (%d+)\n"
        self.port = math.tointeger(tonumber(port))
        return control
    end, 10, "a proxy to start")
    self.control = assert(tcp.connect(math.tointeger(tonumber(control))))
    return self
end

function proxy:url() return "redis://127.0.0.1:" .. self.port end

function proxy:command(line)
    assert(self.control:send(line .. "\n"))
    local answer = self.control:read_till "\n"
    if not answer then error("the proxy ended: " .. self.process:log(), 2) end
    return answer
end

function proxy:pause() self:command "pause" end

function proxy:cut() self:command "cut" end

function proxy:drop() self:command "drop" end

function proxy:delay(ms) self:command("delay " .. ms) end

function proxy:swallow() self:command "swallow" end

function proxy:mute() self:command "mute" end

function proxy:resume() self:command "resume" end

-- Moves to another server: existing connections are reset.
function proxy:move(port)
    self:command("upstream " .. port)
    self:drop()
end

function proxy:count() return math.tointeger(tonumber(self:command "count")) end

function proxy:stop()
    if not all[self] then return end
    all[self] = nil
    self.control:close()
    local status, log = self.process:stop()
    assert(status == 0 or status == 143, log)
end

function proxy.stop_all()
    for p in pairs(all) do p:stop() end
end

return proxy
