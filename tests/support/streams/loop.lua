-- Many sockets in one process: clients and publishers of streams share one select.
--
-- An owner of a socket has `sock`, `out` (bytes to write, maybe ""), and the methods
--   receive(bytes)   something has come; "" never
--   broken(why)      the connection ended, or could not be opened; `sock` is closed already
--   tick(now)        called in each turn
-- It may set `deaf` to read nothing for a while.
local socket = require "socket"

local loop = {}
loop.__index = loop

local CHUNK = 65536

function loop.new()
    return setmetatable({owners = {}}, loop)
end

function loop:add(owner)
    owner.out = ""
    self.owners[#self.owners + 1] = owner
    return owner
end

-- Starts to connect; what is written meanwhile is sent then. receive_buffer: bytes, or nil.
function loop.connect(owner, port, receive_buffer)
    owner.sock = assert(socket.tcp4())
    owner.sock:settimeout(0)
    if receive_buffer then assert(owner.sock:setoption("recv-buffer-size", receive_buffer)) end
    owner.sock:connect("127.0.0.1", port)
    owner.sock:setoption("tcp-nodelay", true)
    owner.out = ""
end

function loop.write(owner, bytes) owner.out = owner.out .. bytes end

-- reset: with an RST instead of a FIN.
function loop.close(owner, reset)
    if not owner.sock then return end
    if reset then owner.sock:setoption("linger", {on = true, timeout = 0}) end
    owner.sock:close()
    owner.sock, owner.out = nil, ""
end

local function fail(owner, why)
    loop.close(owner)
    owner:broken(why)
end

local function flush(owner)
    local last, why, partial = owner.sock:send(owner.out)
    owner.out = owner.out:sub((last or partial) + 1)
    if not last and why ~= "timeout" then fail(owner, why) end
end

local function read(owner)
    local data, why, partial = owner.sock:receive(CHUNK)
    data = data or partial
    if #data > 0 then owner:receive(data) end
    if why and why ~= "timeout" and owner.sock then fail(owner, why) end
end

-- One turn: waits for something to happen, at most `seconds`.
function loop:turn(seconds)
    local readers, writers, owner_of = {}, {}, {}
    local now = socket.gettime()
    for _, owner in ipairs(self.owners) do
        owner:tick(now)
        if owner.sock then
            owner_of[owner.sock] = owner
            if not owner.deaf then readers[#readers + 1] = owner.sock end
            if owner.out ~= "" then writers[#writers + 1] = owner.sock end
        end
    end
    local readable, writable = socket.select(readers, writers, seconds)
    for _, sock in ipairs(writable) do
        if owner_of[sock].sock == sock and owner_of[sock].out ~= "" then flush(owner_of[sock]) end
    end
    for _, sock in ipairs(readable) do
        if owner_of[sock].sock == sock then read(owner_of[sock]) end
    end
end

function loop:close_all()
    for _, owner in ipairs(self.owners) do loop.close(owner) end
end

return loop
