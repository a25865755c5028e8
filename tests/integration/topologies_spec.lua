-- The main job on every way to set up Redis: two instances on one Redis, on one that Sentinel watches, on independent
-- ones, and on a cluster. BELLHOP_TEST_REDIS names one of them; without it all are run.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local sse = require "sse"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
    BELLHOP_TRACKING_LEASE = "2",
    BELLHOP_TRACKING_DEBOUNCE = "0.2",
    BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "1",
    BELLHOP_HISTORY_RULES = '[{"topic": "topic:log/*", "size": 100}, {"topic": "user:kept*", "size": 100}]',
}

local POLICY = [[
local bh = require "bellhop"

local commands = {
    user = function(id) return assert(bh.publish { user = id, data = "by Lua" }) and "sent" end,
    tenant = function(id) return assert(bh.publish { tenant = id, data = "by Lua" }) and "sent" end,
    topic = function(id) return assert(bh.publish { topic = id, data = "by Lua" }) and "sent" end,
    all = function() return assert(bh.publish { all = true, data = "by Lua" }) and "sent" end,
    online = function(id) return bh.tracker.online(id) end,
    count = function(id) return bh.tracker.count(id) end,
    page = function(id)
        local page, why = bh.history.read { topic = id, order = "asc" }
        return page and #page.messages or why
    end,
    set = function(key) return bh.redis.must("SET", key, "value of " .. key) end,
    get = function(key) return bh.redis.must("GET", key) end,
    eval = function(key) return bh.redis.eval("return redis.call('GET', KEYS[1]) .. ARGV[1]", { key }, { "!" }) end,
}

return {
    on_handshake = function(req)
        return { user = req:arg "user", tenant = req:arg "tenant", topics = req:args "topic" }
    end,
    on_message = function(conn, data)
        local what, id = data:match "^(%a+) ?(.*)$"
        return "=" .. tostring(commands[what](id))
    end,
    on_presence = function(event)
        bh.redis.must("RPUSH", "events", (event.online and "+" or "-") .. event.user)
    end,
}
]]

local STRATEGIES = {"local_first", "redis", "both"}
local TARGETS = {"users/42", "tenants/7", "topics/news", "broadcast"}
local CHANNELS = {"notification:42", "notification:tenant:7", "notification:topic:news", "notification:broadcast"}

local server, a, b

local function start(name, options)
    options = options or {}
    options.redis, options.env, options.policy, options.args = server:url(), ENV, POLICY, {"--instance", name}
    return daemon.start(options)
end

local function connect(d, query) return ws.connect(d.port, "/ws?" .. query) end

local function ask(client, text)
    client:text(text)
    return client:recv()
end

-- Until each daemon lists these connections of the user: "node-a node-a node-b".
local function wait_known(user, instances, more)
    for _, d in ipairs(more or {a, b}) do
        local body
        wait.till(function()
            body = d:request("GET", "/api/users/" .. user).body
            local list = {}
            for name in body:gmatch '"instance":"([^"]+)"' do list[#list + 1] = name end
            table.sort(list)
            return table.concat(list, " ") == instances and body:find('"online":' .. tostring(instances ~= ""), 1, true)
        end, 15, function() return ("%s instead of %s\n%s"):format(body, instances, d:log()) end)
    end
end

local function wait_tenant(tenant, count)
    local body
    wait.till(function()
        body = b:request("GET", "/api/tenants/" .. tenant).body
        return body:find(('"connections":%d,'):format(count), 1, true)
    end, 10, function() return body .. " instead of " .. count end)
end

-- What on_presence has told of a user: "+-+".
local function events(user)
    local list = {}
    for _, line in ipairs(server:call("LRANGE", "events", "0", "-1")) do
        if line:sub(2) == user then list[#list + 1] = line:sub(1, 1) end
    end
    return table.concat(list)
end

local function wait_events(user, wanted)
    wait.till(function() return events(user) == wanted end, 15, function()
        return ("%q instead of %q"):format(events(user), wanted)
    end)
end

for _, kind in ipairs(topology.kinds()) do
    describe("two instances on Redis as " .. kind, function()
        setup(function()
            server = topology.start(nil, kind)
            a, b = start "node-a", start "node-b"
        end)
        teardown(function()
            daemon.stop_all()
            redis.stop_all()
        end)
        after_each(ws.drop_all)

        it("deliver once what is published over HTTP", function()
            local phone, laptop = connect(a, "user=42&tenant=7&topic=news"), connect(b, "user=42&tenant=7&topic=news")
            for _, strategy in ipairs(STRATEGIES) do
                for _, d in ipairs {a, b} do
                    for _, target in ipairs(TARGETS) do
                        local text = ("%s by %d with %s"):format(target, d.port, strategy)
                        d:publish(target, text, "strategy=" .. strategy)
                        check.next(phone, text)
                        check.next(laptop, text)
                    end
                end
            end
            check.quiet(a, phone, laptop)
        end)

        it("deliver a batch", function()
            local phone, laptop = connect(a, "user=42&tenant=7&topic=news"), connect(b, "user=42&tenant=7&topic=news")
            local answer = a:request("POST", "/api/publish", {body = [[ [{"user": "42", "data": "one"},
                {"tenant": "7", "data": "two"}, {"topic": "news", "data": "three"}, {"all": true, "data": "four"}] ]]})
            assert.are.equal(200, answer.status, answer.body)
            for _, client in ipairs {phone, laptop} do
                local got = {}
                for i = 1, 4 do got[i] = client:recv() end
                table.sort(got)
                assert.are.same({'"four"', '"one"', '"three"', '"two"'}, got)
            end
            check.quiet(a, phone, laptop)
        end)

        it("deliver what backends publish in Redis", function()
            local phone, laptop = connect(a, "user=42&tenant=7&topic=news"), connect(b, "user=42&tenant=7&topic=news")
            for _, channel in ipairs(CHANNELS) do
                assert.are.equal(2, server:publish(channel, "in " .. channel))
                check.next(phone, "in " .. channel)
                check.next(laptop, "in " .. channel)
            end
            check.quiet(b, phone, laptop)
        end)

        it("deliver what scripts publish", function()
            local other, phone = connect(a, "user=43"), connect(b, "user=42&tenant=7&topic=news")
            for _, command in ipairs {"user 42", "tenant 7", "topic news"} do
                assert.are.equal("=sent", ask(other, command))
                check.next(phone, "by Lua")
            end
            other:text "all"
            check.next(phone, "by Lua")
            local got = {(other:recv()), (other:recv())}
            table.sort(got)
            assert.are.same({"=sent", "by Lua"}, got)
        end)

        it("subscribe to what they need, and unsubscribe", function()
            local first, second = connect(a, "user=exact&topic=exact"), connect(a, "user=exact")
            assert.are.equal(1, server:subscribers "notification:exact")
            assert.are.equal(1, server:subscribers "notification:topic:exact")
            assert.are.equal(2, server:subscribers "notification:broadcast")
            first:close()
            wait.till(function() return server:subscribers "notification:topic:exact" == 0 end, 10, "unsubscribing")
            assert.are.equal(1, server:subscribers "notification:exact")
            second:close()
            wait.till(function() return server:subscribers "notification:exact" == 0 end, 10, "unsubscribing")
            local again = connect(a, "user=exact")
            b:publish("users/exact", "again")
            check.next(again, "again")
        end)

        it("disconnect a user everywhere", function()
            local phone, laptop = connect(a, "user=out"), connect(b, "user=out")
            assert.are.equal(200, a:request("DELETE", "/api/users/out/connections?code=4001&reason=out").status)
            check.closed(phone, 4001, "out")
            check.closed(laptop, 4001, "out")
        end)

        it("know who is connected, over HTTP and in scripts", function()
            local clients = {}
            for i = 1, 20 do -- on all parts of the tracker
                clients[i] = connect(i % 2 == 0 and a or b, ("user=many%d&tenant=crowd"):format(i))
            end
            local phone, laptop = connect(a, "user=known&tenant=t"), connect(b, "user=known&tenant=t")
            wait_known("known", "node-a node-b")
            for i = 1, 20 do wait_known("many" .. i, i % 2 == 0 and "node-a" or "node-b") end
            local users = {}
            for i = 1, 20 do users[i] = ('"many%d"'):format(i) end
            local body = b:request("POST", "/api/users/online", {body = ('{"users": [%s, "nobody"]}'):format(
                table.concat(users, ","))}).body
            assert.are.equal(20, select(2, body:gsub("true", "")), body)
            assert.matches('"nobody":false', body, nil, true)
            wait_tenant("crowd", 20)
            assert.are.equal("=true", ask(laptop, "online known"))
            assert.are.equal("=false", ask(laptop, "online nobody"))
            wait.till(function() return ask(laptop, "count t") == "=2" end, 10, "the number of connections of a tenant")
            phone:close()
            wait_known("known", "node-b")
            for _, client in ipairs(clients) do client:close() end
            wait_known("many1", "")
            wait_tenant("crowd", 0)
        end)

        it("tell once who came and who went", function()
            local phone = connect(a, "user=seen")
            wait_events("seen", "+")
            local laptop = connect(b, "user=seen")
            wait_known("seen", "node-a node-b")
            phone:close()
            wait_known("seen", "node-b")
            laptop:close()
            wait_events("seen", "+-")
            laptop = connect(b, "user=seen")
            wait_events("seen", "+-+")
            laptop:close()
            wait_events("seen", "+-+-")
        end)

        it("forget the connections of an instance that is killed, and keep the others", function()
            local c = start "node-c"
            connect(a, "user=stays&tenant=mixed")
            local users = {}
            for i = 1, 20 do users[i] = "gone" .. i end
            for _, user in ipairs(users) do connect(c, "tenant=mixed&user=" .. user) end
            for _, user in ipairs(users) do wait_known(user, "node-c") end
            for _, user in ipairs(users) do wait_events(user, "+") end
            c.process:signal "KILL"
            for _, user in ipairs(users) do wait_known(user, "") end
            for _, user in ipairs(users) do wait_events(user, "+-") end
            wait_known("stays", "node-a") -- longer than its lease: by heartbeats
            assert.are.equal("+", events "stays")
            wait_tenant("mixed", 1)
            c:stop(137)
        end)

        it("resume streams on another instance", function()
            for i = 1, 6 do -- of several slots
                local topic = "log/" .. i
                local path = ("/sse?user=r%d&topic=%s"):format(i, topic)
                local reader = sse.connect(a.port, path)
                a:publish("topics/" .. topic, "one")
                b:publish("topics/" .. topic, "two")
                assert.are.equal("one", reader:message())
                assert.are.equal("two", reader:message())
                local id = reader.id
                reader:drop()
                b:publish("topics/" .. topic, "three")
                local key = ("{notification:topic:%s}"):format(topic)
                if redis.version() >= 7 then
                    local reply = server:call("FCALL", "bellhop_publish", "2", key .. ":log", key .. ":m", "four")
                    assert.are.equal(4, reply and reply[1])
                else
                    a:publish("topics/" .. topic, "four")
                end
                reader = sse.connect(b.port, path, {last_id = id})
                assert.are.equal("three", reader:message())
                assert.are.equal("four", reader:message())
                a:publish("topics/" .. topic, "five")
                assert.are.equal("five", reader:message())
                reader:drop()
                local client = connect(a, "user=pages")
                assert.are.equal("=5", ask(client, "page " .. topic))
                client:close()
            end
        end)

        it("store for users who are away", function()
            for i = 1, 6 do
                local answer = a:publish("users/kept" .. i .. "", "later")
                assert.matches('"status":"stored"', answer, nil, true)
                assert.matches('"data":"later"', b:request("GET", ("/api/users/kept%d/messages"):format(i)).body, nil, true)
            end
        end)

        it("run commands of scripts", function()
            local client = connect(a, "user=43")
            for i = 1, 6 do
                assert.are.equal("=OK", ask(client, "set k" .. i))
                assert.are.equal("=value of k" .. i, ask(client, "get k" .. i))
                assert.are.equal("=value of k" .. i .. "!", ask(client, "eval k" .. i))
                assert.are.equal("value of k" .. i, server:call("GET", "k" .. i))
            end
        end)

        it("are healthy", function()
            for _, d in ipairs {a, b} do
                assert.are.equal(200, d:ready())
                assert.is_nil(d:log():match " ERROR [^\n]+" or d:log():match '"level":"error"[^\n]+')
            end
        end)
    end)
end
