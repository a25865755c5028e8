-- A publisher that keeps going during a fault. It sends one message at a time and repeats it with its
-- id until it was accepted; what was accepted is written down with its position.
--
-- By HTTP (an instance may be gone or hang: then another one is asked), or as a plain backend, by FCALL.
local http = require "http"
local loop = require "streams.loop"
local resume = require "streams.resume"
local wait = require "wait"

local publisher = {}
publisher.__index = publisher

local RETRY = 0.05
local PATIENCE = 2 -- seconds for an answer; then the message is sent again

-- options: log (shared: a list of records, by number), target (a function: {path, channel, topic, query}
-- of the next message), ports (a function), plain (a function: the port of the Redis of a target; nil: by HTTP),
-- interval (seconds between its messages), patience.
--
-- A record: {n, id, topic, payload, filter, live, optional, tries, position, known}; position nil: not
-- accepted. live: without history. optional: it may be replaced, expire or be removed.
function publisher.new(options)
    local self = setmetatable({due = 0, errors = {}, refused = 0, sending = true}, publisher)
    for name, value in pairs(options) do self[name] = value end
    return self
end

function publisher:add_error(...)
    if #self.errors < 20 then self.errors[#self.errors + 1] = string.format(...) end
end

local prefix = ("%x"):format(math.floor(wait.now() * 1000) % 0xffffff)

local function new_record(self)
    local target = self.target()
    local n = #self.log + 1
    local record = {
        n = n, id = ("s%s-%d"):format(prefix, n), topic = target.topic, target = target, filter = target.filter,
        payload = ('{"topic":"%s","n":%d%s}'):format(target.topic, n, target.padding and ',"pad":"'
            .. target.padding .. '"' or ""),
        live = target.live, optional = target.optional, tries = 0, plain = self.plain ~= nil,
    }
    self.log[n] = record
    return record
end

-- The number of a message, from its payload.
function publisher.number(payload) return math.tointeger(tonumber(payload:match '"n":(%d+)')) end

local function resp(...)
    local words, parts = {...}, {}
    parts[1] = "*" .. #words .. "\r\n"
    for _, word in ipairs(words) do parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n" end
    return table.concat(parts)
end

local function request(self, record)
    local target = record.target
    if self.plain then
        local key = "{" .. target.channel .. "}"
        return resp("FCALL", "bellhop_publish", "2", key .. ":log", key .. ":m", record.payload, "ID", record.id)
    end
    local query = "?id=" .. record.id .. (target.query and "&" .. target.query or "")
    local path = "/api/" .. target.path .. (target.path == "broadcast" and "" or "/messages") .. query
    return http.format("POST", path, {body = record.payload})
end

local function next_port(self)
    if self.plain then return self.plain(self.record.target) end
    local ports = self.ports()
    self.at = (self.at or self.first or 0) % math.max(#ports, 1) + 1
    return ports[self.at]
end

-- The answer is lost: the message is sent again, by another instance.
local function give_up(self)
    loop.close(self)
    self.waiting, self.due = false, wait.now() + RETRY
end

function publisher:broken() give_up(self) end

function publisher:tick(now)
    if self.waiting then
        if now > self.deadline then give_up(self) end
        return
    end
    if now < self.due or self.paused or not (self.record or self.sending) then return end
    self.record = self.record or new_record(self)
    local port = (self.plain or not self.sock) and next_port(self) or self.port
    if not port then return end
    if self.sock and port ~= self.port then loop.close(self) end
    if not self.sock then
        self.port, self.buffer = port, ""
        loop.connect(self, port)
    end
    self.record.tries = self.record.tries + 1
    self.waiting, self.deadline = true, now + (self.patience or PATIENCE)
    loop.write(self, request(self, self.record))
end

local function accepted(self, position, known)
    local record = self.record
    record.position, record.known, record.accepted_at = position, known, wait.now()
    self.record = nil
end

-- --- answers ---

local function http_answer(self)
    local from, to = self.buffer:find("\r\n\r\n", 1, true)
    if not from then return nil end
    local head = http.parse_head(self.buffer:sub(1, from - 1))
    local size = tonumber(head.headers["content-length"]) or 0
    if #self.buffer < to + size then return nil end
    head.body = self.buffer:sub(to + 1, to + size)
    self.buffer = self.buffer:sub(to + size + 1)
    return head
end

local function take_http(self, answer)
    local position = resume.position(answer.body:match '"position":"([^"]*)"')
    if answer.status == 200 and self.record.live then
        self.record.accepted = true
        return accepted(self, position, false)
    end
    if answer.status == 200 and position then
        if not answer.body:find('"strategy":"durable"', 1, true) then
            self:add_error("%s: no durable strategy: %s", self.record.id, answer.body)
        end
        return accepted(self, position, answer.body:find '"duplicate":true' ~= nil)
    end
    self.refused = self.refused + 1
    if answer.status ~= 503 then
        self:add_error("%s is answered by %d %s", self.record.id, answer.status, answer.body)
    end
end

-- A reply of Redis: four integers, or an error.
local function plain_answer(self)
    if self.buffer:match "^%-[^\r]*\r\n$" then
        local why = self.buffer:sub(2, -3)
        self.buffer = ""
        return {why = why}
    end
    local numbers = {self.buffer:match "^%*4\r\n:(%d+)\r\n:(%d+)\r\n:(%d+)\r\n:(%d+)\r\n$"}
    if #numbers < 4 then return nil end
    self.buffer = ""
    for i = 1, 4 do numbers[i] = math.tointeger(tonumber(numbers[i])) end
    return numbers
end

-- Errors of a Redis that starts, or is a replica, or has lost its functions, or whose slots move.
local PASSING = {"^LOADING", "^READONLY", "^MASTERDOWN", "^NOREPLICAS", "Function not found", "^BUSY", "^OOM", "^MOVED",
    "^ASK", "^TRYAGAIN", "^CLUSTERDOWN"}

local function take_plain(self, answer)
    if answer.why then
        self.refused = self.refused + 1
        for _, pattern in ipairs(PASSING) do
            if answer.why:find(pattern) then return give_up(self) end
        end
        self:add_error("%s is answered by %s", self.record.id, answer.why)
        return give_up(self)
    end
    accepted(self, {offset = answer[1], epoch = answer[2]}, answer[4] == 1)
end

function publisher:receive(bytes)
    self.buffer = self.buffer .. bytes
    local answer = self.plain and plain_answer(self) or not self.plain and http_answer(self)
    if not answer then return end
    self.waiting = false
    self.due = wait.now() + RETRY
    if self.plain then take_plain(self, answer) else take_http(self, answer) end
    if not self.record then self.due = wait.now() + (self.interval or 0.02) end
    if self.record and self.sock then give_up(self) end
end

return publisher
