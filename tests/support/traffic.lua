-- Publishers and readers that continue during a fault: each publisher sends a numbered message, waits
-- for the answer and sends the next. A message that fails is sent again with the same id, by another
-- instance if this one is down. All messages and deliveries are recorded, and `check` reports losses
-- and duplicates.
local http = require "http"
local socket = require "socket"
local wait = require "wait"

local traffic = {}
traffic.__index = traffic

local STRATEGIES = {"local_first", "redis", "both"}
local INTERVAL = 0.02   -- between a publisher's messages
local RETRY = 0.05      -- until it tries again
local MARGIN = 0.3      -- what was answered so long before a fault is delivered when it comes
local PUBLISHERS = 2    -- on each instance
local numbers = 0

-- options: instances (daemons to publish through), server (a Redis for plain PUBLISH, or nil), targets (a
-- list of {path, channel, reaches = {names}}), clients (name -> WebSocket), timeout (seconds for each
-- publish; default 4).
function traffic.new(options)
    local self = setmetatable({
        instances = options.instances, server = options.server, targets = options.targets,
        clients = options.clients, timeout = options.timeout or 4, sending = true,
        messages = {}, faults = {}, errors = {}, refused = 0, routes = {},
    }, traffic)
    for i in ipairs(self.instances) do
        for _ = 1, PUBLISHERS do self.routes[#self.routes + 1] = {at = i, due = 0} end
    end
    if self.server then self.routes[#self.routes + 1] = {plain = true, due = 0} end
    return self
end

function traffic:add_error(...)
    if #self.errors < 20 then self.errors[#self.errors + 1] = string.format(...) end
end

local function new_message(self, route)
    numbers = numbers + 1
    local m = {
        id = "m" .. numbers, target = self.targets[numbers % #self.targets + 1], plain = route.plain,
        strategy = STRATEGIES[numbers // 7 % 3 + 1], first = wait.now(), tries = 0, got = {},
    }
    self.messages[#self.messages + 1] = m
    self.messages[m.id] = m
    return m
end

local function open(self, route)
    if route.plain then return self.server:client() end
    return http.open(self.instances[route.at].port)
end

local function write(route, m)
    if route.plain then return route.session:write("PUBLISH", m.target.channel, m.id) end
    local path = ("/api/%s/messages?id=%s&strategy=%s"):format(m.target.path, m.id, m.strategy)
    return route.session:send(http.format("POST", path, {body = m.id}))
end

-- The answer is lost. A plain message has no id and is not sent again.
local function break_off(self, route)
    if route.session then route.session:close() end
    route.session, route.waiting = nil, nil
    route.due = wait.now() + RETRY
    if route.plain then
        route.message = nil
    else
        route.at = route.at % #self.instances + 1
    end
end

local function send(self, route)
    if route.waiting or wait.now() < route.due or not (route.message or self.sending) then return end
    route.session = route.session or open(self, route)
    if not route.session then return break_off(self, route) end
    route.message = route.message or new_message(self, route)
    route.message.last, route.waiting = wait.now(), true
    route.message.tries = route.message.tries + 1
    if not write(route, route.message) then break_off(self, route) end
end

-- The HTTP answer: true, false, or nil (connection closed).
local function read_http(self, route, m)
    local answer = route.session:response("POST", 1)
    if not answer then return nil end
    if answer.status == 200 then return true end
    if answer.status ~= 503 or not answer.body:find '"code":"broker_unavailable","message":"[^"]' then
        self:add_error("%s is answered by %d %s", m.id, answer.status, answer.body)
    end
    self.refusal = answer.body
    return false
end

local function read(self, route)
    local m, ok = route.message
    if route.plain then
        ok = math.type(route.session:read(1)) ~= nil or nil
    else
        ok = read_http(self, route, m)
    end
    if ok == nil then return break_off(self, route) end
    local now = wait.now()
    if now - m.last > self.timeout then self:add_error("%s is answered after %.1f s", m.id, now - m.last) end
    route.waiting = nil
    route.due = now + (ok and INTERVAL or RETRY)
    if not ok then
        self.refused = self.refused + 1
        return
    end
    m.done, route.message = now, nil
end

local function deliver(self, name, client)
    repeat
        local data, why = client:recv(1)
        if why == "timeout" then return end -- it was a ping
        if not data then
            self:add_error("%s: %s", name, why)
            self.clients[name] = nil
            return
        end
        local m = self.messages[data]
        if m then
            m.got[name] = (m.got[name] or 0) + 1
            if m.got[name] > 1 then self:add_error("%s gets %s (%s) twice", name, data, m.strategy) end
        end
    until client.conn.buffer == ""
end

local function turn(self)
    local socks, owner = {}, {}
    for _, route in ipairs(self.routes) do
        send(self, route)
        if route.waiting then
            local sock = route.session.conn.sock
            socks[#socks + 1], owner[sock] = sock, route
        end
    end
    for name, client in pairs(self.clients) do
        socks[#socks + 1], owner[client.conn.sock] = client.conn.sock, name
    end
    for _, sock in ipairs((socket.select(socks, nil, 0.01))) do
        local who = owner[sock]
        if type(who) == "table" then read(self, who) else deliver(self, who, self.clients[who]) end
    end
end

-- Runs for a number of seconds, or until the condition holds (at most `limit` seconds, default 15).
function traffic:run(till, limit, what)
    wait.run(function() turn(self) end, till, limit, what)
end

-- From now until `fault_ended` messages may be lost.
function traffic:fault_begins() self.faults[#self.faults + 1] = {from = wait.now(), to = math.huge} end

function traffic:fault_ended() self.faults[#self.faults].to = wait.now() end

-- Whether no fault overlaps this message, from the try that was answered with success on.
local function is_calm(self, m)
    if not m.done then return false end
    for _, fault in ipairs(self.faults) do
        if m.done > fault.from - MARGIN and m.last < fault.to then return false end
    end
    return true
end

local function missing(self)
    local list = {}
    for _, m in ipairs(self.messages) do
        for _, name in ipairs(m.target.reaches) do
            if is_calm(self, m) and self.clients[name] and not m.got[name] then
                list[#list + 1] = ("%s misses %s (%s, %s%s)"):format(name, m.id, m.target.path,
                    m.plain and "plain" or m.strategy, m.tries > 1 and ", sent again" or "")
            end
        end
    end
    return list
end

local function strays(self)
    for _, m in ipairs(self.messages) do
        local reaches = {}
        for _, name in ipairs(m.target.reaches) do reaches[name] = true end
        for name in pairs(m.got) do
            if not reaches[name] then self:add_error("%s gets %s, which is not for it", name, m.id) end
        end
    end
end

-- The number of calm messages by HTTP and by plain PUBLISH since the last fault.
local function calm_since(self)
    local to, by_http, plain = self.faults[1] and self.faults[#self.faults].to or 0, 0, 0
    for _, m in ipairs(self.messages) do
        if m.first > to and is_calm(self, m) then
            if m.plain then plain = plain + 1 else by_http = by_http + 1 end
        end
    end
    return by_http, plain
end

-- Stops publishing, waits for pending messages, and raises all errors.
function traffic:check()
    local by_http, plain = calm_since(self)
    self.sending = false
    pcall(self.run, self, function()
        for _, route in ipairs(self.routes) do
            if route.message then return false end
        end
        return #missing(self) == 0
    end, 5)
    for _, route in ipairs(self.routes) do
        if route.message then self:add_error("%s was never published", route.message.id) end
        if route.session then route.session:close() end
    end
    self:run(0.1)
    strays(self)
    for _, text in ipairs(missing(self)) do self:add_error("%s", text) end
    if by_http < 30 or (self.server and plain < 5) then
        self:add_error("the test is too weak: %d and %d messages after the fault", by_http, plain)
    end
    if #self.errors > 0 then error(table.concat(self.errors, "\n"), 2) end
end

return traffic
