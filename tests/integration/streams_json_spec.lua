-- Clients with ?format=json on topics with history: where they are, what they get when they come back, and
-- what they are told. The history is that of a single instance.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local ws = require "ws"

local POLICY = [[
local allowed = true
return {
    on_handshake = function(req)
        return { user = req:arg "user", tags = { room = req:arg "room" } }
    end,
    on_subscribe = function(conn, topic)
        if topic == "switch" then return allowed end
        return topic:find "^s" ~= nil or topic == "later"
    end,
    on_message = function(conn, data)
        if data == "withdraw" then allowed = false elseif data == "join" then conn:subscribe "later" end
        return true
    end,
    on_deliver = function(conn, msg)
        if msg.data == "skip" then return false end
        if msg.data == "replace" then return '"instead"' end
    end,
}]]

local RULES = '[{"topic":"user:*","size":20,"ttl":60},{"topic":"topic:s*","size":1000,"ttl":60},'
    .. '{"topic":"topic:later","size":5,"ttl":60}]'

describe("format=json on streams", function()
    local d

    setup(function()
        d = daemon.start {policy = POLICY, dev = false, workers = 1, env = {
            BELLHOP_API_KEYS = "key", BELLHOP_HISTORY_RULES = RULES, BELLHOP_WEBSOCKET_PING_INTERVAL = "1",
            BELLHOP_WEBSOCKET_QUEUE_BYTES = "100000",
        }}
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function publish(target, body, query)
        return d:publish(target, body, query, {Authorization = "Bearer key"})
    end

    local function connect(query) return ws.connect(d.port, "/ws?format=json&" .. query) end

    -- The next frame, as a table of its members, their JSON unparsed.
    local function frame(client)
        local text, kind = client:recv()
        assert.are.equal("text", kind)
        return {
            text = text, topic = text:match '^{"topic":"([^"]+)"', id = text:match '"id":"([^"]+)"',
            data = text:match '"data":(.*)}$', gap = text:match '^{"gap":"([^"]+)"',
            reason = text:match '"reason":"([^"]+)"', rewound = text:match '^{"rewound":"([^"]+)"',
            recovered = text:match '^{"recovered":(%a+)',
        }
    end

    -- A new client, and its id.
    local function new(query)
        local client = connect(query)
        local first = frame(client)
        assert.are.equal("false", first.recovered)
        return client, first.id
    end

    local function expect_data(client, topic, ...)
        local id
        for _, data in ipairs {...} do
            local f = frame(client)
            assert.are.same({topic, data}, {f.topic, f.data}, f.text)
            id = f.id
        end
        return id
    end

    it("gives new clients their id at once, and what they missed", function()
        local client, id = new "user=1"
        assert.is_truthy(id:find "^1%.[%w_-]+:%d+%-0$", id)
        for i = 1, 3 do publish("users/1", tostring(i)) end
        id = expect_data(client, "user:1", "1", "2")
        client:drop()
        publish("users/1", "4")
        client = connect("user=1&since=" .. id)
        assert.are.equal("true", frame(client).recovered)
        expect_data(client, "user:1", "3", "4")
        publish("users/1", "5")
        id = expect_data(client, "user:1", "5")
        client:drop()
        client = connect("user=1&since=" .. id)
        local first = frame(client)
        assert.are.same({"true", id}, {first.recovered, first.id})
        publish("users/1", "6")
        expect_data(client, "user:1", "6")
    end)

    it("keeps the positions of several topics apart", function()
        local client, id = new "user=2&topic=s2&topic=s2b"
        publish("topics/s2", "1")
        publish("users/2", "2")
        publish("topics/s2b", "3")
        publish("users/2", "4")
        expect_data(client, "topic:s2", "1")
        local middle = expect_data(client, "user:2", "2")
        client:drop()
        for since, missed in pairs {[id] = "1 2 3 4", [middle] = "3 4"} do
            client = connect("user=2&topic=s2b&topic=s2&since=" .. since)
            assert.are.equal("true", frame(client).recovered)
            local got = {}
            for _ = 1, #missed // 2 + 1 do
                local f = frame(client)
                got[#got + 1] = f.data
                id = f.id
            end
            table.sort(got)
            assert.are.equal(missed, table.concat(got, " "))
            client:drop()
        end
        client = connect("user=2&topic=s2&topic=s2b&since=" .. id)
        local first = frame(client)
        assert.are.same({"true", #id}, {first.recovered, #first.id})
        publish("users/2", '"live"')
        expect_data(client, "user:2", '"live"')
    end)

    it("tells a gap, and goes on", function()
        local client, id = new "user=3"
        client:drop()
        for i = 1, 25 do publish("users/3", tostring(i)) end
        for _, since in ipairs {id, (id:gsub(":%d+%-0", ":12345-0"))} do
            client = connect("user=3&since=" .. since)
            assert.are.equal("false", frame(client).recovered)
            local gap = frame(client)
            assert.are.same({"user:3", "expired"}, {gap.gap, gap.reason}, gap.text)
            publish("users/3", '"live"')
            expect_data(client, "user:3", '"live"')
            client:drop()
            client = connect("user=3&since=" .. gap.id)
            assert.are.equal("true", frame(client).recovered)
            expect_data(client, "user:3", '"live"')
            client:drop()
        end
    end)

    it("does not read a topic because its position is in the id", function()
        local other, id = new "user=4"
        publish("users/4", '"secret"')
        other:drop()
        local client = connect("user=5&since=" .. id)
        assert.are.equal("false", frame(client).recovered)
        local place = frame(client)
        assert.is_nil(place.text:find("secret", 1, true))
        publish("users/5", "1")
        expect_data(client, "user:5", "1")
    end)

    it("asks for the rights each time", function()
        local client, id = new "user=6&topic=switch"
        publish("topics/switch", '"secret"')
        client:text "withdraw"
        client:close(1000)
        local again, refusal = ws.try(d.port, "/ws?format=json&user=6&topic=switch&since=" .. id)
        assert.is_nil(again)
        assert.are.equal(403, refusal.status)
        client = connect("user=6&since=" .. id) -- it gave a position that it gets nothing for
        assert.are.equal("false", frame(client).recovered)
        publish("users/6", "1")
        expect_data(client, "user:6", "1")
    end)

    it("refuses more than 8 streams", function()
        local topics = {}
        for i = 1, 8 do topics[i] = "topic=s8-" .. i end
        local query = table.concat(topics, "&")
        new(query)
        local client, refusal = ws.try(d.port, "/ws?format=json&user=8&" .. query)
        assert.is_nil(client)
        assert.are.equal(400, refusal.status)
        assert.is_truthy(refusal.body:find("at most 8 topics", 1, true), refusal.body)
    end)

    it("holds for what was missed: filter, except, ttl, on_deliver", function()
        local client, id = new "user=9&room=a"
        client:drop()
        publish("users/9", "1", "filter=room:b")
        publish("users/9", "skip")
        publish("users/9", "replace")
        publish("users/9", "3", "ttl=1")
        publish("users/9", "4")
        client = connect("user=9&room=a&since=" .. id)
        assert.are.equal("true", frame(client).recovered)
        expect_data(client, "user:9", '"instead"')
        local f = frame(client)
        if f.data == "3" then f = frame(client) end -- not expired yet
        assert.are.equal("4", f.data)
    end)

    it("sends the id alone when the position has moved", function()
        local client, id = new "user=10&room=a"
        publish("users/10", "1", "filter=room:b")
        local f = frame(client)
        assert.are.equal('{"id":"' .. f.id .. '"}', f.text)
        assert.are_not.equal(id, f.id)
        client:drop()
        client = connect("user=10&room=a&since=" .. f.id)
        local first = frame(client)
        assert.are.same({"true", f.id}, {first.recovered, first.id})
    end)

    it("is a gap when it is more than half the queue", function()
        local client, id = new "user=11"
        client:drop()
        for _ = 1, 10 do publish("users/11", '"' .. ("x"):rep(10000) .. '"') end
        client = connect("user=11&since=" .. id)
        frame(client)
        local gap = frame(client)
        assert.are.same({"user:11", "size"}, {gap.gap, gap.reason}, gap.text:sub(1, 200))
        publish("users/11", "1")
        expect_data(client, "user:11", "1")
    end)

    -- The bytes of ids are more than those of the messages.
    it("is a gap when the frames are more than the queue", function()
        local client, id = new "user=12&topic=s12&topic=s12b&topic=s12c&topic=s12d&topic=s12e"
        client:drop()
        for i = 1, 900 do publish("topics/s12", tostring(i)) end
        client = connect("user=12&topic=s12&topic=s12b&topic=s12c&topic=s12d&topic=s12e&since=" .. id)
        frame(client)
        local expected, gap = 1, false
        repeat
            local f = frame(client)
            if f.gap then
                assert.are.same({"topic:s12", "size"}, {f.gap, f.reason}, f.text)
                gap = true
            elseif f.data then
                assert.is_true(gap or tonumber(f.data) == expected, f.text)
                expected = tonumber(f.data) + 1
            end
            local offset = f.id and tonumber(f.id:match ":%d+%-900,?")
        until offset or (f.id and f.id:find "-900")
        publish("topics/s12", '"live"')
        expect_data(client, "topic:s12", '"live"')
    end)

    it("follows a topic that the policy joins later", function()
        local client = new "user=13"
        client:text "join"
        local f = frame(client)
        assert.is_truthy(f.text:find '^{"id":"1%.[^,]+,[^,]+"}$', f.text)
        publish("topics/later", "1")
        expect_data(client, "topic:later", "1")
    end)
end)

-- A client that does not read for a while, then reads on and comes back.
describe("format=json on streams and slow clients", function()
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    for _, mode in ipairs {"drop_oldest", "drop_newest"} do
        it("tells what it dropped: " .. mode, function()
            local d = daemon.start {workers = 1, env = {
                BELLHOP_HISTORY_RULES = '[{"topic":"user:*","size":10,"ttl":60}]',
                BELLHOP_WEBSOCKET_ON_SLOW = mode, BELLHOP_WEBSOCKET_QUEUE_BYTES = "65536",
            }}
            local client = ws.connect(d.port, "/ws?format=json&user=1", {receive_buffer = 4096})
            local pad, published = ("x"):rep(20000), 0
            while d:metric "bellhop_edge_messages_dropped_total" == 0 do
                assert.is_true(published < 4000, "nothing is dropped")
                for _ = 1, 50 do
                    published = published + 1
                    d:publish("users/1", ('{"n":%d,"pad":"%s"}'):format(published, pad))
                end
            end
            -- Each id says that what is before it was got, or told as missing.
            local got, gaps, offset, id = 0, 0, 0, nil
            while offset < published do
                local text = assert(client:recv())
                local n = tonumber(text:match '"data":{"n":(%d+)')
                id = text:match '"id":"([^"]+)"' or id
                offset = tonumber(id:match ":%d+%-(%d+)$") or 0
                if text:find('{"gap"', 1, true) then
                    assert.is_truthy(text:find('"reason":"slow"', 1, true), text)
                    gaps = gaps + 1
                    got = offset
                elseif n then
                    assert.are.equal(got + 1, n)
                    got = n
                end
                assert.are.equal(got, offset)
            end
            assert.is_true(gaps > 0)
            -- With drop_oldest some were dropped themselves, and told again.
            assert.is_true(d:metric 'bellhop_core_stream_gaps_total{reason="slow"}' >= gaps)
            client:drop()
            d:publish("users/1", "1")
            client = ws.connect(d.port, "/ws?format=json&user=1&since=" .. id)
            assert.is_truthy(client:recv():find('"recovered":true', 1, true))
            assert.is_truthy(client:recv():find('"data":1}', 1, true))
            client:drop()
            d:stop()
        end)
    end

    it("tells a gap when the history has gone with the process", function()
        local env = {BELLHOP_HISTORY_RULES = '[{"topic":"user:*","size":10,"ttl":60}]'}
        local d = daemon.start {workers = 1, env = env}
        local client = ws.connect(d.port, "/ws?format=json&user=1")
        local id = client:recv():match '"id":"([^"]+)"'
        client:drop()
        d:publish("users/1", "1")
        d:stop()
        d = daemon.start {workers = 1, env = env}
        d:publish("users/1", "2")
        client = ws.connect(d.port, "/ws?format=json&user=1&since=" .. id)
        assert.is_truthy(client:recv():find('"recovered":false', 1, true))
        assert.is_truthy(client:recv():find('^{"gap":"user:1","id":"[^"]+","reason":"expired"}$'))
        d:publish("users/1", "3")
        assert.is_truthy(client:recv():find('"data":3}', 1, true))
    end)
end)
