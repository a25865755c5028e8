-- Messages filtered by tags of connections, and bh.publish_wait: on one instance, and on two with Redis.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local topology = require "topology"
local ws = require "ws"

-- Tags come from the query. A client's message is a verb and the JSON of a publish.
local POLICY = [[
local bh = require "bellhop"
return {
    on_api = function() return true end,
    on_handshake = function(req)
        return {
            user = req:arg "user", tenant = "7", topics = { "x" },
            tags = { platform = req:arg "platform", beta = req:arg "beta" == "yes", long = ("v"):rep(256) },
        }
    end,
    on_message = function(conn, data)
        local verb, json = data:match "^(%w+) (.*)$"
        local p = bh.json.decode(json)
        if verb == "answer" then return p end
        local result, why = bh["publish" .. (verb == "wait" and "_wait" or "")](p)
        if verb == "publish" then return result and "accepted" or why end
        if not result then return why end
        return ("%s %s %s %s"):format(result.status, result.instances, result["local"], result.duplicate)
    end,
    on_publish = function(msg)
        if msg.data == "only ios" then msg.filter = { platform = "ios" } end
        if msg.data == "to all again" then msg.filter = nil end
        if msg.data == "wait" then msg.data = bh.publish_wait { user = "nobody", data = "wait" }.status end
        if msg.data == "refused" then return false, "not today" end
    end,
    on_deliver = function(conn, msg)
        if msg.data == "show" then return "for " .. (msg.filter and msg.filter.platform or "all") end
    end,
}
]]

local function connect(d, user, platform, beta)
    return ws.connect(d.port, ("/ws?user=%s%s%s"):format(user, platform and "&platform=" .. platform or "",
        beta and "&beta=yes" or ""))
end

local function say(client, text, answer)
    client:text(text)
    check.next(client, answer, "text")
end

local function result_of(body)
    return body:match '"status":"(%a+)"', math.tointeger(body:match '"instances":(%d+)'),
        math.tointeger(body:match '"local":(%d+)')
end

local function assert_result(status, instances, sockets, body)
    assert.are.same({status, instances, sockets}, {result_of(body)})
end

describe("a filter on one instance", function()
    local d, ios, android, beta, plain

    setup(function() d = daemon.start {policy = POLICY, workers = 2} end)
    teardown(daemon.stop_all)
    before_each(function()
        ios, android = connect(d, "42", "ios"), connect(d, "42", "android")
        beta, plain = connect(d, "42", "ios", true), connect(d, "43")
    end)
    after_each(ws.drop_all)

    local function quiet() check.quiet(d, ios, android, beta, plain) end

    it("selects receivers of every target, with every strategy", function()
        for _, strategy in ipairs {"local_first", "redis", "both", "local"} do
            for _, target in ipairs {"users/42", "tenants/7", "topics/x", "broadcast"} do
                local text = target .. " with " .. strategy
                assert_result("delivered", 1, 2,
                    d:publish(target, text, "filter=platform:ios&strategy=" .. strategy))
                check.next(ios, text, "text")
                check.next(beta, text, "text")
                assert_result("delivered", 1, 1,
                    d:publish(target, text, "filter=platform:ios&filter=beta:true&strategy=" .. strategy))
                check.next(beta, text, "text")
                assert_result("offline", 0, 0,
                    d:publish(target, text, "filter=platform:windows&strategy=" .. strategy))
            end
            quiet()
        end
    end)

    it("works with the other options", function()
        d:publish("users/42", "not beta", "filter=platform:ios&except=" .. beta.id .. "&ttl=60&id=f1")
        check.next(ios, "not beta")
        assert.matches('"duplicate":true', d:publish("users/42", "not beta", "filter=platform:ios&id=f1"))
        d:publish("users/42", "\0\xff", "filter=platform:android", {["Content-Type"] = "application/octet-stream"})
        check.next(android, "\0\xff", "binary")
        quiet()
    end)

    it("works in the items of a batch", function()
        local answer = d:request("POST", "/api/publish", {body = [==[[
            {"user": 42, "data": 1, "filter": {"platform": "android"}},
            {"all": true, "data": 2, "filter": {"platform": "ios", "beta": true}},
            {"all": true, "data": 3, "filter": {}},
            {"all": true, "data": 4, "filter": {"platform": ["ios"]}},
            {"all": true, "data": 5}]]==]})
        assert.are.equal(200, answer.status)
        check.next(android, "1")
        check.next(beta, "2")
        for _, client in ipairs {ios, android, beta, plain} do check.next(client, "5") end
        local _, refused = answer.body:gsub('"invalid_option"', "")
        assert.are.equal(2, refused)
        quiet()
    end)

    it("is refused if invalid, and nothing is delivered", function()
        for query, why in pairs {
            ["filter=ios"] = "name:value",
            ["filter=:ios"] = "1 to 64 bytes",
            ["filter=" .. ("n"):rep(65) .. ":x"] = "1 to 64 bytes",
            ["filter=x:" .. ("v"):rep(257)] = "at most 256 bytes",
            ["filter=a:1&filter=a:2"] = "once",
            ["filter=a:&filter=b:&filter=c:&filter=d:&filter=e:&filter=f:&filter=g:&filter=h:&filter=i:"] = "at most 8",
        } do
            local answer = d:request("POST", "/api/broadcast?" .. query, {body = "x"})
            check.error(answer, 400, "invalid_option", why)
        end
        quiet()
    end)

    it("works in policies", function()
        d:publish("users/42", "only ios")
        check.next(ios, "only ios")
        check.next(beta, "only ios")
        d:publish("users/42", "to all again", "filter=platform:ios")
        for _, client in ipairs {ios, android, beta} do check.next(client, "to all again") end
        d:publish("users/42", "show", "filter=platform:android")
        check.next(android, "for android")
        d:publish("users/43", "show")
        check.next(plain, "for all")
        say(plain, 'publish {"user": 42, "data": "a", "filter": {"platform": "android"}}', "accepted")
        check.next(android, "a")
        plain:text 'answer {"tenant": 7, "data": "b", "filter": {"platform": "ios", "beta": true}}'
        check.next(beta, "b")
        quiet()
    end)

    it("applies to the counts of publish_wait", function()
        say(plain, 'wait {"user": 42, "data": "w"}', "delivered 1 3 nil")
        for _, client in ipairs {ios, android, beta} do check.next(client, "w") end
        say(plain, 'wait {"user": 42, "data": "w", "filter": {"platform": "android"}, "strategy": "redis"}',
            "delivered 1 1 nil")
        check.next(android, "w")
        say(plain, 'wait {"user": 42, "data": "w", "filter": {"platform": "windows"}}', "offline 0 0 nil")
        say(plain, 'wait {"user": "a b", "data": "w"}',
            "user: a user id must be valid UTF-8 without white space, control characters, bidi controls " ..
            "and U+FFFD")
        say(plain, 'wait {"user": 42, "data": "refused"}', "not today")
        say(plain, 'wait {"user": "none", "data": "w", "id": "w1"}', "offline 0 0 nil")
        say(plain, 'wait {"user": "none", "data": "w", "id": "w1"}', "offline nil nil true")
        say(ios, 'wait {"user": 43, "data": "wait"}', "delivered 1 1 nil")
        check.next(plain, "offline")
        quiet()
    end)
end)

describe("a filter on two instances", function()
    local server, a, b

    setup(function()
        server = topology.start()
        local function start(name)
            return daemon.start {
                policy = POLICY, redis = server:url(), workers = 2, args = {"--instance", name},
                env = {BELLHOP_REDIS_PROBE_INTERVAL = "0.2", BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3"},
            }
        end
        a, b = start "node-a", start "node-b"
    end)
    teardown(function()
        daemon.stop_all()
        redis.stop_all()
    end)
    after_each(ws.drop_all)

    it("is sent with the message, and each instance applies it", function()
        local phone, tablet = connect(a, "42", "ios"), connect(b, "42", "ios")
        local other, laptop = connect(a, "42", "android"), connect(b, "42", "android")
        for _, strategy in ipairs {"local_first", "redis", "both"} do
            for _, target in ipairs {"users/42", "tenants/7", "topics/x", "broadcast"} do
                local text = target .. " with " .. strategy
                assert_result("delivered", 2, 1,
                    a:publish(target, text, "filter=platform:ios&strategy=" .. strategy))
                check.next(phone, text, "text")
                check.next(tablet, text, "text")
            end
            check.quiet(b, phone, tablet, other, laptop)
        end
        a:publish("users/42", "here", "filter=platform:ios&strategy=local")
        check.next(phone, "here")
        check.quiet(a, phone, tablet, other, laptop)
        a:publish("users/42", "show", "filter=platform:android")
        check.next(other, "for android")
        check.next(laptop, "for android")
        check.quiet(b, phone, tablet, other, laptop)
    end)

    it("includes other instances in publish_wait, also without a match", function()
        local phone, laptop = connect(a, "42", "ios"), connect(b, "42", "android")
        say(phone, 'wait {"user": 42, "data": "w", "except": "' .. phone.id .. '"}', "published 1 0 nil")
        check.next(laptop, "w")
        say(phone, 'wait {"user": 42, "data": "w", "filter": {"platform": "android"}}', "published 1 0 nil")
        check.next(laptop, "w")
        say(phone, 'wait {"user": 42, "data": "w", "filter": {"platform": "none"}}', "published 1 0 nil")
        check.quiet(a, phone, laptop)
    end)

    it("may have the maximum length", function()
        local phone, laptop = connect(a, "42", "ios"), connect(b, "42", "ios")
        local query = {}
        for i = 1, 7 do query[i] = "filter=" .. ("n"):rep(63) .. i .. ":" .. ("v"):rep(256) end
        query[8] = "filter=long:" .. ("v"):rep(256)
        for _ = 1, 50 do a:publish("users/42", "nobody has them all", table.concat(query, "&")) end
        a:publish("users/42", ("x"):rep(100000), query[8])
        check.next(phone, ("x"):rep(100000))
        check.next(laptop, ("x"):rep(100000))
        check.quiet(a, phone, laptop)
    end)

    it("applies to messages from Redis, and an unreadable one matches nobody", function()
        local phone, laptop = connect(a, "42", "ios"), connect(b, "42", "android")
        local function envelope(filter, length, id)
            return "\0bh1" .. string.pack(">BBBBBBI2I8I4", 0, 1, 0, 5, #id, 0, length, 0, 0) .. "other" .. id ..
                filter .. "hi"
        end
        local function pair(name, value) return string.pack(">BI2", #name, #value) .. name .. value end
        local ios = pair("platform", "ios")
        server:call("PUBLISH", "notification:42", envelope(ios, #ios, "e1"))
        check.next(phone, "hi")
        for i, bad in ipairs {
            envelope(ios, #ios - 1, "e"), envelope(ios, #ios + 1, "e"), envelope(ios, 60000, "e"),
            envelope(ios .. ios, 2 * #ios, "e"), envelope("\0\0\0", 3, "e"), envelope("", 1, "e"),
        } do
            server:call("PUBLISH", i % 2 == 0 and "notification:42" or "notification:broadcast", bad)
        end
        check.quiet(b, phone, laptop)
        assert.are.equal(200, a:ready())
    end)
end)
