-- Streams over real instances and a real Redis, one client at a time: who may read what, hostile ids,
-- Redis that is away, plain backends, what is filtered. Faults under traffic are in streams_redis_spec.lua
-- and streams_instances_spec.lua, slow and many clients in streams_many_spec.lua.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local cluster = require "streams.cluster"
local http = require "http"
local pool = require "streams.pool"
local redis = require "redis"
local resume = require "streams.resume"
local topology = require "topology"
local wait = require "wait"

-- Plain backends append by functions; proxies stand between an instance and one Redis.
local describe_7 = redis.version() >= 7 and describe or pending
local describe_single = topology.KIND == "single" and describe or pending

local PROTOCOLS = {"sse", "json"}

local RULES = [[ [
    {"topic": "user:*", "size": 100}, {"topic": "topic:news", "size": 10}, {"topic": "topic:secret", "size": 100},
    {"topic": "topic:state", "mode": "latest"}
] ]]

-- The rights come with the request; on_subscribe allows `open-` and what the request says.
local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        local topics = {}
        for topic in (req:arg "rights" or ""):gmatch "[^,]+" do topics[#topics + 1] = topic end
        return { user = req:arg "user", topics = topics, tags = { platform = req:arg "platform" } }
    end,
    on_subscribe = function(conn, topic)
        return topic:find "^open%-" ~= nil or nil
    end,
    on_api = function() return true end,
    on_deliver = function(conn, msg)
        if msg.data:find("hidden from " .. (conn.user or "nobody"), 1, true) then return false end
    end,
}
]]

local net, clients

local function start(options)
    options = options or {}
    options.count = options.count or 2
    options.history = options.history or RULES
    net = cluster.start(options)
    clients = pool.new()
    return table.unpack(net.instances)
end

local function stop()
    if clients then clients:close() end
    clients = nil
    cluster.stop_all()
end

local function position(answer) return answer:match '"position":"([%d-]+)"' end

local function each_protocol(what, fn)
    for _, protocol in ipairs(PROTOCOLS) do
        it(what .. ", over " .. protocol, function() fn(protocol) end)
    end
end

describe("a client that comes back", function()
    local a, b
    setup(function() a, b = start() end)
    teardown(stop)

    each_protocol("gets what it has missed, on another instance", function(protocol)
        local user = protocol .. "1"
        local one = clients:open(a, protocol, "user=" .. user):wait_open()
        a:publish("users/" .. user, '"first"')
        one:next "message"
        one:leave "fin"
        for n = 1, 3 do b:publish("users/" .. user, tostring(n)) end
        one:reopen(b)
        one:wait_open()
        b:publish("users/" .. user, '"live"')
        assert.are.same({'"first"', "1", "2", "3", '"live"'}, one:until_message '"live"')
        assert.are.equal(0, one:count "gap")
    end)

    each_protocol("knows where it is before anything was published", function(protocol)
        local user = protocol .. "2"
        local one = clients:open(a, protocol, "user=" .. user):wait_open()
        assert.matches("^1%.[%w_-]+:%d+%-0$", one.last_id)
        one:leave "reset"
        b:publish("users/" .. user, '"while away"')
        one:reopen(a)
        assert.are.equal('"while away"', one:next "message".data)
    end)

    each_protocol("knows where it is in a stream that has messages, though none comes", function(protocol)
        local user = protocol .. "3"
        a:publish("users/" .. user, '"before"')
        local one = clients:open(a, protocol, "user=" .. user):wait_open()
        assert.matches("^1%.[%w_-]+:%d+%-1$", one.last_id)
        one:leave "reset"
        b:publish("users/" .. user, '"while away"')
        one:reopen(b)
        assert.are.equal('"while away"', one:next "message".data)
        assert.are.same({'"while away"'}, one:data())
    end)

    each_protocol("is told a gap when the history is shorter", function(protocol)
        local one = clients:open(a, protocol, "topic=news&user=" .. protocol):wait_open()
        a:publish("topics/news", '"one"')
        one:next "message"
        one:leave "fin"
        for n = 1, 20 do a:publish("topics/news", tostring(n)) end
        one:reopen(b)
        assert.are.equal("topic:news", one:next "gap".topic)
        b:publish("topics/news", '"live"')
        assert.are.same({'"one"', '"live"'}, one:until_message '"live"')
        -- Within the history there is none.
        one:leave "fin"
        for n = 1, 10 do a:publish("topics/news", tostring(n)) end
        one:reopen(a)
        one:until_message "10"
        assert.are.equal(1, one:count "gap")
    end)

    each_protocol("gets the state, and is told no gap, with mode latest", function(protocol)
        a:publish("topics/state", '"old"')
        a:publish("topics/state", '"state"')
        local one = clients:open(a, protocol, "topic=state&user=s" .. protocol):wait_open()
        assert.are.equal('"state"', one:next "message".data)
        one:leave "fin"
        local witness = clients:open(b, "json", "topic=state&user=w" .. protocol):wait_open()
        for n = 1, 5 do b:publish("topics/state", tostring(n)) end
        witness:until_message "5"
        one:reopen(b)
        assert.are.same({'"state"', "5"}, one:until_message "5")
        assert.are.equal(0, one:count "gap")
    end)

    each_protocol("may give ids that mean nothing, and is refused", function(protocol)
        local hash = resume.hash "user:42"
        local hostile = {
            "_", "2." .. hash .. ":1-1", "1." .. hash, "1." .. hash .. ":1", "1." .. hash .. ":-1-1", "1." .. hash .. ":1--1",
            "1." .. hash .. ":01-1", "1." .. hash .. ":9007199254740992-1", "1." .. hash .. ":1-9007199254740992",
            "1." .. hash .. ":99999999999999999999-1", "1." .. hash:sub(2) .. ":1-1", "1.A" .. hash .. ":1-1",
            "1." .. hash .. ":1-1,", "1." .. hash .. ":1-1," .. hash .. ":1-1", "1." .. hash .. ":_-1", ("x"):rep(300),
            "1." .. ("A"):rep(300), "1." .. hash .. ":1-1%00", "1." .. hash .. ":1-1%0a", "%ff%fe", "1." .. hash .. ":1e3-1",
        }
        for i, since in ipairs(hostile) do
            local one = clients:open(a, protocol, "user=42", {since = since})
            assert.are.equal(400, one:refused(), since)
            if protocol == "sse" then -- once in the header, once in the query
                one.sessions = i
                one:reopen(a)
                assert.are.equal(400, one:refused(), since)
            end
        end
    end)

    each_protocol("may give positions of epochs that never were, and is told a gap", function(protocol)
        local user = protocol .. "4"
        a:publish("users/" .. user, "1")
        for _, at in ipairs {"1-0", "1-1", "9007199254740991-9007199254740991"} do
            local one = clients:open(a, protocol, "user=" .. user, {since = "1." .. resume.hash("user:" .. user) .. ":" .. at})
            one:next "gap"
            b:publish("users/" .. user, '"live"')
            assert.are.same({'"live"'}, one:until_message '"live"')
            one:leave "fin"
        end
    end)

    each_protocol("may give a position of the right epoch beyond its end, and is told", function(protocol)
        local user = protocol .. "5"
        local epoch = position(a:publish("users/" .. user, "1")):match "^%d+"
        local since = ("1.%s:%s-1000"):format(resume.hash("user:" .. user), epoch)
        local one = clients:open(b, protocol, "user=" .. user, {since = since}):wait_open()
        b:publish("users/" .. user, '"live"')
        assert.are.same({'"live"'}, one:until_message '"live"')
        assert.is_true(one:count "gap" + one:count "rewound" > 0)
        assert.matches(epoch .. "%-2$", one.last_id)
    end)

    each_protocol("may give its topics in another order", function(protocol)
        local user = protocol .. "6"
        local one = clients:open(a, protocol, "topic=secret&user=" .. user):wait_open()
        local first, second = one.last_id:match "^1%.([^,]+),(.+)$"
        one:leave "fin"
        a:publish("users/" .. user, '"mine"')
        a:publish("topics/secret", '"secret ' .. protocol .. '"')
        one.last_id = "1." .. second .. "," .. first
        one:reopen(b)
        one:until_message('"secret ' .. protocol .. '"')
        one:until_message '"mine"'
        assert.are.equal(0, one:count "gap")
    end)

    each_protocol("gets nothing by an id of somebody else", function(protocol)
        local user = protocol .. "7"
        local one = clients:open(a, protocol, "user=" .. user):wait_open()
        local stolen = one.last_id
        a:publish("users/" .. user, '"private"')
        one:next "message"
        local other = clients:open(b, protocol, "user=other" .. user, {since = stolen}):wait_open()
        b:publish("users/other" .. user, '"own"')
        assert.are.same({'"own"'}, other:until_message '"own"')
        assert.is_nil(other.last_id:find(resume.hash("user:" .. user), 1, true))
        assert.are.equal(0, other:count "gap")
    end)
end)

describe("a client whose rights were withdrawn while it was away", function()
    local a, b
    setup(function() a, b = start {dev = false, policy = POLICY} end)
    teardown(stop)

    each_protocol("is refused a topic that it names", function(protocol)
        local one = clients:open(a, protocol, "user=x&rights=secret&topic=secret"):wait_open()
        a:publish("topics/secret", '"seen"')
        one:next "message"
        one:leave "fin"
        a:publish("topics/secret", '"not seen"')
        one.query = "user=x&topic=secret"
        one:reopen(b)
        assert.are.equal(403, one:refused())
        assert.are.same({'"seen"'}, one:data())
    end)

    each_protocol("gets nothing of a topic that it has no more", function(protocol)
        local one = clients:open(a, protocol, "user=y&rights=secret"):wait_open()
        a:publish("topics/secret", '"seen"')
        one:next "message"
        one:leave "fin"
        a:publish("topics/secret", '"not seen"')
        one.query = "user=y"
        one:reopen(b)
        one:wait_open()
        local mark = #one.events
        a:publish("topics/secret", '"not seen"')
        a:publish("users/y", '"mine"')
        assert.are.same({'"mine"'}, one:until_message('"mine"', mark - 1))
        assert.is_nil(one.last_id:find(resume.hash "topic:secret", 1, true))
    end)

    each_protocol("gets a topic that on_subscribe allows", function(protocol)
        local one = clients:open(a, protocol, "user=z&topic=open-1"):wait_open()
        a:publish("topics/open-1", '"for all"')
        assert.are.equal('"for all"', one:next "message".data)
    end)

    each_protocol("misses what is filtered, excepted, expired or held back by a hook, and nothing else", function(protocol)
        local user = "f" .. protocol
        local query = "user=" .. user .. "&platform=ios"
        local one = clients:open(a, protocol, query):wait_open()
        local target = "users/" .. user
        a:publish(target, '"0"')
        one:next "message"
        local me = one.head.headers["bellhop-connection"]
        one:leave "fin"
        a:publish(target, '"android"', "filter=platform:android")
        a:publish(target, '"ios"', "filter=platform:ios")
        a:publish(target, '"hidden from ' .. user .. '"')
        a:publish(target, '"excepted"', "except=" .. me)
        a:publish(target, '"short"', "ttl=1")
        a:publish(target, '"long"', "ttl=100")
        a:publish(target, '"10"', "collapse=progress")
        a:publish(target, '"90"', "collapse=progress")
        a:publish(target, '"removed"')
        local answer = a:request("GET", "/api/" .. target .. "/messages?limit=1")
        a:request("DELETE", "/api/" .. target .. "/messages/" .. position(answer.body))
        wait.till(function()
            return not a:request("GET", "/api/" .. target .. "/messages").body:find('"short"', 1, true)
        end, 5, "a message to expire")
        one:reopen(b)
        one:wait_open()
        a:publish(target, '"end"')
        assert.are.same({'"0"', '"ios"', '"excepted"', '"long"', '"90"', '"end"'}, one:until_message '"end"')
        assert.are.equal(0, one:count "gap")
    end)
end)

describe_single("while Redis is away, a client that comes back", function()
    after_each(stop)

    each_protocol("waits, and gets everything", function(protocol)
        local a, b = start {proxies = true}
        local one = clients:open(a, protocol, "user=42"):wait_open()
        a:publish("users/42", "1")
        one:next "message"
        one:leave "fin"
        b:publish("users/42", "2")
        net.proxies[1]:cut()
        a:wait_ready(503)
        one:reopen(a)
        clients:till(function() return one.state == "stream" end, 5, "an answer")
        b:publish("users/42", "3")
        net.proxies[1]:resume()
        assert.are.same({"1", "2", "3"}, one:until_message "3")
        assert.are.equal(0, one:count "gap")
    end)

    each_protocol("is told a gap when it has waited for history.recover_wait", function(protocol)
        local a, b = start {proxies = true, env = {BELLHOP_HISTORY_RECOVER_WAIT = "0.5"}}
        local one = clients:open(b, protocol, "user=42"):wait_open()
        b:publish("users/42", "1")
        one:next "message"
        one:leave "fin"
        net.proxies[1]:cut()
        a:wait_ready(503)
        b:publish("users/42", "2")
        one:reopen(a)
        assert.are.equal("user:42", one:next "gap".topic)
        net.proxies[1]:resume()
        a:wait_ready()
        wait.till(function() return net.server:subscribers "notification:42" > 0 end, 10, "a subscription")
        local mark = #one.events
        b:publish("users/42", "3")
        local got = one:until_message("3", mark)
        assert.are.equal("3", got[#got])
        -- From then on it is an ordinary client.
        local gaps = one:count "gap"
        one:leave "fin"
        b:publish("users/42", "4")
        one:reopen(b)
        one:until_message "4"
        assert.are.equal(gaps, one:count "gap")
    end)

    it("is refused nothing that a retry does not heal", function()
        local a = start {proxies = true, count = 1}
        net.proxies[1]:cut()
        a:wait_ready(503)
        local fresh = clients:open(a, "sse", "user=new")
        clients:till(function() return fresh.state == "stream" or fresh.refusal end, 5, "an answer")
        assert.is_nil(fresh.refusal)
        net.proxies[1]:resume()
        fresh:wait_open(15)
        a:wait_ready()
        a:publish("users/new", "1")
        assert.are.equal("1", fresh:next "message".data)
    end)
end)

describe("a publish that was refused, and was appended nevertheless,", function()
    after_each(stop)

    it("is repeated by its id on another instance, and comes once", function()
        local a, b = start {
            redis = redis.with_debug(),
            env = {BELLHOP_REDIS_COMMAND_TIMEOUT = "0.3", BELLHOP_REDIS_PUBLISH_WAIT = "0.3"},
        }
        local sse = clients:open(a, "sse", "user=42"):wait_open()
        local json = clients:open(b, "json", "user=42"):wait_open()
        local sleeper, other = net.server:client_of "notification:42", net.server:client_of "notification:42"
        sleeper:write("DEBUG", "SLEEP", "2")
        wait.till(function()
            other:write "PING"
            return other:read(0.05) == nil
        end, 2, "Redis to sleep")
        local answer = a:request("POST", "/api/users/42/messages?id=order-1", {body = "1"})
        check.error(answer, 503)
        assert.are.equal("OK", sleeper:read())
        for _, d in ipairs(net.instances) do d:wait_ready() end
        local first = b:publish("users/42", "1", "id=order-1")
        local second = a:publish("users/42", "1", "id=order-1")
        assert.are.equal(position(first), position(second))
        assert.matches("%-1$", position(first))
        assert.matches('"duplicate":true', second)
        a:publish("users/42", '"end"')
        assert.are.same({"1", '"end"'}, sse:until_message '"end"')
        assert.are.same({"1", '"end"'}, json:until_message '"end"')
    end)

    it("says that the history is full, and clients come back meanwhile", function()
        local a, b = start()
        local one = clients:open(a, "json", "user=42"):wait_open()
        a:publish("users/42", "1")
        one:next "message"
        one:leave "fin"
        a:publish("users/42", "2")
        net.server:call("CONFIG", "SET", "maxmemory", "1000000")
        check.error(a:request("POST", "/api/users/42/messages", {body = "3"}), 503, "history_full")
        one:reopen(b)
        one:until_message "2"
        assert.are.equal(0, one:count "gap")
        net.server:call("CONFIG", "SET", "maxmemory", "0")
        b:publish("users/42", "4")
        assert.are.same({"1", "2", "4"}, one:until_message "4")
    end)
end)

describe_7("a plain backend", function()
    local a, b, sse, json
    local LOG, META = "{notification:42}:log", "{notification:42}:m"

    setup(function() a, b = start() end)
    teardown(stop)

    local function append(...)
        return net.server:cli("FCALL", "bellhop_publish", "2", LOG, META, ...)
    end

    it("appends by redis-cli, and everybody gets it with a position", function()
        sse, json = clients:open(a, "sse", "user=42"):wait_open(), clients:open(b, "json", "user=42"):wait_open()
        assert.matches("^1\n%d+\n2\n0\n$", append('{"n":1}'))
        for _, one in ipairs {sse, json} do
            assert.are.equal('{"n":1}', one:next "message".data)
            assert.matches("%-1$", one.last_id)
        end
    end)

    it("appends once with an id", function()
        local first, again = append('{"n":2}', "ID", "x-1"), append('{"n":2}', "ID", "x-1")
        assert.matches("^2\n%d+\n2\n0\n$", first)
        assert.matches("^2\n%d+\n0\n1\n$", again)
        assert.matches('"position":"%d+%-2"', a:publish("users/42", '{"n":2}', "id=x-1"))
        append('{"n":3}')
        assert.are.same({'{"n":1}', '{"n":2}', '{"n":3}'}, json:until_message '{"n":3}')
        sse:until_message '{"n":3}'
    end)

    it("replaces by a key, and lets messages expire", function()
        sse:leave "fin"
        append('"10"', "COLLAPSE", "progress")
        append('"90"', "COLLAPSE", "progress", "EXPIRES", "100")
        sse:reopen(b)
        local mark = #sse.events
        assert.are.same({'"90"'}, sse:until_message('"90"', mark))
        assert.are.equal(0, sse:count "gap")
        json:until_message '"90"'
    end)

    it("may send bytes that are no text", function()
        append "\xff\xfe"
        local event = sse:next "message"
        while event.data ~= "//4=" do event = sse:next "message" end
        assert.is_true(event.binary)
        json:until_message '"//4=","encoding":"base64"'
    end)

    it("is told what is wrong", function()
        for _, words in ipairs {{"x", "ID"}, {"x", "ID", "a b"}, {"x", "SIZE", "0"}, {"x", "WHAT", "1"}} do
            local output = net.server:call("FCALL", "bellhop_publish", "2", LOG, META, table.unpack(words))
            assert.is_nil(output)
        end
        local _, why = net.server:call("FCALL", "bellhop_publish", "2", "notification:42", "{notification:42}", "x")
        assert.matches("the keys are", why)
    end)

    it("may PUBLISH as before: that is live only, counted, and logged once", function()
        local before, mark = json.last_id, #json.events
        for n = 1, 3 do net.server:call("PUBLISH", "notification:42", '{"raw":' .. n .. "}") end
        json:until_message('{"raw":3}', mark)
        sse:until_message '{"raw":3}'
        for i = mark + 1, #json.events do
            if json.events[i].kind == "message" then assert.is_nil(json.events[i].id) end
        end
        assert.are.equal(before, json.last_id)
        assert.are.equal(3, b:metric "bellhop_core_stream_raw_total")
        local _, lines = b:log():gsub("plain PUBLISH to a topic with history", "")
        assert.are.equal(1, lines)
        local mark_again = #sse.events
        sse:leave "fin"
        sse:reopen(a)
        a:publish("users/42", '"end"')
        assert.are.same({'"end"'}, sse:until_message('"end"', mark_again))
        assert.are.equal(0, sse:count "gap")
    end)
end)

describe("without Redis", function()
    it("a single instance keeps histories, which end with it", function()
        local daemon = require "daemon"
        local streams = require "streams"
        local d = daemon.start {env = {BELLHOP_HISTORY_RULES = cluster.RULES}}
        local flow = streams.new {instances = {d}}
        flow:settle()
        flow:accept(100)
        d.process:signal "KILL"
        d.gone = true
        d.process:wait()
        d:stop(137)
        flow.instances[1] = daemon.start {env = {BELLHOP_HISTORY_RULES = cluster.RULES}}
        flow:accept(100)
        flow:finish {gaps = true}
        daemon.stop_all()
    end)
end)

-- A version without histories on the same Redis: BELLHOP_OTHER_BIN names its program.
local OTHER = os.getenv "BELLHOP_OTHER_BIN"

describe("an instance of a version without histories", function()
    if not OTHER then return pending "BELLHOP_OTHER_BIN is not set" end
    local daemon = require "daemon"
    local ws = require "ws"

    after_each(function()
        ws.drop_all()
        stop()
    end)

    it("shows nothing of what it does not know, and its own messages come without a position", function()
        local new = start {count = 1}
        local own = daemon.BIN
        daemon.BIN = OTHER
        local old = daemon.start {redis = net.server:url(), args = {"--instance", "old"}}
        daemon.BIN = own
        local there, here = ws.connect(old.port, "/ws?user=42"), clients:open(new, "json", "user=42"):wait_open()
        wait.till(function() return net.server:subscribers "notification:42" == 2 end, 5, "both to subscribe")
        new:publish("users/42", "1")
        assert.matches("%-1$", here:next "message".id)
        old:publish("users/42", '"from the old one"')
        local event = here:next "message"
        assert.are.equal('"from the old one"', event.data)
        assert.is_nil(event.id)
        check.next(there, '"from the old one"') -- the first one that it has got
        new:publish("users/42", "2")
        assert.matches("%-2$", here:next "message".id)
        assert.are.equal(0, here:count "gap")
    end)
end)

describe("a topic of a stream", function()
    local a
    setup(function() a = start {count = 1} end)
    teardown(stop)

    it("has a page of its history", function()
        for n = 1, 5 do a:publish("topics/news", tostring(n)) end
        local answer = http.get(a.port, "/api/topics/news/messages?order=asc&limit=2")
        assert.are.equal(200, answer.status)
        assert.matches('"data":1}.*"data":2}.*"more":true', answer.body)
    end)
end)
