-- Streams under traffic: publishers that keep going, clients that stay and clients that come and go,
-- while Redis, the network or an instance fails; `check` says whether the promise was kept.
--
--   local flow = streams.new {instances = {a, b, c}, server = server}
--   flow:run(0.5)              -- traffic
--   server:kill()
--   flow:run(function() ... end, 5, "what")
--   flow:finish {gaps = 0, rewinds = 0}
local check = require "streams.check"
local client = require "streams.client"
local http = require "http"
local loop = require "streams.loop"
local publisher = require "streams.publisher"
local remover = require "streams.remover"
local resume = require "streams.resume"
local wait = require "wait"

local streams = {}
streams.__index = streams

-- The streams of the traffic. A message for one platform is skipped by the clients of others.
local TARGETS = {
    {path = "users/42", channel = "notification:42", topic = "user:42"},
    {path = "topics/news", channel = "notification:topic:news", topic = "topic:news"},
    {path = "users/43", channel = "notification:43", topic = "user:43"},
    {path = "users/42", channel = "notification:42", topic = "user:42", query = "filter=platform:ios",
        filter = {platform = "ios"}},
    {path = "tenants/7", channel = "notification:tenant:7", topic = "tenant:7"},
    {path = "broadcast", channel = "notification:broadcast", topic = "all"},
    {path = "topics/news", channel = "notification:topic:news", topic = "topic:news", padding = ("x"):rep(3000)},
}

-- Messages that are replaced, that expire, and that have no history.
streams.MIXED = {
    {path = "users/43", channel = "notification:43", topic = "user:43", query = "collapse=progress", optional = true},
    {path = "users/42", channel = "notification:42", topic = "user:42", query = "ttl=1", optional = true},
    {path = "topics/news", channel = "notification:topic:news", topic = "topic:news", query = "history=false", live = true},
}
for _, target in ipairs(TARGETS) do table.insert(streams.MIXED, 1, target) end

local WHO = {
    {query = "user=42&topic=news", streams = {"user:42", "topic:news", "all"}},
    {query = "user=42&tenant=7&tag=platform:ios", streams = {"user:42", "tenant:7", "all"}, tags = {platform = "ios"}},
    {query = "user=43&tenant=7", streams = {"user:43", "tenant:7", "all"}},
    {query = "user=44&topic=news&tag=platform:ios", streams = {"user:44", "topic:news", "all"}, tags = {platform = "ios"}},
}

local AWAY, THERE = 0.4, 0.8 -- seconds, at most, of clients that come and go

local function ports_of(self)
    return function()
        local ports = {}
        for _, d in ipairs(self.instances) do
            if not d.gone then ports[#ports + 1] = d.port end
        end
        return ports
    end
end

local function add_client(self, protocol, roams)
    local n = #self.clients + 1
    local who = self.who[n % #self.who + 1]
    local c = client.new {
        name = ("%s %d%s"):format(protocol, n, roams and " (comes and goes)" or ""), protocol = protocol,
        deflate = n % 3 == 0, query = who.query, streams = who.streams, tags = who.tags, ports = self.ports, roams = roams,
        pick = function(count) return self.random(count) end,
    }
    self.clients[n] = c
    self.loop:add(c)
end

local function add_publisher(self, options)
    options.log, options.ports, options.target = self.log, self.ports, function()
        self.next_target = self.next_target % #self.targets + 1
        return self.targets[self.next_target]
    end
    options.first = #self.publishers
    options.interval, options.patience = self.interval, self.patience
    if options.plain then
        -- Its messages have no options.
        local plain = {}
        for _, target in ipairs(self.targets) do
            if not target.query then plain[#plain + 1] = target end
        end
        options.target = function() return plain[self.random(#plain)] end
    end
    self.publishers[#self.publishers + 1] = self.loop:add(publisher.new(options))
end

-- Removes messages by chance, as a publisher of its own.
local function add_remover(self)
    self.publishers[#self.publishers + 1] = self.loop:add(remover.new {
        log = self.log, ports = self.ports, random = self.random, interval = 0.1,
    })
end

-- A generator of its own, so that a seed makes the same choices.
local function generator(seed)
    local state = seed * 0x9e3779b97f4a7c15 + 1
    return function(n)
        state = state ~ state << 13
        state = state ~ state >> 7
        state = state ~ state << 17
        return (state >> 11) % n + 1
    end
end

-- options: instances; server (for plain backends, or nil) or plain (a function: the port for a target); seed;
-- stay, roam (clients of each protocol); publishers; interval; removes (true: messages are removed by chance);
-- targets, who (see above); deaf (true: clients that come and go do not read at times).
function streams.new(options)
    local self = setmetatable({
        instances = options.instances, server = options.server, loop = loop.new(), log = {}, clients = {},
        publishers = {}, next_target = 0, interval = options.interval or 0.02, patience = options.patience,
        targets = options.targets or TARGETS, deaf = options.deaf, who = options.who or WHO, roaming = true,
    }, streams)
    self.seed = math.tointeger(tonumber(os.getenv "BELLHOP_STREAMS_SEED" or options.seed or 1))
    self.random = generator(self.seed)
    self.ports = ports_of(self)
    for _, protocol in ipairs {"sse", "json"} do
        for _ = 1, options.stay or 4 do add_client(self, protocol, false) end
        for _ = 1, options.roam or 4 do add_client(self, protocol, true) end
    end
    for _ = 1, options.raw or 2 do add_client(self, "raw", false) end
    for _ = 1, options.publishers or 4 do add_publisher(self, {}) end
    if options.removes then add_remover(self) end
    if options.plain or (self.server and self.server.port) then
        add_publisher(self, {plain = options.plain or function() return self.server.port end})
    end
    return self
end

-- --- traffic ---

local LEAVE = {"fin", "reset", "close"}

local function roam(self, c, now)
    if not c.roams or now < (c.next_move or 0) then return end
    if c.next_move and c.wanted then
        if c.sock and self.random(4) == 1 then
            c:cut(self.random(2000))
            c.next_move = now + THERE / 2
            return
        end
        if self.deaf and self.random(2) == 1 then
            c.deaf = not c.deaf
            c.next_move = now + THERE
            return
        end
        c.deaf = false
        c:leave(LEAVE[self.random(3)])
        c.next_move = now + AWAY * self.random(100) / 100
    else
        c.wanted, c.due = true, now
        c.next_move = now + THERE * self.random(100) / 100
    end
end

local function turn(self)
    local now = wait.now()
    if self.roaming then
        for _, c in ipairs(self.clients) do roam(self, c, now) end
    end
    self.loop:turn(0.005)
end

-- Runs for a number of seconds, or until the condition holds (at most `limit` seconds, default 15).
function streams:run(till, limit, what)
    wait.run(function() turn(self) end, till, limit, function()
        local text = type(what) == "function" and what() or what or "a condition"
        return ("%s (seed %d)"):format(text, self.seed)
    end)
end

function streams:accepted()
    local n = 0
    for _, record in ipairs(self.log) do
        if record.position then n = n + 1 end
    end
    return n
end

-- Plain backends wait: what they have sent is answered when this returns. They go on with a new connection.
function streams:pause_plain(on)
    for _, p in ipairs(self.publishers) do
        if p.plain then p.paused = on end
    end
    if not on then return end
    self:run(function()
        for _, p in ipairs(self.publishers) do
            if p.plain and p.waiting then return false end
        end
        return true
    end, 5, "plain backends to pause")
    for _, p in ipairs(self.publishers) do
        if p.plain then loop.close(p) end
    end
end

-- Until so many more messages were accepted.
function streams:accept(count, limit)
    local goal = self:accepted() + count
    self:run(function() return self:accepted() >= goal end, limit, count .. " messages to be accepted")
end

-- All clients are connected, those that roam as often as they are here.
function streams:settle(limit)
    self:run(function()
        for _, c in ipairs(self.clients) do
            if c.wanted and not c.is_open then return false end
        end
        return true
    end, limit, "all clients to be connected")
end

-- --- the end ---

local function idle(self)
    for _, p in ipairs(self.publishers) do
        if p.record then return false end
    end
    return true
end

-- An answer of the API. A link that was just found to be lost is a 503.
local function get(self, path)
    return wait.till(function()
        local answer = http.get(self.ports()[1], path, {timeout = 5})
        return answer and answer.status == 200 and answer.body
    end, 10, "the API to answer " .. path)
end

-- Where the streams are, as the API of an instance says.
local function read_tops(self)
    local tops = {}
    for _, target in ipairs(self.targets) do
        local body = get(self, "/api/" .. target.path .. "/messages?limit=1")
        tops[target.topic] = resume.position(body:match '"position":"([^"]*)","more"')
    end
    return tops
end

local PAGE = 1000

-- What the histories hold, as the API says: topic -> list of {position, n}, oldest first.
local function read_histories(self)
    local histories = {}
    for _, target in ipairs(self.targets) do
        local list, since = {}, ""
        if histories[target.topic] then goto known end
        repeat
            local body = get(self, ("/api/%s/messages?order=asc&limit=%d%s"):format(target.path, PAGE, since))
            for position, n in body:gmatch '"position":"([%d-]+)",[^\n]-"n":(%d+)' do
                list[#list + 1] = {position = resume.position(position), n = math.tointeger(tonumber(n))}
                since = "&since=" .. position
            end
        until not body:find '"more":true'
        histories[target.topic] = list
        ::known::
    end
    return histories
end

-- Whether the client has got the last message of each of its streams.
local function is_level(self, c, tops)
    if not c.is_open then return false end
    if c.protocol == "raw" then return true end
    local positions = c.last_id and resume.parse(c.last_id) or {}
    for _, topic in ipairs(c.streams) do
        local top, at = tops[topic], positions[resume.hash(topic)]
        local last = top and self.last_for(c, topic, top.epoch) or 0
        if last > 0 and not (at and at.epoch == top.epoch and at.offset >= last) then return false end
    end
    return true
end

-- The offset of the last message that is for the client in an epoch; nil: none.
local function last_for(self)
    local last = {}
    for _, record in ipairs(self.log) do
        if record.position and not record.optional then
            local key = record.topic .. " " .. record.position.epoch .. " " .. (record.filter and "filtered" or "all")
            last[key] = math.max(last[key] or 0, record.position.offset)
        end
    end
    return function(c, topic, epoch)
        local key = topic .. " " .. epoch .. " "
        local all, filtered = last[key .. "all"], c.tags and last[key .. "filtered"]
        return math.max(all or 0, filtered or 0)
    end
end

-- Stops the traffic, waits until everybody has everything (not an error: the checker says what is
-- missing), and returns what the checker says. lossy: as for check.run.
function streams:stop(lossy)
    for _, p in ipairs(self.publishers) do p.sending = false end
    self:run(function() return idle(self) end, 20, "the last messages to be accepted")
    self.roaming = false
    for _, c in ipairs(self.clients) do c.wanted, c.deaf = true, false end
    local tops = read_tops(self)
    self.last_for = last_for(self)
    pcall(self.run, self, function()
        for _, c in ipairs(self.clients) do
            if not is_level(self, c, tops) then return false end
        end
        return true
    end, 6)
    self:run(0.2) -- what comes twice comes now
    local report = check.run(self.log, self.clients, tops, read_histories(self), lossy)
    for _, list in ipairs {self.clients, self.publishers} do
        for _, one in ipairs(list) do
            for _, text in ipairs(one.errors) do report.errors[#report.errors + 1] = text end
        end
    end
    self.loop:close_all()
    report.accepted = self:accepted()
    return report
end

local function summary(report)
    return ("%d messages accepted, %d delivered, %d again, %d lost, %d sessions, %d gaps, %d rewinds, %d errors"):format(
        report.accepted, report.delivered, report.again, report.lost, report.sessions, report.gaps, report.rewinds,
        report.count)
end

-- stop, and raises what is wrong. expected: gaps, rewinds, lost, again (numbers, true for some, nil for any).
-- least: messages, without which the test says nothing.
function streams:finish(expected, least)
    expected = expected or {}
    local report = self:stop(expected.gaps ~= 0 or expected.rewinds ~= 0)
    local errors = report.errors
    for name, wanted in pairs(expected) do
        local got = report[name]
        if wanted == true and got == 0 or wanted ~= true and got ~= wanted then
            errors[#errors + 1] = ("%d %s instead of %s"):format(got, name, wanted == true and "some" or wanted)
        end
    end
    if report.accepted < (least or 100) then errors[#errors + 1] = "the test is too weak" end
    if os.getenv "BELLHOP_STREAMS_VERBOSE" then io.stderr:write(summary(report), "\n", table.concat(errors, "\n"), "\n") end
    if #errors > 0 then
        error(("%s\n(seed %d: %s)"):format(table.concat(errors, "\n"), self.seed, summary(report)), 2)
    end
    return report
end

function streams.show_report(report) return summary(report) end

return streams
