-- A client that resumes, over server-sent events or a WebSocket with format=json; or a raw WebSocket, which
-- does not. It remembers nothing but its last id, comes back by itself, and records everything for check.lua
-- in `events`:
--   {kind = "open", since = id or nil}        a connection is being made
--   {kind = "first", recovered = bool, id}    format=json
--   {kind = "id", id}
--   {kind = "message", topic, id, data}       topic nil over SSE; id nil without a position; raw: data alone
--   {kind = "gap", topic, id, reason}
--   {kind = "rewound", topic, id}             id nil over format=json
local deflate = require "deflate"
local http = require "http"
local loop = require "streams.loop"
local ws = require "ws"

local client = {}
client.__index = client

local PATHS = {sse = "/sse?", json = "/ws?format=json&", raw = "/ws?"}
local RETRY = 0.05      -- seconds until it comes back
local PATIENCE = 4      -- for the head of the answer

-- options: name, protocol ("sse", "json" or "raw"), query ("user=42&topic=news"), streams (names of the topics
-- with history that it is in), tags (name -> value), ports (a function: those of the instances that it
-- may use), headers (name -> value), receive_buffer, patience, deflate (true: it accepts compression).
function client.new(options)
    local self = setmetatable({events = {}, errors = {}, due = 0, wanted = true, sessions = 0}, client)
    for name, value in pairs(options) do self[name] = value end
    return self
end

function client:add_error(...)
    if #self.errors < 20 then self.errors[#self.errors + 1] = string.format(...) end
end

local function record(self, event)
    self.events[#self.events + 1] = event
    if event.id then self.last_id = event.id end
end

-- --- going and coming ---

function client:open(port)
    local path = PATHS[self.protocol] .. self.query
    local headers = {}
    for name, value in pairs(self.headers or {}) do headers[name] = value end
    -- Half of the SSE clients do as EventSource does; a new one has no header.
    if self.last_id and self.protocol == "sse" and self.sessions % 2 == 0 then
        headers["Last-Event-ID"] = self.last_id
    elseif self.last_id then
        path = path .. "&since=" .. self.last_id
    end
    self.sessions, self.port, self.state, self.since = self.sessions + 1, port, "head", self.last_id
    self.buffer, self.gunzip, self.is_open = "", nil, false
    self.deadline = require "wait".now() + (self.patience or PATIENCE)
    record(self, {kind = "open", since = self.last_id, after_cut = self.was_cut})
    self.was_cut = nil
    loop.connect(self, port, self.receive_buffer)
    if self.protocol == "sse" then
        headers.Accept = "text/event-stream"
        headers["Accept-Encoding"] = self.deflate and "gzip" or nil
        loop.write(self, http.format("GET", path, {headers = headers}))
    else
        headers["Sec-WebSocket-Extensions"] = self.deflate and "permessage-deflate" or nil
        loop.write(self, ws.request(path, headers))
    end
end

-- The next instance, which is chosen by `pick` (n -> 1 to n).
function client:come(pick)
    local ports = self.ports()
    if #ports > 0 then self:open(ports[pick(#ports)]) end
end

-- how: "fin", "reset", or "close" (with a close frame). It stays away until `wanted` is set again.
function client:leave(how)
    self.wanted, self.is_open, self.was_cut = false, false, true
    if self.sock and how == "close" and self.protocol ~= "sse" and self.state == "stream" then
        self.sock:send(ws.frame(ws.CLOSE, "\3\xe8"))
    end
    loop.close(self, how == "reset")
end

-- It leaves in the middle of what comes, after so many bytes.
function client:cut(bytes) self.cut_at = bytes end

function client:tick(now)
    if self.sock and self.state == "head" and now > self.deadline then
        loop.close(self)
        self:broken "no answer"
    end
    if not self.sock and self.wanted and now >= self.due and self.pick then self:come(self.pick) end
end

function client:broken()
    self.is_open = false
    self.due = require "wait".now() + RETRY
end

local function refused(self, status, body)
    -- 4xx is about the client and does not pass; a browser gets no status of a WebSocket.
    if status >= 400 and status < 500 and status ~= 429 then
        self:add_error("%s is refused: %d %s", self.name, status, body)
        self.wanted = false
    end
    self.refusal = status
    loop.close(self)
    self:broken()
end

-- --- SSE ---

local sse = {}

local function finish_sse(self, event)
    local id = event.id
    if event.event == "gap" then
        record(self, {kind = "gap", topic = event.data, id = id})
    elseif event.event == "rewind" then
        record(self, {kind = "rewound", topic = event.data, id = id})
    elseif event.event == "close" then
        self.closed = event.data
    elseif event.data then
        record(self, {kind = "message", id = id, data = event.data, binary = event.event == "binary"})
    elseif id then
        record(self, {kind = "id", id = id})
    end
    self.is_open = self.is_open or id ~= nil
end

local function take_block(self, block)
    local event = {}
    for line in block:gmatch "[^\n]+" do
        local name, value = line:match "^(%w*): ?(.*)$"
        if name == "data" then
            event.data = event.data and event.data .. "\n" .. value or value
        elseif name == "id" or name == "event" then
            event[name] = value
        elseif name ~= "retry" and name ~= "" then
            self:add_error("%s: a strange line: %s", self.name, line)
        end
    end
    finish_sse(self, event)
end

function sse.stream(self)
    local from = 1
    while true do
        local to = self.buffer:find("\n\n", from, true)
        if not to then break end
        take_block(self, self.buffer:sub(from, to))
        from = to + 2
    end
    self.buffer = self.buffer:sub(from)
end

function sse.accepted(head)
    return head.status == 200, head.headers["content-type"]
end

-- --- format=json ---

local json = {}

-- The value of a name in an object that is written by bellhop: its own names come before `data`.
local function text_of(frame, name) return frame:match('^[^{]*{.-"' .. name .. '":"([^"]*)"') end

local function take_frame(self, frame)
    local head, data = frame:match '^({.-)"data":(.*)}$'
    head = head or frame
    local id = text_of(head, "id")
    local recovered = head:match '^{"recovered":(%l+)'
    if recovered then
        record(self, {kind = "first", recovered = recovered == "true", id = id})
        self.is_open = true
    elseif data then
        record(self, {kind = "message", topic = text_of(head, "topic"), id = id, data = data})
    elseif text_of(head, "gap") then
        record(self, {kind = "gap", topic = text_of(head, "gap"), id = id, reason = text_of(head, "reason")})
    elseif text_of(head, "rewound") then
        record(self, {kind = "rewound", topic = text_of(head, "rewound"), id = id})
    elseif id then
        record(self, {kind = "id", id = id})
    else
        self:add_error("%s: a strange frame: %s", self.name, frame)
    end
end

-- first byte, payload, rest of the buffer; nil: not whole yet.
local function next_frame(buffer)
    if #buffer < 2 then return nil end
    local first, n = buffer:byte(1, 2)
    local from = 3
    if n >= 126 then
        local size = n == 126 and 2 or 8
        if #buffer < 2 + size then return nil end
        n, from = string.unpack(">I" .. size, buffer, 3), 3 + size
    end
    if #buffer < from + n - 1 then return nil end
    return first, buffer:sub(from, from + n - 1), from + n
end

function json.stream(self, take)
    take = take or take_frame
    local buffer, at = self.buffer, 1
    while self.sock do
        local first, payload, after = next_frame(at == 1 and buffer or buffer:sub(at, at + 65600))
        if not first and at > 1 then -- a large frame
            buffer, at = buffer:sub(at), 1
            first, payload, after = next_frame(buffer)
        end
        if not first then break end
        at = at + after - 1
        local opcode = first & 15
        if first & 0x40 ~= 0 then payload = self.inflate(payload) end
        if opcode == ws.TEXT then
            take(self, payload)
        elseif opcode == ws.PING then
            loop.write(self, ws.frame(ws.PONG, payload))
        elseif opcode == ws.CLOSE then
            self.closed = #payload >= 2 and string.unpack(">I2", payload) or 1005
            loop.close(self)
            self:broken()
        end
    end
    self.buffer = buffer:sub(at)
end

function json.accepted(head)
    return head.status == 101, true
end

local raw = {}

local function take_raw(self, payload) record(self, {kind = "message", data = payload}) end

function raw.stream(self) json.stream(self, take_raw) end

function raw.accepted(head) return head.status == 101, true end

local protocols = {sse = sse, json = json, raw = raw}

-- --- receiving ---

local function receive_head(self)
    local from, to = self.buffer:find("\r\n\r\n", 1, true)
    if not from then return end
    local head = http.parse_head(self.buffer:sub(1, from - 1))
    self.buffer = self.buffer:sub(to + 1)
    local ok, typed = protocols[self.protocol].accepted(head)
    if not ok then return refused(self, head.status, self.buffer) end
    if not typed then self:add_error("%s: no content type", self.name) end
    self.state, self.head = "stream", head
    self.is_open = self.protocol == "raw"
    local agreed = head.headers["sec-websocket-extensions"]
    self.inflate = agreed and deflate.inflater(agreed)
    if head.headers["content-encoding"] == "gzip" then
        self.gunzip = require "zlib".inflate(31)
        self.buffer = self.buffer ~= "" and self.gunzip(self.buffer) or ""
    end
end

function client:receive(bytes)
    local cut = self.cut_at and #bytes >= self.cut_at
    if self.cut_at then
        bytes = bytes:sub(1, self.cut_at)
        self.cut_at = self.cut_at - #bytes
    end
    if self.gunzip then bytes = self.gunzip(bytes) end
    self.buffer = self.buffer .. bytes
    if self.state == "head" then receive_head(self) end
    if self.sock and self.state == "stream" then protocols[self.protocol].stream(self) end
    if cut then
        self.cut_at, self.was_cut = nil, true
        loop.close(self, true)
        self:broken()
    end
end

return client
