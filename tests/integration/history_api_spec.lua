-- Histories over HTTP and in policies: publish options and results, pages, removing, the inbox. In the memory of one
-- instance, and on two instances with Redis.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local RULES = '[{"topic":"user:*","size":1000,"bytes":10000000},{"topic":"topic:news/*","size":3},{"topic":"all","size":10}]'

-- The user is in a cookie.
local POLICY = [[
local bh = require "bellhop"
return {
    on_api = function(req) return req:arg "key" ~= "no" end,
    on_handshake = function(req)
        local user = req:cookie "user"
        if not user then return false, 401, "no cookie" end
        return { user = user, tags = { os = req:cookie "os" }, headers = { ["X-Seen"] = "yes" } }
    end,
    on_publish = function(msg)
        if msg.data == "typing" then msg.history = false end
        if msg.data == "state" then msg.collapse = "state" end
    end,
    on_message = function(conn, data)
        if data == "read" then
            local page, why = bh.history.read { user = conn.user, limit = 2, order = "asc" }
            return page and page.messages[1].data .. " of " .. #page.messages or why
        end
        local result = assert(bh.publish_wait { user = conn.user, data = data })
        return tostring(result.status) .. " " .. tostring(result.strategy) .. " " .. tostring(result.position)
    end,
}
]]

local function positions(body)
    local list = {}
    for position in body:match '"messages":%[(.*)%],"position"':gmatch '"position":"(%d+%-%d+)"' do list[#list + 1] = position end
    return list
end

local function all_data(body)
    local list = {}
    for data in body:gmatch '"data":([^,}]+)' do list[#list + 1] = data end
    return table.concat(list, " ")
end

local function offset_of(position) return math.tointeger(position:match "%-(%d+)$") end

-- a publishes, b reads: the same instance, or another one.
local function suite(name, start)
    describe("the history API, " .. name, function()
        local a, b
        local users = 0
        local user

        setup(function() a, b = start() end)
        teardown(function()
            daemon.stop_all()
            redis.stop_all()
        end)
        before_each(function()
            users = users + 1
            user = "u" .. users
        end)
        after_each(ws.drop_all)

        local function publish(body, query, headers)
            local answer = a:request("POST", "/api/users/" .. user .. "/messages" .. (query and "?" .. query or ""),
                {body = body, headers = headers})
            assert.are.equal(200, answer.status, answer.body)
            return answer.body:match '"position":"(%d+%-%d+)"', answer.body
        end

        local function page(query)
            local answer = b:request("GET", "/api/users/" .. user .. "/messages" .. (query and "?" .. query or ""))
            assert.are.equal(200, answer.status, answer.body)
            return answer.body
        end

        it("answers a publish with its position", function()
            local position, body = publish("1", "id=a")
            assert.matches('^{"id":"a","status":"stored","strategy":"durable","position":"%d+%-1","instances":0,"local":0}\n$',
                body)
            publish("2")
            local again
            again, body = publish("1", "id=a")
            assert.are.equal(position, again)
            assert.matches('"duplicate":true', body, nil, true)
            local _, plain = publish("3", "history=false")
            assert.are.equal('"status":"offline","instances":0,"local":0}\n', plain:match ',(.*)$')
            _, plain = publish("4", "strategy=local")
            assert.is_nil(plain:match "position")
            assert.are.equal("2 1", all_data(page()))
        end)

        it("delivers with a position, and every strategy but local is durable", function()
            local client = ws.connect(b.port, "/ws", {headers = {Cookie = "user=" .. user}})
            for i, strategy in ipairs {"local_first", "redis", "both", "durable"} do
                local position, body = publish(tostring(i), "strategy=" .. strategy)
                assert.matches('"strategy":"durable"', body, nil, true)
                assert.are.equal(i, offset_of(position))
                assert.is_nil(body:match "stored")
                check.next(client, tostring(i))
            end
        end)

        it("refuses what needs a history", function()
            for query, text in pairs {
                ["history=true"] = "history", ["strategy=durable"] = "history", ["collapse=k"] = "history",
            } do
                check.error(a:request("POST", "/api/topics/none/messages?" .. query, {body = "x"}), 400, "invalid_request", text)
            end
            check.error(a:request("POST", "/api/users/1/messages?history=false&collapse=k", {body = "x"}), 400, "invalid_request",
                "collapse")
            check.error(b:request("GET", "/api/topics/none/messages"), 404, "no_history")
            check.error(b:request("DELETE", "/api/topics/none/messages"), 404, "no_history")
        end)

        it("takes the options in a batch", function()
            local answer = a:request("POST", "/api/publish", {body = ([==[[
                {"user": "%s", "data": 1, "collapse": "k"},
                {"user": "%s", "data": 2, "history": false},
                {"user": "%s", "data": 3, "history": true, "ttl": 60},
                {"topic": "none", "data": 4, "history": true},
                {"user": "%s", "data": 5, "history": "yes"},
                {"user": "%s", "data": 6, "collapse": ""}]]==]):format(user, user, user, user, user)})
            assert.are.equal(200, answer.status)
            local lines = {}
            for line in answer.body:gmatch "[^\n]+" do lines[#lines + 1] = line end
            assert.matches('"status":"stored","strategy":"durable","position":"%d+%-%d+"', lines[1])
            assert.matches('"status":"offline","instances"', lines[2])
            assert.matches('"stored"', lines[3])
            assert.matches('"invalid_request"', lines[4])
            assert.matches('"invalid_option".*history must be true or false', lines[5])
            assert.matches('"invalid_option".*collapse must be', lines[6])
            a:request("POST", "/api/publish", {body = ('[{"user": "%s", "data": 7, "collapse": "k"}]'):format(user)})
            assert.are.equal("7 3", all_data(page()))
        end)

        it("gives pages in both orders", function()
            local at = {}
            for i = 1, 5 do at[i] = publish(tostring(i)) end
            local body = page "limit=2"
            assert.are.equal("5 4", all_data(body))
            assert.are.same({at[5], at[4]}, positions(body))
            assert.matches(('],"position":"%s","more":true,"gap":false}'):format(at[5]), body, nil, true)
            body = page("order=desc&limit=3&since=" .. at[4])
            assert.are.equal("3 2 1", all_data(body))
            assert.matches('"more":false', body, nil, true)
            assert.are.equal("1 2", all_data(page "order=asc&limit=2"))
            assert.are.equal("4 5", all_data(page("since=" .. at[3])))
            assert.are.equal("", all_data(page("since=" .. at[5])))
            body = page "since=17-3"
            assert.matches('"gap":true', body, nil, true)
            assert.are.equal("1 2 3 4 5", all_data(body))
        end)

        it("gives the payload as it was", function()
            publish('{"n": 1.0}')
            publish "no \"JSON\"\n"
            publish("\0\xff", nil, {["Content-Type"] = "application/octet-stream"})
            publish("7", "filter=os:ios&id=x")
            local body = page()
            assert.matches('"data":{"n": 1.0}}', body, nil, true)
            assert.matches([["data":"no \"JSON\"\n","encoding":"text"}]], body, nil, true)
            assert.matches('"data":"AP8=","encoding":"base64"}', body, nil, true)
            assert.matches('^{"messages":%[{"id":"x","position":"%d+%-4","time":"20%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ",'
                .. '"filter":{"os":"ios"},"data":7}', body)
        end)

        it("replaces by a key", function()
            publish("1", "collapse=k")
            publish("2", "collapse=other")
            publish("3", "collapse=k")
            publish "state"
            publish "state"
            assert.are.equal('"state" 3 2', all_data(page()))
        end)

        it("keeps as much as the rule says, of topics and broadcasts, too", function()
            local topic = "news/" .. user
            for i = 1, 5 do a:request("POST", "/api/topics/" .. topic .. "/messages", {body = tostring(i)}) end
            local body = b:request("GET", "/api/topics/" .. topic .. "/messages?order=asc").body
            assert.are.equal("3 4 5", all_data(body))
            local first = positions(body)[1]
            body = b:request("GET", "/api/topics/" .. topic .. "/messages?since=" .. first:gsub("%d+$", "1")).body
            assert.matches('"gap":true', body, nil, true)
            local answer = a:request("POST", "/api/broadcast", {body = '"to all"'})
            assert.matches('"position"', answer.body, nil, true)
            assert.matches('"data":"to all"}', b:request("GET", "/api/broadcast/messages").body, nil, true)
            assert.are.equal('{"removed":1}\n', b:request("DELETE", "/api/broadcast/messages").body)
        end)

        it("removes one message, then all", function()
            local at = {}
            for i = 1, 4 do at[i] = publish(tostring(i)) end
            local path = "/api/users/" .. user .. "/messages"
            assert.are.equal('{"removed":1}\n', b:request("DELETE", path .. "/" .. at[2]).body)
            check.error(b:request("DELETE", path .. "/" .. at[2]), 404, "not_found")
            check.error(b:request("DELETE", path .. "/17-3"), 404, "not_found")
            assert.are.equal("4 3 1", all_data(page()))
            assert.are.equal('{"removed":3}\n', b:request("DELETE", path).body)
            local body = page("since=" .. at[1])
            assert.are.equal("", all_data(body))
            assert.matches('"gap":false', body, nil, true)
            assert.are.equal(5, offset_of((publish "5")))
        end)

        it("gives large pages", function()
            local text = '"' .. ("x"):rep(20000) .. '"'
            for _ = 1, 100 do publish(text) end
            local count, since = 0, nil
            repeat
                local body = page("order=desc&limit=1000" .. (since and "&since=" .. since or ""))
                local list = positions(body)
                assert.is_true(#list > 0)
                count, since = count + #list, list[#list]
                assert.is_true(#body < 1100000)
            until not body:match '"more":true'
            assert.are.equal(100, count)
        end)

        it("gives users their inbox", function()
            publish "1"
            publish("2", "filter=os:ios")
            publish("3", "filter=os:web")
            local cookie = {Cookie = "user=" .. user .. "; os=ios"}
            local answer = b:request("GET", "/inbox?limit=2&whatever=x", {headers = cookie})
            assert.are.equal(200, answer.status, answer.body)
            assert.are.equal("yes", answer.headers["x-seen"])
            assert.are.equal("no-store", answer.headers["cache-control"])
            assert.are.equal("2", all_data(answer.body))
            assert.are.equal("2 1", all_data(b:request("GET", "/inbox", {headers = cookie}).body))
            check.error(b:request("GET", "/inbox"), 401, "unauthorized", "no cookie")
            check.error(b:request("GET", "/inbox?limit=x", {headers = cookie}), 400, "invalid_option")
            check.error(b:request("POST", "/inbox", {headers = cookie}), 405, "method_not_allowed")
        end)

        it("is in policies", function()
            local client = ws.connect(b.port, "/ws", {headers = {Cookie = "user=" .. user}})
            local position = publish "first"
            check.next(client, "first")
            client:text "typing"
            check.next(client, "typing")
            check.next(client, "delivered nil nil")
            client:text "second" -- its echo may be behind the result
            local got = {client:recv(), (client:recv())}
            table.sort(got, function(x, y) return #x > #y end)
            assert.are.same({"delivered durable " .. position:gsub("1$", "2"), "second"}, got)
            client:text "read"
            check.next(client, "first of 2")
        end)
    end)
end

suite("in memory", function()
    local d = daemon.start {policy = POLICY, workers = 2, dev = false, env = {BELLHOP_HISTORY_RULES = RULES}}
    return d, d
end)

suite("in Redis", function()
    local r = topology.start()
    local options = {policy = POLICY, redis = r:url(), dev = false, env = daemon.short_timeouts {BELLHOP_HISTORY_RULES = RULES}}
    return daemon.start(options), daemon.start(options)
end)

describe("the history API", function()
    teardown(function()
        daemon.stop_all()
        redis.stop_all()
    end)

    it("says that Redis is away, and works again when it is back", function()
        local r = redis.start()
        local d = daemon.start {
            workers = 1, redis = r:url(),
            env = daemon.short_timeouts {BELLHOP_HISTORY_RULES = RULES},
        }
        local path = "/api/users/42/messages"
        assert.matches('"stored"', d:request("POST", path .. "?id=a", {body = "1"}).body, nil, true)
        r:kill()
        check.error(d:request("POST", path .. "?id=b", {body = "2"}), 503, "broker_unavailable", "id=b")
        check.error(d:request("GET", path), 503, "history_unavailable")
        check.error(d:request("DELETE", path), 503, "history_unavailable")
        check.error(d:request("GET", "/inbox?user=42"), 503, "history_unavailable")
        r:restart()
        d:wait_ready()
        wait.till(function() return d:request("GET", path).status == 200 end, 10, "a page")
        assert.matches('"position":"%d+%-%d+"', d:request("POST", path .. "?id=b", {body = "2"}).body)
        local _, count = d:request("GET", path).body:gsub('"id":"b"', "")
        assert.are.equal(1, count)
    end)

    it("refuses publishes when the memory of histories is used", function()
        local d = daemon.start {workers = 1, env = {BELLHOP_HISTORY_RULES = RULES, BELLHOP_HISTORY_MEMORY_BYTES = "100000"}}
        local text, answer = ("x"):rep(20000), nil
        for i = 1, 6 do answer = d:request("POST", "/api/users/" .. i .. "/messages", {body = text}) end
        check.error(answer, 503, "history_full")
        assert.are.equal(200, d:request("POST", "/api/users/9/messages?history=false", {body = text}).status)
    end)

    it("lets a policy have its own inbox", function()
        local d = daemon.start {policy = 'return { http = { ["GET /inbox"] = function() return 200, nil, "mine" end } }'}
        assert.are.equal("mine", d:request("GET", "/inbox").body)
    end)
end)
