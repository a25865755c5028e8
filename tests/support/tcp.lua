-- A TCP client with a buffer, deadlines and optional TLS, for the HTTP, WebSocket and RESP clients.
local socket = require "socket"

local tcp = {}
tcp.__index = tcp

tcp.TIMEOUT = 10

-- The errors of LuaSec for "timeout".
local WAITS = {timeout = true, wantread = true, wantwrite = true}

-- parameters: those of LuaSec, and sni. LuaSec is loaded only if used.
local function add_tls(sock, parameters)
    local all = {mode = "client", protocol = "any", verify = "none", options = {"all", "no_sslv3"}}
    for name, value in pairs(parameters) do all[name] = value end
    local secure = assert(require "ssl".wrap(sock, all))
    if parameters.sni then secure:sni(parameters.sni) end
    secure:settimeout(tcp.TIMEOUT)
    local ok, why = secure:dohandshake()
    if ok then return secure end
    secure:close()
    return nil, why
end

-- options: receive_buffer; from (source address, default 127.0.0.1); first (bytes to send before
-- everything else); tls (a table).
function tcp.connect(port, options)
    options = options or {}
    local sock = assert(socket.tcp4())
    if options.receive_buffer then assert(sock:setoption("recv-buffer-size", options.receive_buffer)) end
    if options.from then assert(sock:bind(options.from, 0)) end
    sock:settimeout(tcp.TIMEOUT)
    local ok, why = sock:connect("127.0.0.1", port)
    if not ok then
        sock:close()
        return nil, why
    end
    sock:setoption("tcp-nodelay", true)
    if options.first then sock:send(options.first) end
    if options.tls then
        sock, why = add_tls(sock, options.tls)
        if not sock then return nil, why end
    end
    return setmetatable({sock = sock, buffer = ""}, tcp)
end

function tcp:send(bytes)
    local from, deadline = 1, socket.gettime() + tcp.TIMEOUT
    while from <= #bytes do
        self.sock:settimeout(math.max(deadline - socket.gettime(), 0))
        local last, why, partial = self.sock:send(bytes, from)
        if not last and not WAITS[why] then return nil, why end
        from = (last or partial) + 1
        if WAITS[why] and socket.gettime() > deadline then return nil, "timeout" end
    end
    return true
end

-- Reads into the buffer; waits for data until the deadline. A TLS record may hold no data.
local function fill(self, deadline)
    while true do
        local ready = socket.select({self.sock}, nil, math.max(deadline - socket.gettime(), 0))
        if not ready[1] then return nil, "timeout" end
        self.sock:settimeout(0)
        local data, why, partial = self.sock:receive(262144)
        data = data or partial or ""
        if #data > 0 then
            self.buffer = self.buffer .. data
            return true
        end
        if not WAITS[why] then return nil, why end
    end
end

-- Exactly n bytes; or nil, "timeout" or "closed", and the buffer keeps its bytes.
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

-- The bytes before the mark; the mark is consumed.
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

-- All bytes until the other side closes.
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
    if not self.sock then return end
    if self.sock.shutdown then self.sock:shutdown "both" end
    self.sock:close()
    self.sock = nil
end

-- Closes with a RST instead of a FIN. (Not with TLS, whose library sends close_notify.)
function tcp:reset()
    assert(self.sock:setoption("linger", {on = true, timeout = 0}))
    self.sock:close()
    self.sock = nil
end

-- A port that is free at this moment.
function tcp.free_port()
    local s = assert(socket.bind("127.0.0.1", 0))
    local _, port = s:getsockname()
    s:close()
    return math.tointeger(tonumber(port))
end

local BUS = 10000 -- nodes of a Redis Cluster listen on ports that are higher by this, too
local HIGHEST = 65535

local function is_free(port)
    local server = port <= HIGHEST and socket.bind("127.0.0.1", port)
    if server then server:close() end
    return server
end

-- The first of ten free ports in a row that ends with 0; each may be that of a node of a Redis Cluster.
function tcp.ten_free_ports()
    while true do
        local first = tcp.free_port() // 10 * 10
        local free = true
        for port = first, first + 9 do free = free and is_free(port) and is_free(port + BUS) end
        if free then return first end
    end
end

return tcp
