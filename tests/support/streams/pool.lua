-- A few clients that resume, for specs that say when each comes and goes; all on one loop.
local client = require "streams.client"
local loop = require "streams.loop"
local wait = require "wait"

local pool = {}
pool.__index = pool

local one = setmetatable({}, {__index = client})
one.__index = one

function pool.new() return setmetatable({loop = loop.new()}, pool) end

-- Runs until the condition holds.
function pool:till(cond, seconds, what)
    local deadline = wait.now() + (seconds or 10)
    while true do
        local result = cond()
        if result then return result end
        if wait.now() > deadline then
            if type(what) == "function" then what = what() end
            error("timeout: " .. (what or "a condition"), 2)
        end
        self.loop:turn(0.01)
    end
end

-- Opens a client of the instance d. options as for client.new, and since. Returns at once.
function pool:open(d, protocol, query, options)
    local c = setmetatable({
        name = protocol .. " " .. query, protocol = protocol, query = query, events = {}, errors = {}, due = 0,
        wanted = true, sessions = 0, pool = self,
    }, one)
    for name, value in pairs(options or {}) do c[name] = value end
    c.last_id = c.since
    self.loop:add(c)
    client.open(c, d.port)
    return c
end

-- Comes back to the instance d with its last id.
function one:reopen(d)
    if self.sock then loop.close(self) end
    self.read_to, self.wanted, self.refusal = #self.events, true, nil
    client.open(self, d.port)
end

local function show(events)
    local lines = {}
    for i = math.max(#events - 8, 1), #events do
        local e = events[i]
        lines[#lines + 1] = ("%s %s %s %s"):format(e.kind, e.topic or "", tostring(e.data or e.recovered or e.reason or "")
            :sub(1, 60), e.id or "")
    end
    return table.concat(lines, "\n")
end

-- The next event of one of these kinds ("message", "gap", ...); others before it are skipped.
function one:next(kind, seconds)
    return self.pool:till(function()
        while (self.read_to or 0) < #self.events do
            self.read_to = (self.read_to or 0) + 1
            local event = self.events[self.read_to]
            if event.kind == kind then return event end
        end
        return false
    end, seconds, function() return self.name .. " to get " .. kind .. "; it has\n" .. show(self.events) end)
end

function one:wait_open(seconds)
    self.pool:till(function() return self.is_open end, seconds, function()
        return self.name .. " to be connected (" .. tostring(self.refusal) .. "); it has\n" .. show(self.events)
    end)
    return self
end

-- Waits for the status of a refusal.
function one:refused(seconds)
    return self.pool:till(function() return self.refusal end, seconds, self.name .. " to be refused")
end

-- The data of the messages so far, without those of `marker`.
function one:data()
    local list = {}
    for _, event in ipairs(self.events) do
        if event.kind == "message" then list[#list + 1] = event.data end
    end
    return list
end

-- Runs until it has got this message, which is to be the last one; returns the data of all messages
-- since `mark` (number of events).
function one:until_message(data, mark, seconds)
    self.pool:till(function()
        for i = (mark or 0) + 1, #self.events do
            if self.events[i].kind == "message" and self.events[i].data == data then return true end
        end
        return false
    end, seconds, function() return self.name .. " to get " .. data .. "; it has\n" .. show(self.events) end)
    local list = {}
    for i = (mark or 0) + 1, #self.events do
        if self.events[i].kind == "message" then list[#list + 1] = self.events[i].data end
    end
    return list
end

function one:count(kind)
    local n = 0
    for _, event in ipairs(self.events) do n = n + (event.kind == kind and 1 or 0) end
    return n
end

function pool:close() self.loop:close_all() end

return pool
