-- Removes messages of the log by chance, over the API of any instance; whether it succeeds does not matter.
local http = require "http"
local loop = require "streams.loop"
local resume = require "streams.resume"
local wait = require "wait"

local remover = {}
remover.__index = remover

local PATIENCE = 2

-- options: log, ports, random, interval (seconds).
function remover.new(options)
    local self = setmetatable({due = 0, errors = {}, sending = true}, remover)
    for name, value in pairs(options) do self[name] = value end
    return self
end

local function rest(self)
    loop.close(self)
    self.waiting, self.due = false, wait.now() + self.interval
end

function remover:broken() rest(self) end

function remover:tick(now)
    if self.waiting then
        if now > self.deadline then rest(self) end
        return
    end
    local ports = self.ports()
    if now < self.due or not self.sending or #self.log == 0 or #ports == 0 then return end
    local record = self.log[math.max(#self.log - self.random(200), 1)]
    if not record.position then return end
    record.optional = true
    self.waiting, self.deadline, self.buffer = true, now + PATIENCE, ""
    loop.connect(self, ports[self.random(#ports)])
    loop.write(self, http.format("DELETE", ("/api/%s/messages/%s"):format(record.target.path, resume.show(record.position))))
end

function remover:receive(bytes)
    self.buffer = self.buffer .. bytes
    local status = tonumber(self.buffer:match "^HTTP/1.1 (%d+)")
    if not status then return end
    if status ~= 200 and status ~= 404 and status ~= 503 then
        self.errors[#self.errors + 1] = "a removal is answered by " .. self.buffer
    end
    rest(self)
end

return remover
