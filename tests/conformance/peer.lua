-- A WebSocket client that checks every received byte and can send anything. It is written from RFC 6455
-- and RFC 7692 alone and shares no code with the server.
--
-- Every violation by the server raises an error. Only expected bytes are read, so an extra frame is
-- found at the latest when the end of the connection is checked.
local extensions = require "extensions"
local socket = require "socket"
local zlib = require "zlib"

local peer = {}
peer.__index = peer

peer.CONTINUATION, peer.TEXT, peer.BINARY, peer.CLOSE, peer.PING, peer.PONG = 0, 1, 2, 8, 9, 10

local TIMEOUT = 40
local KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
local NO_MASK = "\0\0\0\0"
local MASKED_MAX = 4096 -- masking is slow in Lua: what is longer goes with a key of zeroes
local TAIL = "\0\0\xff\xff"
local NAMES = {[0] = "continuation", "text", "binary", [8] = "close", [9] = "ping", [10] = "pong"}

local function fail(format, ...) error(format:format(...), 0) end

local function brief(bytes)
    return #bytes <= 80 and ("%q"):format(bytes) or ("%d bytes %q..."):format(#bytes, bytes:sub(1, 40))
end

-- --- sending ---

local function mask(payload, key)
    if key == NO_MASK then return payload end
    local pack, unpack, parts = string.pack, string.unpack, {}
    local word, padded = unpack("<i8", key .. key), payload .. ("\0"):rep(-#payload % 8)
    for from = 1, #padded, 8 do parts[#parts + 1] = pack("<i8", unpack("<i8", padded, from) ~ word) end
    return table.concat(parts):sub(1, #payload)
end

-- The bytes of a frame. options: fin, rsv (0..7), key (4 bytes; random for short payloads), length (in
-- the header, if more payload follows).
function peer.frame(opcode, payload, options)
    options = options or {}
    local first = (options.fin == false and 0 or 0x80) | (options.rsv or 0) << 4 | opcode
    local key = options.key or (#payload > MASKED_MAX and NO_MASK) or string.pack("<I4", math.random(0, 0xffffffff))
    local n, head = options.length or #payload
    if n < 126 then
        head = string.pack("BB", first, 0x80 | n)
    elseif n < 65536 then
        head = string.pack(">BBI2", first, 0x80 | 126, n)
    else
        head = string.pack(">BBI8", first, 0x80 | 127, n)
    end
    return head .. key .. mask(payload, key)
end

-- A message of frames with these payloads. rsv: of its first frame.
function peer.fragments(opcode, payloads, rsv)
    local frames = {}
    for i, payload in ipairs(payloads) do
        frames[i] = peer.frame(i == 1 and opcode or peer.CONTINUATION, payload,
            {fin = i == #payloads, rsv = i == 1 and rsv or 0})
    end
    return table.concat(frames)
end

function peer.close_payload(code, reason) return code and string.pack(">I2", code) .. (reason or "") or "" end

function peer.close_frame(code, reason) return peer.frame(peer.CLOSE, peer.close_payload(code, reason)) end

-- Pieces of n bytes (0: one piece), at least one.
function peer.cut(bytes, n)
    local pieces = {}
    if n == 0 then n = math.max(#bytes, 1) end
    for from = 1, math.max(#bytes, 1), n do pieces[#pieces + 1] = bytes:sub(from, from + n - 1) end
    return pieces
end

-- Sends in writes of `chop` bytes. A server that closes the connection must still read until the client
-- closes, so that sending does not fail.
function peer:send(bytes, chop)
    chop = chop or math.max(#bytes, 1)
    for from = 1, #bytes, chop do
        local to, at = math.min(from + chop - 1, #bytes), from
        while at <= to do
            local last, why, partial = self.sock:send(bytes, at, to)
            if not last and (why ~= "timeout" or partial < at) then fail("sending: %s", why) end
            at = (last or partial) + 1
        end
    end
end

function peer:text(payload) self:send(peer.frame(peer.TEXT, payload)) end

function peer:ping(payload) self:send(peer.frame(peer.PING, payload)) end

-- --- compression ---

local function deflater(bits) return zlib.deflate(6, -bits) end

-- The payload of a compressed message in pieces: the output for each `fragment` bytes of input.
function peer:deflate(payload, fragment)
    if payload == "" then return {"\0"} end
    local agreed = self.deflating
    local d = self.deflater or deflater(agreed.client_bits)
    local pieces = peer.cut(payload, fragment or 0)
    for i, piece in ipairs(pieces) do
        pieces[i] = i < #pieces and d(piece) or d(piece, "sync"):sub(1, -#TAIL - 1)
    end
    if agreed.client_takeover then self.deflater = d else d("", "finish") end -- which frees it
    return pieces
end

function peer:inflate(payload)
    local agreed = self.deflating
    local i = agreed.server_takeover and self.inflater or zlib.inflate(-agreed.server_bits)
    local ok, data, eof = pcall(i, payload .. TAIL)
    if not ok then fail("the server's message does not inflate: %s", data) end
    if eof then fail "the message ends the DEFLATE stream" end
    self.inflater = agreed.server_takeover and i or nil
    return data
end

-- The bytes of a message, compressed if negotiated, in frames of `fragment` bytes before compression
-- (0 or nil: one frame).
function peer:message(opcode, payload, fragment)
    if not self.deflating then return peer.fragments(opcode, peer.cut(payload, fragment or 0)) end
    return peer.fragments(opcode, self:deflate(payload, fragment), 4)
end

-- --- receiving ---

function peer:read(n)
    if n == 0 then return "" end
    local bytes, why = self.sock:receive(n)
    if not bytes then return nil, why == "timeout" and "nothing" or "the end of the connection" end
    return bytes
end

local function read_length(self, short)
    if short < 126 then return short end
    local size = short == 126 and 2 or 8
    local bytes, why = self:read(size)
    if not bytes then return nil, why end
    local n = string.unpack(">I" .. size, bytes)
    if n < (size == 2 and 126 or 65536) then fail("a length of %d in %d bytes", n, size) end
    return n
end

local function check_header(self, first, second)
    local opcode, rsv = first & 15, first >> 4 & 7
    if not NAMES[opcode] or opcode == 0 then fail("the server sends opcode %d", opcode) end
    if second >= 128 then fail "masked frame from the server" end
    if first < 128 then fail "fragmented message from the server" end
    if opcode >= 8 and second > 125 then fail "control frame over 125 bytes from the server" end
    if rsv ~= 0 and not (rsv == 4 and self.deflating and opcode < 8) then
        fail("reserved bits %d in a %s frame from the server", rsv, NAMES[opcode])
    end
    return opcode, rsv
end

-- {opcode, payload, wire (the payload before inflating), compressed}; or nil and the reason.
function peer:receive()
    local head, why = self:read(2)
    if not head then return nil, why end
    local opcode, rsv = check_header(self, head:byte(1, 2))
    local n
    n, why = read_length(self, head:byte(2))
    local payload
    if n then payload, why = self:read(n) end
    if not payload then fail("%s inside a %s frame", why, NAMES[opcode]) end
    local frame = {opcode = opcode, payload = payload, wire = payload, compressed = rsv == 4}
    if frame.compressed then frame.payload = self:inflate(payload) end
    return frame
end

local function describe(frame)
    if frame.opcode == peer.CLOSE and #frame.payload >= 2 then
        return ("close %d %q"):format(string.unpack(">I2", frame.payload), frame.payload:sub(3))
    end
    return NAMES[frame.opcode] .. " " .. brief(frame.payload)
end

-- Requires exactly this frame next, and returns it.
function peer:expect(opcode, payload)
    local frame, why = self:receive()
    if not frame or frame.opcode ~= opcode or frame.payload ~= payload then
        fail("expected %s, got %s", describe {opcode = opcode, payload = payload}, frame and describe(frame) or why)
    end
    return frame
end

-- Requires the end of the connection: no more bytes, and no reset.
function peer:expect_end()
    if not socket.select({self.sock}, nil, TIMEOUT)[1] then fail "the server did not close the connection" end
    if self.sock:getoption "error" then fail "the server reset the connection" end
    local extra, why = self.sock:receive(1)
    if extra then fail("behind the close frame comes byte 0x%02x", extra:byte()) end
    if why ~= "closed" then fail("instead of its end the connection has: %s", why) end
    self:drop()
end

-- Requires a close frame with this code (nil: without one) and a reason in UTF-8.
function peer:expect_close(code)
    local frame, why = self:receive()
    if not frame or frame.opcode ~= peer.CLOSE then
        fail("expected close %s, got %s", code or "without a code", frame and describe(frame) or why)
    end
    if #frame.payload == 1 then fail "close frame with one byte" end
    local got = #frame.payload > 0 and string.unpack(">I2", frame.payload) or nil
    if got ~= code then fail("expected close %s, got %s", code or "without a code", describe(frame)) end
    if not utf8.len(frame.payload:sub(3)) then fail "the reason of a close frame is not UTF-8" end
    return frame
end

-- Requires that the server fails the connection: its close frame, our answer, the end.
function peer:fails(code)
    self:expect_close(code)
    self:send(peer.close_frame(code))
    self:expect_end()
end

-- After our close frame was sent: requires the answer and the end.
function peer:closes(code)
    self:expect_close(code)
    self:expect_end()
end

function peer:close(code, reason)
    self:send(peer.close_frame(code, reason))
    self:closes(code)
end

function peer:drop()
    if self.sock then self.sock:close() end
    self.sock = nil
end

-- --- opening ---

local function read_head(sock)
    local status = sock:receive "*l"
    if not status then fail "no answer to the upgrade request" end
    if not status:find "^HTTP/1%.1 101 " then fail("the upgrade is refused: %s", status) end
    local headers = {}
    for line in function() return sock:receive "*l" end do
        if line == "" then return headers end
        local name, value = line:match "^([^:%s]+):[ \t]*(.-)[ \t]*$"
        if not name then fail("a malformed header: %q", line) end
        name = name:lower()
        if headers[name] then fail("a header twice: %s", name) end
        headers[name] = value
    end
    fail "incomplete answer to the upgrade request"
end

local function check_head(self, headers, offer)
    if headers.upgrade:lower() ~= "websocket" then fail "wrong Upgrade header" end
    if headers.connection:lower() ~= "upgrade" then fail "wrong Connection header" end
    if headers["sec-websocket-accept"] ~= ACCEPT then fail "wrong Sec-WebSocket-Accept" end
    if headers["sec-websocket-protocol"] then fail "unrequested subprotocol" end
    self.answer = headers["sec-websocket-extensions"]
    if self.answer and not offer then fail("extensions that nobody has offered: %s", self.answer) end
    self.deflating = self.answer and extensions.agree(offer, self.answer)
end

-- offer: the value of Sec-WebSocket-Extensions. Raises unless the answer is legal.
function peer.connect(port, offer)
    local sock = assert(socket.tcp4())
    sock:settimeout(TIMEOUT)
    local ok, why = sock:connect("127.0.0.1", port)
    if not ok then fail("connecting: %s", why) end
    sock:setoption("tcp-nodelay", true)
    local self = setmetatable({sock = sock}, peer)
    self:send(table.concat({
        "GET /ws HTTP/1.1", "Host: 127.0.0.1:" .. port, "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " .. KEY,
        offer and "Sec-WebSocket-Extensions: " .. offer,
    }, "\r\n") .. "\r\n\r\n")
    check_head(self, read_head(sock), offer)
    return self
end

return peer
