-- A blocking WebSocket client that can also violate the protocol.
local deflate = require "deflate"
local http = require "http"
local tcp = require "tcp"
local wait = require "wait"

local ws = {}
ws.__index = ws

ws.CONTINUATION, ws.TEXT, ws.BINARY, ws.CLOSE, ws.PING, ws.PONG = 0, 1, 2, 8, 9, 10

local KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
local open = {}

local function mask(payload, key)
    if key == "\0\0\0\0" then return payload end
    local k = {key:byte(1, 4)}
    local parts = {}
    for from = 1, #payload, 4096 do
        local bytes = {payload:byte(from, from + 4095)}
        for i = 1, #bytes do bytes[i] = bytes[i] ~ k[(i - 1) % 4 + 1] end
        parts[#parts + 1] = string.char(table.unpack(bytes))
    end
    return table.concat(parts)
end

-- The bytes of a frame. options: fin, rsv, unmasked, length (a wrong one in the header).
function ws.frame(opcode, payload, options)
    options = options or {}
    payload = payload or ""
    local fin = options.fin == false and 0 or 0x80
    local flag = options.unmasked and 0 or 0x80
    local n = options.length or #payload
    local head
    if n < 126 then
        head = string.pack("BB", fin | (options.rsv or 0) << 4 | opcode, flag | n)
    elseif n < 65536 then
        head = string.pack(">BBI2", fin | (options.rsv or 0) << 4 | opcode, flag | 126, n)
    else
        head = string.pack(">BBI8", fin | (options.rsv or 0) << 4 | opcode, flag | 127, n)
    end
    if options.unmasked then return head .. payload end
    local key = #payload < 65536 and "\x37\xfa\x21\x3d" or "\0\0\0\0"
    return head .. key .. mask(payload, key)
end

function ws.request(path, headers)
    local lines = {
        "GET " .. path .. " HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " .. KEY,
    }
    for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- options: headers, behind (bytes to send in one write with the request), timeout, and those of
-- tcp.connect. Returns a client, or nil and the HTTP response.
function ws.try(port, path, options)
    options = options or {}
    local conn, broken = tcp.connect(port, options)
    if not conn then return nil, {status = 0, body = broken, headers = {}} end
    conn:send(ws.request(path or "/ws", options.headers) .. (options.behind or ""))
    local text, why = conn:read_till("\r\n\r\n", options.timeout)
    if not text then
        conn:close()
        return nil, {status = 0, body = why, headers = {}}
    end
    local head = http.parse_head(text)
    if head.status ~= 101 then
        head.body = conn:read(tonumber(head.headers["content-length"]) or 0) or ""
        conn:close()
        return nil, head
    end
    assert(head.headers["sec-websocket-accept"] == ACCEPT, "wrong Sec-WebSocket-Accept")
    local self = setmetatable({conn = conn, headers = head.headers, id = head.headers["bellhop-connection"]}, ws)
    local agreed = head.headers["sec-websocket-extensions"]
    self.inflate = agreed and deflate.inflater(agreed)
    open[self] = true
    return self
end

function ws.connect(port, path, options)
    local client, refusal = ws.try(port, path, options)
    if client then return client end
    error("no WebSocket: " .. refusal.status .. " " .. refusal.body, 2)
end

function ws:raw(bytes) return self.conn:send(bytes) end

function ws:send(opcode, payload, options) return self.conn:send(ws.frame(opcode, payload, options)) end

function ws:text(payload) return self:send(ws.TEXT, payload) end

function ws:binary(payload) return self:send(ws.BINARY, payload) end

-- {fin, opcode, payload}, with `deflated` (the compressed bytes) if it was compressed; or nil, "timeout"
-- or "closed".
function ws:recv_frame(timeout)
    local deadline = wait.now() + (timeout or tcp.TIMEOUT)
    local head, why = self.conn:read(2, deadline - wait.now())
    if not head then return nil, why end
    local first, second = head:byte(1, 2)
    assert(second < 128, "a server's frame is masked")
    assert(first & 0x70 == 0 or (self.inflate and first & 0x70 == 0x40), "reserved bits are set")
    local n = second
    if n > 125 then
        local size = n == 126 and 2 or 8
        local bytes
        bytes, why = self.conn:read(size, deadline - wait.now())
        if not bytes then return nil, why end
        n = string.unpack(">I" .. size, bytes)
    end
    local payload
    payload, why = self.conn:read(n, deadline - wait.now())
    if not payload then return nil, why end
    local frame = {fin = first >= 128, opcode = first & 15, payload = payload}
    if first & 0x40 ~= 0 then
        frame.deflated = n
        frame.payload = self.inflate(payload)
    end
    return frame
end

-- The next message: payload, "text" or "binary". Answers pings. At the end nil, "closed", code, reason
-- (no code without a close frame); or nil, "timeout".
function ws:recv(timeout)
    local deadline = wait.now() + (timeout or tcp.TIMEOUT)
    while true do
        local frame, why = self:recv_frame(deadline - wait.now())
        if not frame then return nil, why end
        if frame.opcode == ws.PING then
            self:send(ws.PONG, frame.payload)
        elseif frame.opcode == ws.CLOSE then
            local code = #frame.payload >= 2 and string.unpack(">I2", frame.payload) or 1005
            self:send(ws.CLOSE, frame.payload)
            return nil, "closed", code, frame.payload:sub(3)
        elseif frame.opcode ~= ws.PONG then
            assert(frame.fin, "the server fragmented a message")
            return frame.payload, frame.opcode == ws.TEXT and "text" or "binary"
        end
    end
end

-- The code and reason of the server's close frame; nil and why if there is none. Skips messages before
-- it.
function ws:recv_close(timeout)
    while true do
        local data, why, code, reason = self:recv(timeout)
        if not data then
            if why ~= "closed" then return nil, why end
            return code or "broken off", reason
        end
    end
end

function ws:drop()
    open[self] = nil
    self.conn:close()
end

-- Closes without a close frame, by RST.
function ws:reset()
    open[self] = nil
    self.conn:reset()
end

-- Starts the closing handshake; returns the code of the server's answer.
function ws:close(code, reason)
    self:send(ws.CLOSE, code and string.pack(">I2", code) .. (reason or "") or "")
    local answer = self:recv_close()
    self:drop()
    return answer
end

function ws.drop_all()
    for client in pairs(open) do client:drop() end
end

return ws
