-- A TCP (or unix) client with a buffer and deadlines: what HTTP, WebSocket and RESP clients share.
local socket = require "socket"

local tcp = {}
tcp.__index = tcp

tcp.TIMEOUT = 10

function tcp.connect(port, options)
    local sock = assert(socket.tcp4())
    if options and options.receive_buffer then
        assert(sock:setoption("recv-buffer-size", options.receive_buffer))
    end
    sock:settimeout(tcp.TIMEOUT)
    local ok, why = sock:connect("127.0.0.1", port)
    if not ok then
        sock:close()
        return nil, why
    end
    sock:setoption("tcp-nodelay", true)
    return setmetatable({sock = sock, buffer = ""}, tcp)
end

function tcp:send(bytes)
    local from, deadline = 1, socket.gettime() + tcp.TIMEOUT
    while from <= #bytes do
        self.sock:settimeout(math.max(deadline - socket.gettime(), 0))
        local last, why, partial = self.sock:send(bytes, from)
        if not last and why ~= "timeout" then return nil, why end
        from = (last or partial) + 1
        if why == "timeout" and socket.gettime() > deadline then return nil, "timeout" end
    end
    return true
end

-- Adds what is there to the buffer; waits for it until the deadline.
local function fill(self, deadline)
    local ready = socket.select({self.sock}, nil, math.max(deadline - socket.gettime(), 0))
    if not ready[1] then return nil, "timeout" end
    self.sock:settimeout(0)
    local data, why, partial = self.sock:receive(262144)
    data = data or partial or ""
    if #data > 0 then
        self.buffer = self.buffer .. data
        return true
    end
    return nil, why == "timeout" and "closed" or why
end

-- Exactly n bytes, or nil, "timeout" or "closed"; then nothing is taken.
function tcp:read(n, timeout)
    local deadline = socket.gettime() + (timeout or tcp.TIMEOUT)
    while #self.buffer < n do
        local ok, why = fill(self, deadline)
        if not ok then return nil, why end
    end
    local data = self.buffer:sub(1, n)
    self.buffer = self.buffer:sub(n + 1)
    return data
end

-- All before the mark, which is taken too.
function tcp:read_till(mark, timeout)
    local deadline = socket.gettime() + (timeout or tcp.TIMEOUT)
    while true do
        local from, to = self.buffer:find(mark, 1, true)
        if from then
            local data = self.buffer:sub(1, from - 1)
            self.buffer = self.buffer:sub(to + 1)
            return data
        end
        local ok, why = fill(self, deadline)
        if not ok then return nil, why end
    end
end

-- All until the other side closes.
function tcp:read_all(timeout)
    local deadline = socket.gettime() + (timeout or tcp.TIMEOUT)
    while true do
        local ok, why = fill(self, deadline)
        if not ok then
            local data = self.buffer
            self.buffer = ""
            if why == "timeout" then return nil, why, data end
            return data
        end
    end
end

function tcp:close()
    if self.sock then
        self.sock:shutdown "both"
        self.sock:close()
        self.sock = nil
    end
end

-- A port that nobody listens on at this moment.
function tcp.free_port()
    local s = assert(socket.bind("127.0.0.1", 0))
    local _, port = s:getsockname()
    s:close()
    return math.tointeger(tonumber(port))
end

return tcp
