-- Clients with ?format=json: the frames they get, the topics they may name, and the limits that hold for
-- them as for others. Topics have no history here.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local ws = require "ws"

local POLICY = [[local bh = require "bellhop"
return {
    on_handshake = function(req)
        local topics = {}
        for topic in (req:arg "has" or ""):gmatch "[^,]+" do topics[#topics + 1] = topic end
        return { user = req:arg "user", topics = topics, format = req:arg "as" }
    end,
    on_subscribe = function(conn, topic)
        if topic:find "^free" then return true end
        if topic:find "^none" then return false, 404, "no such topic" end
        if topic:find "^paid" then return false, 402, '{"price":1}' end
        if topic:find "^wrong" then error "a mistake" end
        if topic:find "^slow" then bh.sleep(0.05) return true end
    end,
    on_open = function(conn) if conn.user == "greeted" then conn:send "hello" end end,
    on_message = function(conn, data, kind)
        if data == "number" then return "17" end
        if data == "bytes" then conn:send("\0\255", "binary") return true end
        if data == "join" then conn:subscribe "free-later" conn:send "joined" return true end
        return data
    end,
    on_deliver = function(conn, msg)
        if msg.data == "replace" then return '{"instead":1}' end
        if msg.data == "reword" then return "instead" end
    end,
}]]

local FIRST = '{"recovered":false,"id":"1."}'

describe("format=json", function()
    local d

    setup(function() d = daemon.start {policy = POLICY, dev = false, env = {BELLHOP_API_KEYS = "key"}} end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function publish(target, body, kind)
        return d:publish(target, body, nil, {Authorization = "Bearer key", ["Content-Type"] = kind})
    end

    -- A client that has got its first frame.
    local function connect(query, options)
        local client = ws.connect(d.port, "/ws?format=json&" .. query, options)
        check.next(client, FIRST, "text")
        return client
    end

    local function refused(status, text, query)
        local client, refusal = ws.try(d.port, "/ws?" .. query)
        assert.is_nil(client)
        assert.are.equal(status, refusal.status, refusal.body)
        assert.is_truthy(refusal.body:find(text, 1, true), refusal.body)
        return refusal
    end

    it("says of which topic a message is", function()
        local client = connect "user=42&has=news"
        publish("users/42", '{"n":1}')
        check.next(client, '{"topic":"user:42","data":{"n":1}}', "text")
        publish("topics/news", "17")
        check.next(client, '{"topic":"topic:news","data":17}', "text")
        publish("broadcast", ' [ 1, "\u{e4}" ] ')
        check.next(client, '{"topic":"all","data": [ 1, "\u{e4}" ] }', "text")
    end)

    it("tells JSON from text, and text from bytes", function()
        local client = connect "user=43"
        for body, data in pairs {
            ['"text"'] = '"text"', ["text"] = '"text","encoding":"text"', ["{"] = '"{","encoding":"text"',
            ["null"] = "null", ["nul"] = '"nul","encoding":"text"', ["1 2"] = '"1 2","encoding":"text"',
            ['a"\\\n\u{7f}'] = '"a\\"\\\\\\n\\u007f","encoding":"text"', [""] = '"","encoding":"text"',
        } do
            publish("users/43", body)
            check.next(client, '{"topic":"user:43","data":' .. data .. "}", "text")
        end
        publish("users/43", "\0\1\255", "application/octet-stream")
        check.next(client, '{"topic":"user:43","data":"AAH/","encoding":"base64"}', "text")
        publish("users/43", "{}", "application/octet-stream")
        check.next(client, '{"topic":"user:43","data":"e30=","encoding":"base64"}', "text")
    end)

    it("gives what the policy sends without a topic", function()
        local client = connect "user=44"
        client:text "number"
        check.next(client, '{"data":17}', "text")
        client:text "hello"
        check.next(client, '{"data":"hello","encoding":"text"}', "text")
        client:text "bytes"
        check.next(client, '{"data":"AP8=","encoding":"base64"}', "text")
        client:binary "\1"
        check.next(client, '{"data":"AQ==","encoding":"base64"}', "text")
    end)

    it("keeps the topic of a message that on_deliver replaces", function()
        local client = connect "user=45"
        publish("users/45", "replace")
        check.next(client, '{"topic":"user:45","data":{"instead":1}}', "text")
        publish("users/45", "reword")
        check.next(client, '{"topic":"user:45","data":"instead","encoding":"text"}', "text")
    end)

    it("sends nothing before the first frame", function()
        for _ = 1, 5 do
            local client = connect "user=greeted"
            check.next(client, '{"data":"hello","encoding":"text"}', "text")
            client:drop()
        end
    end)

    it("is chosen by the identity, too", function()
        check.next(ws.connect(d.port, "/ws?user=46&as=json"), FIRST, "text")
        local raw = ws.connect(d.port, "/ws?user=46&as=raw&format=json")
        local other = ws.connect(d.port, "/ws?user=46&format=protobuf&topic=any&since=x")
        publish("users/46", "raw")
        check.next(raw, "raw", "text")
        check.next(other, "raw", "text")
    end)

    it("names topics that are the identity's or that on_subscribe allows", function()
        local client = connect "user=47&has=mine,other&topic=mine&topic=free-1&topic=free%2F2&topic=slow"
        for _, topic in ipairs {"mine", "other", "free-1", "slow"} do
            publish("topics/" .. topic, "1")
            check.next(client, '{"topic":"topic:' .. topic .. '","data":1}', "text")
        end
        publish("topics/free%2F2", "1")
        check.next(client, '{"topic":"topic:free/2","data":1}', "text")
        client:text "join"
        check.next(client, '{"data":"joined","encoding":"text"}', "text")
        publish("topics/free-later", "2")
        check.next(client, '{"topic":"topic:free-later","data":2}', "text")
    end)

    it("refuses other topics, and says which one", function()
        local json = "format=json&user=48&"
        refused(403, "topic mine: it is not among the topics of this client", json .. "topic=mine")
        refused(403, "topic mine: ", json .. "topic=free-1&topic=mine")
        refused(404, "topic none-1: no such topic", json .. "topic=none-1")
        refused(404, "topic none-1: no such topic", json .. "has=none-1&topic=none-1")
        local own = refused(402, '{"price":1}', json .. "topic=paid")
        assert.are.equal('{"price":1}', own.body)
        refused(503, "topic wrong: on_subscribe failed", json .. "topic=wrong")
        connect "user=48&has=none-1" -- not named: it is left out
    end)

    it("leaves no topic and no connection behind when it refuses", function()
        d:wait_metric("bellhop_edge_connections", 0) -- those of other tests have gone
        refused(403, "topic mine", "format=json&user=49&topic=free-49&topic=mine")
        assert.are.equal(0, d:metric "bellhop_edge_connections")
        assert.is_truthy(publish("topics/free-49", "x"):find('"status":"offline"', 1, true))
    end)

    it("refuses a malformed query", function()
        local json = "format=json&user=50&"
        refused(400, "topic: ", json .. "topic=")
        refused(400, "topic: ", json .. "topic=a%20b")
        refused(400, "escape", json .. "topic=%zz")
        refused(400, "since: ", json .. "since=_")
        refused(400, "since: ", json .. "since=" .. ("1"):rep(300))
        refused(400, "since: ", json .. "since=1.AAAAAAAAAAA:1-1,AAAAAAAAAAA:1-1")
        local many = {}
        for i = 1, 65 do many[i] = "topic=free-" .. i end
        refused(400, "64 topics", json .. table.concat(many, "&"))
        refused(400, "topic: ", "user=50&as=json&topic=")
    end)

    it("accepts an id of other topics", function()
        connect "user=51&since=1.AAAAAAAAAAA:1733000000000000-7"
        connect "user=51&since="
        connect "user=51&since=1."
    end)

    it("is compressed as other messages are", function()
        local text = '{"x":"' .. ("abcd"):rep(1000) .. '"}'
        local client = ws.connect(d.port, "/ws?format=json&user=52", {headers = {
            ["Sec-WebSocket-Extensions"] = "permessage-deflate"}})
        check.next(client, FIRST, "text")
        local plain = connect "user=52"
        publish("users/52", text)
        local expected = '{"topic":"user:52","data":' .. text .. "}"
        local frame = client:recv_frame()
        assert.are.equal(expected, frame.payload)
        assert.is_truthy(frame.deflated)
        check.next(plain, expected, "text")
    end)

    it("stands beside raw clients of the same topic", function()
        local clients, raws = {}, {}
        for i = 1, 5 do
            clients[i] = connect("user=53-" .. i .. "&topic=free-53")
            raws[i] = ws.connect(d.port, "/ws?user=53-" .. i .. "&has=free-53")
        end
        for n = 1, 3 do
            publish("topics/free-53", '{"n":' .. n .. "}")
            for i = 1, 5 do
                check.next(clients[i], '{"topic":"topic:free-53","data":{"n":' .. n .. "}}", "text")
                check.next(raws[i], '{"n":' .. n .. "}", "text")
            end
        end
    end)
end)

describe("format=json with --dev", function()
    local d

    setup(function() d = daemon.start() end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("takes the identity and all topics from the query", function()
        local client = ws.connect(d.port, "/ws?format=json&user=1&tenant=t&topic=any&topic=other")
        check.next(client, FIRST, "text")
        for target, topic in pairs {["users/1"] = "user:1", ["tenants/t"] = "tenant:t", ["topics/any"] = "topic:any",
            ["topics/other"] = "topic:other"} do
            d:publish(target, "true")
            check.next(client, '{"topic":"' .. topic .. '","data":true}', "text")
        end
    end)
end)

describe("format=json with --dev and a policy", function()
    local d

    setup(function()
        d = daemon.start {policy = [[return {
            on_handshake = function(req) return { user = "1" } end,
            on_subscribe = function(conn, topic) if topic == "no" then return false end end,
        }]]}
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("accepts what the policy does not refuse", function()
        check.next(ws.connect(d.port, "/ws?format=json&topic=any"), FIRST, "text")
        local _, refusal = ws.try(d.port, "/ws?format=json&topic=no")
        assert.are.equal(403, refusal.status)
        assert.is_truthy(refusal.body:find("topic no: ", 1, true), refusal.body)
    end)
end)

-- Fills the queue of a client that does not read: then what is dropped is dropped.
describe("format=json and slow clients", function()
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("closes them, or drops", function()
        for _, mode in ipairs {"close", "drop_oldest", "drop_newest"} do
            local d = daemon.start {env = {BELLHOP_WEBSOCKET_ON_SLOW = mode, BELLHOP_WEBSOCKET_QUEUE_BYTES = "65536"}}
            local client = ws.connect(d.port, "/ws?format=json&user=1", {receive_buffer = 4096})
            local text = '"' .. ("x"):rep(50000) .. '"'
            local metric = mode == "close" and "bellhop_edge_slow_consumers_total" or "bellhop_edge_messages_dropped_total"
            local n = 0
            while d:metric(metric) == 0 do
                for _ = 1, 20 do d:publish("users/1", text) end
                n = n + 1
                assert.is_true(n < 100, "nothing is dropped")
            end
            if mode ~= "close" then
                check.next(client, FIRST, "text")
                d:publish("users/1", '"last"')
                local last, kind
                repeat
                    last, kind = client:recv()
                    assert.are.equal("text", kind)
                until last == '{"topic":"user:1","data":"last"}' or mode == "drop_newest" and #last < 100
            end
            client:drop()
            d:stop()
        end
    end)
end)
