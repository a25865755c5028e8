-- A client of server-sent events (HTML standard, 9.2), over raw HTTP.
local http = require "http"

local sse = {}
local link = {}
link.__index = link

local open = {}

-- options: of http.request, and last_id (Last-Event-ID). A link with the parsed `head`; or nil and the answer, when it is
-- not an endless one: a refusal, or `retry` alone.
function sse.open(port, path, options)
    options = options or {}
    local headers = {Accept = "text/event-stream", ["Last-Event-ID"] = options.last_id}
    for name, value in pairs(options.headers or {}) do headers[name] = value end
    local session = assert(http.open(port, options))
    session:send(http.format("GET", path, {headers = headers}))
    local text = assert(session.conn:read_till("\r\n\r\n", options.timeout))
    local head = http.parse_head(text)
    local length = tonumber(head.headers["content-length"])
    if length then
        head.body = session.conn:read(length)
        session:close()
        return nil, head
    end
    local self = setmetatable({session = session, head = head, id = options.last_id, early = {}}, link)
    if head.headers["content-encoding"] == "gzip" then
        self.text, self.inflate = "", require "zlib".inflate(31)
    end
    open[self] = true
    return self
end

-- The text up to an empty line.
local function read_block(self, timeout)
    local conn = self.session.conn
    if not self.inflate then return conn:read_till("\n\n", timeout) end
    while true do
        local from, to = self.text:find("\n\n", 1, true)
        if from then
            local text = self.text:sub(1, from - 1)
            self.text = self.text:sub(to + 1)
            return text
        end
        local byte, why = conn:read(1, timeout)
        if not byte then return nil, why end
        self.text = self.text .. self.inflate(byte .. conn.buffer)
        conn.buffer = ""
    end
end

-- One block: its fields; data of several lines is joined. nil and why at the end.
function link:block(timeout)
    local text, why = read_block(self, timeout)
    if not text then return nil, why end
    local block = {}
    for line in (text .. "\n"):gmatch "(.-)\n" do
        local name, value = line:match "^([^:]*): ?(.*)$"
        if name == "data" and block.data then value = block.data .. "\n" .. value end
        block[name] = value
    end
    self.id = block.id or self.id
    self.retry = block.retry or self.retry
    return block
end

function link:event_of(block)
    return {data = block.data, event = block.event or "message", id = self.id}
end

-- The next event with data, as EventSource dispatches it.
function link:event(timeout)
    if self.early[1] then return table.remove(self.early, 1) end
    repeat
        local block, why = self:block(timeout)
        if not block then return nil, why end
        if block.data then return self:event_of(block) end
    until false
end

-- The data of the next message.
function link:message(timeout)
    local event, why = self:event(timeout)
    if not event then return nil, why end
    assert(event.event == "message", event.event)
    return event.data
end

-- Reads until there is an id of this connection, and keeps the events until then.
function link:wait_open(timeout)
    local block
    repeat
        block = assert(self:block(timeout))
        if block.data then self.early[#self.early + 1] = self:event_of(block) end
    until block.id
    return self
end

function sse.connect(port, path, options)
    local self, answer = sse.open(port, path, options)
    if not self then error(path .. ": " .. answer.status .. " " .. answer.body, 2) end
    return self:wait_open()
end

-- Waits for the end; the events until then.
function link:read_all(timeout)
    local events = {}
    while true do
        local event, why = self:event(timeout)
        if not event then
            assert(why == "closed", why)
            self:drop()
            return events
        end
        events[#events + 1] = event
    end
end

function link:drop()
    open[self] = nil
    self.session:close()
end

function sse.drop_all()
    for self in pairs(open) do self:drop() end
end

return sse
