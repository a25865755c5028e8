-- Clients of server-sent events that come back: what they missed, once and in order, or the word that it is gone.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local redis = require "redis"
local sse = require "sse"
local topology = require "topology"
local wait = require "wait"

local RULES = [=[[{"topic":"user:*","size":20,"ttl":3600},{"topic":"topic:news*","size":100,"ttl":3600},
    {"topic":"topic:s*","size":100,"ttl":3600}]]=]

-- ?as= is the user, ?has= its topics; ?skip= what on_deliver hides from it.
local POLICY = [[
return {
    on_handshake = function(req)
        local topics = {}
        for topic in (req:arg "has" or "news"):gmatch "[^,]+" do topics[#topics + 1] = topic end
        return { user = req:arg "as" or "42", topics = topics, tags = { skip = req:arg "skip" } }
    end,
    on_deliver = function(conn, msg)
        if conn.tags.skip and msg.data == conn.tags.skip then return false end
        if msg.data == "replace" then return "replaced" end
    end,
    http = { ["GET /page"] = function() return 200, { ["Content-Type"] = "text/html" }, %q end },
}
]]

local PAGE = [==[
<script>
let since = "";
function open() {
  const source = new EventSource("/sse" + since);
  source.onmessage = (event) => { since = "?since=" + event.lastEventId; console.log("got <" + event.data + ">"); };
  source.addEventListener("gap", (event) => console.log("gap <" + event.data + ">"));
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(open, 100); };
}
open();
</script>
]==]

local function start(options)
    local all = {
        workers = 2, policy = POLICY:format(PAGE),
        env = {BELLHOP_HISTORY_RULES = RULES, BELLHOP_SSE_RETRY = "0.1", BELLHOP_WEBSOCKET_PING_INTERVAL = "0.2"},
    }
    for name, value in pairs(options or {}) do all[name] = value end
    return daemon.start(all)
end

local function numbers(from, to)
    local list = {}
    for i = from, to do list[#list + 1] = tostring(i) end
    return list
end

local function specs(with_redis)
    local d, url

    setup(function()
        url = with_redis and topology.start():url() or nil
        d = start {redis = url}
    end)
    teardown(function()
        daemon.stop_all()
        redis.stop_all()
    end)
    after_each(sse.drop_all)

    local user = 100

    -- Each test has a user of its own.
    before_each(function() user = user + 1 end)

    local function connect(query, options) return sse.connect(d.port, ("/sse?as=%d&%s"):format(user, query or ""), options) end
    local function publish(...) for _, text in ipairs {...} do d:publish("users/" .. user, text) end end
    local function take(client, n)
        local list = {}
        for _ = 1, n do list[#list + 1] = assert(client:message()) end
        return list
    end

    it("has an id from the beginning", function()
        local client = connect()
        assert.matches("^1%.[%w_-]+:%d+%-0,[%w_-]+:%d+%-%d+$", client.id)
        publish("1")
        local event = client:event()
        assert.matches("^1%.[%w_-]+:%d+%-1,", event.id)
    end)

    it("gets what it missed, once and in order, then what is new", function()
        local client = connect()
        publish("1", "2")
        assert.are.same(numbers(1, 2), take(client, 2))
        local id = client.id
        client:drop()
        publish(table.unpack(numbers(3, 9)))
        d:publish("topics/news", "news")
        client = connect("", {last_id = id})
        local got = {}
        for _, text in ipairs(take(client, 8)) do if text ~= "news" then got[#got + 1] = text end end
        assert.are.same(numbers(3, 9), got)
        publish("10")
        assert.are.same({"10"}, take(client, 1))
    end)

    it("may say it in the query, and Last-Event-ID is newer", function()
        local client = connect()
        publish("1", "2", "3")
        local first = client:event().id
        take(client, 2)
        local last = client.id
        client:drop()
        client = connect("since=" .. first)
        assert.are.same({"2", "3"}, take(client, 2))
        client:drop()
        client = connect("since=" .. first, {last_id = last})
        publish("4")
        assert.are.same({"4"}, take(client, 1))
    end)

    it("misses nothing that comes while it comes back", function()
        local client = connect()
        publish("0")
        assert.are.same({"0"}, take(client, 1))
        local id, expected, got = client.id, 1, {}
        for _ = 1, 15 do
            client:drop()
            publish(tostring(expected))
            client = assert(sse.open(d.port, "/sse?as=" .. user, {last_id = id}))
            publish(tostring(expected + 1))
            expected = expected + 2
            while #got < expected - 1 do got[#got + 1] = assert(client:message()) end
            id = client.id
        end
        assert.are.same(numbers(1, expected - 1), got)
    end)

    it("is told of a gap when too much is gone", function()
        local client = connect()
        publish("1")
        assert.are.same({"1"}, take(client, 1))
        client:drop()
        publish(table.unpack(numbers(2, 30)))
        client = connect("", {last_id = client.id})
        local event = client:event()
        assert.are.equal("gap user:" .. user, event.event .. " " .. event.data)
        publish("31")
        assert.are.same({"31"}, take(client, 1))
        client:drop()
        publish("32")
        assert.are.same({"32"}, take(connect("", {last_id = client.id}), 1))
    end)

    it("is told of a gap when its epoch is unknown", function()
        local client = connect()
        local unknown = client.id:gsub(":%d+%-%d+", ":12345-6")
        client:drop()
        client = connect("", {last_id = unknown})
        local gaps = {}
        for _ = 1, 2 do
            local event = client:event()
            gaps[#gaps + 1] = event.event .. " " .. event.data
        end
        table.sort(gaps)
        assert.are.same({"gap topic:news", "gap user:" .. user}, gaps)
    end)

    it("has nothing of topics that it gives a position of, and may not join", function()
        local rich = connect "has=secret"
        d:publish("topics/secret", "for the rich")
        local events = {rich:event()}
        assert.are.equal("for the rich", events[1].data)
        local id = rich.id
        rich:drop()
        d:publish("topics/secret", "more for the rich")
        local poor = connect("has=news", {last_id = id})
        publish("for all")
        assert.are.equal("for all", poor:message())
    end)

    it("gets an id when a position has moved without a message", function()
        local client = connect "skip=hidden"
        publish("hidden")
        local block
        repeat block = assert(client:block()) until block.id
        assert.is_nil(block.data)
        assert.matches(":%d+%-1", block.id)
        client:drop()
        publish("shown")
        assert.are.same({"shown"}, take(connect("skip=hidden", {last_id = client.id}), 1))
    end)

    it("gets what on_deliver makes of it, with the id", function()
        local client = connect()
        publish("replace")
        local event = client:event()
        assert.are.equal("replaced", event.data)
        assert.matches(":%d+%-1", event.id)
    end)

    it("can follow at most eight streams", function()
        local topics = {}
        for i = 1, 8 do topics[i] = "s" .. i end
        local client, answer = sse.open(d.port, "/sse?as=1&has=" .. table.concat(topics, ","))
        assert.is_nil(client)
        assert.are.equal(400, answer.status)
        assert.matches("at most 8", answer.body)
        client = assert(sse.open(d.port, "/sse?as=1&has=" .. table.concat(topics, ",", 1, 7)))
        client:wait_open()
        assert.are.equal(8, select(2, client.id:gsub(":", "")))
    end)

    it("gets more than its queue holds as a gap, and stays", function()
        local small = start {redis = url, env = {BELLHOP_HISTORY_RULES = RULES, BELLHOP_WEBSOCKET_QUEUE_BYTES = "20000"}}
        local client = sse.connect(small.port, "/sse")
        small:publish("users/42", "1")
        assert.are.equal("1", client:message())
        client:drop()
        for _ = 1, 15 do small:publish("users/42", ("x"):rep(4000)) end
        client = sse.connect(small.port, "/sse", {last_id = client.id})
        local event = client:event()
        while event.event == "message" do event = client:event() end
        assert.are.equal("gap", event.event)
        small:publish("users/42", "live")
        assert.are.equal("live", client:message())
        small:stop()
    end)

    it("is counted", function()
        local before = d:metric 'bellhop_edge_sse_recovered_total{complete="true"}'
        local client = connect()
        client:drop()
        connect("", {last_id = client.id})
        d:wait_metric('bellhop_edge_sse_recovered_total{complete="true"}', before + 1)
    end)

    it("is a browser", function()
        if not browser.find() then return pending "there is no Chromium" end
        local page = browser.open(("http://127.0.0.1:%d/page"):format(d.port))
        wait.till(function() return d:metric "bellhop_edge_sse_connections" == 1 end, 40)
        d:publish("users/42", "first")
        page:wait "got <first>"
        for i = 1, 3 do
            d:request("DELETE", "/api/users/42/connections")
            wait.till(function() return d:metric "bellhop_edge_sse_connections" == 0 end)
            d:publish("users/42", "missed " .. i)
            page:wait("got <missed " .. i .. ">")
        end
        assert.are.equal(4, select(2, page:log():gsub("got <", "")))
        assert.is_nil(page:log():find("gap <", 1, true))
        page:stop()
    end)
end

describe("a client of server-sent events that comes back", function() specs(false) end)
describe("a client of server-sent events that comes back, with Redis,", function() specs(true) end)
