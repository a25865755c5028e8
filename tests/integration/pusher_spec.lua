-- Pusher clients on real daemons: several workers of one instance, and two instances that share a Redis,
-- one of which is killed, or a Redis Cluster.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "redis_cluster"
local daemon = require "daemon"
local redis = require "redis"
local wait = require "wait"
local ws = require "ws"

local LEASE = 2
local ENV = {
    BELLHOP_WEBSOCKET_PATHS = "/app/:key",
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.2",
    BELLHOP_REDIS_PROBE_INTERVAL = "0.2",
    BELLHOP_API_KEYS = "api-key",
    BELLHOP_DELIVERY_PAYLOAD_BYTES = "9000",
}

local POLICY = [[
local bh = require "bellhop"
local pusher = require "bellhop.pusher"
local hooks = pusher.policy {
    apps = { { id = "7", key = "key", secret = "secret", client_messages = true } },
    lease = ]] .. LEASE .. [[,
}
hooks.http["POST /sign"] = function(req)
    return 200, nil, bh.crypto.hex(bh.crypto.hmac("sha256", "secret", req.body))
end
hooks.http["POST /md5"] = function(req) return 200, nil, bh.crypto.hex(bh.crypto.hash("md5", req.body)) end
return hooks
]]

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function start(options)
    options.policy, options.env, options.dev = POLICY, ENV, false
    return daemon.start(options)
end

local function sign(d, text) return d:request("POST", "/sign", {body = text}).body end

-- --- clients ---

local function quote(text) return '"' .. text:gsub('["\\]', "\\%0") .. '"' end

local function connect(d)
    local client = ws.connect(d.port, "/app/key?protocol=7&client=js")
    local hello = assert(client:recv())
    client.socket = assert(hello:match '\\"socket_id\\":\\"(%d+%.%d+)\\"', hello)
    client.daemon = d
    return client
end

local function say_subscribe(client, channel, user)
    local data = user and ('{"user_id":"%s","user_info":{"n":1}}'):format(user)
    local auth = "key:" .. sign(client.daemon, client.socket .. ":" .. channel .. (data and ":" .. data or ""))
    client:text(('{"event":"pusher:subscribe","data":{"channel":"%s","auth":"%s"%s}}'):format(channel, auth,
        data and ',"channel_data":' .. quote(data) or ""))
end

-- Events of others may come before; they are returned after the answer.
local function subscribe(client, channel, user)
    say_subscribe(client, channel, user)
    local before = {}
    while true do
        local frame = assert(client:recv())
        if frame:find('"pusher_internal:subscription_succeeded"', 1, true) then return frame, before end
        before[#before + 1] = frame
    end
end

local function member(event, channel, user)
    local data = ('{\\"user_id\\":\\"%s\\"%s}'):format(user, event == "added" and ',\\"user_info\\":{\\"n\\":1}' or "")
    return ('{"event":"pusher_internal:member_%s","channel":"%s","data":"%s"}'):format(event, channel, data)
end

local function leave(client, channel)
    client:text(('{"event":"pusher:unsubscribe","data":{"channel":"%s"}}'):format(channel))
end

-- Everything up to now was received, and nothing else.
local function hears_nothing(client)
    client:text '{"event":"pusher:ping","data":{}}'
    assert.are.equal('{"event":"pusher:pong","data":"{}"}', client:recv())
end

-- --- the HTTP API ---

local function api(d, method, path, body, params)
    local all = {"auth_key=key", "auth_timestamp=" .. os.time(), "auth_version=1.0"}
    if body then all[#all + 1] = "body_md5=" .. d:request("POST", "/md5", {body = body}).body end
    for _, param in ipairs(params or {}) do all[#all + 1] = param end
    table.sort(all)
    local query = table.concat(all, "&")
    query = query .. "&auth_signature=" .. sign(d, method .. "\n" .. path .. "\n" .. query)
    return d:request(method, path .. "?" .. query, {body = body})
end

local function trigger(d, channel, name, socket)
    local body = ('{"name":"%s","channel":"%s","data":"1"%s}'):format(name, channel,
        socket and ',"socket_id":"' .. socket .. '"' or "")
    local answer = api(d, "POST", "/apps/7/events", body)
    assert.are.equal(200, answer.status, answer.body)
    assert.are.equal("{}", answer.body)
end

-- The keys of objects have no order.
local function parts(body)
    local list = {}
    for part in body:gmatch "[^{},]+" do list[#list + 1] = part end
    table.sort(list)
    return table.concat(list, ",")
end

local function wait_answer(d, path, expected, ...)
    local params, last = {...}, nil
    wait.till(function()
        last = api(d, "GET", path, nil, params)
        return parts(last.body) == parts(expected)
    end, 10, function() return ("%s, the last was %s"):format(expected, last.body) end)
end

local function event(name, channel) return ('{"event":"%s","channel":"%s","data":"1"}'):format(name, channel) end

-- Specs for any number of workers and instances; `pick(i)` is the daemon of client i.
local function share_specs(pick)
    it("keep members and channels apart, whatever the ids", function()
        local one, two, users = connect(pick(1)), connect(pick(2)), {"tenant:7", "topic:pusher/7/a", "{7}", "a/%3A"}
        local members = {one}
        subscribe(one, "presence-ids", users[1])
        for i = 2, #users do
            members[i] = connect(pick(i))
            subscribe(members[i], "presence-ids", users[i])
            assert.are.equal(member("added", "presence-ids", users[i]), one:recv())
        end
        subscribe(two, "a")
        for _, name in ipairs {"tenant:7", "%61", "a%00", "{a}", "../a", "topic:pusher/7/a"} do
            local body = ('{"name":"x","channel":"%s","data":"1"}'):format(name)
            assert.are.equal(400, api(pick(1), "POST", "/apps/7/events", body).status)
            for _, kind in ipairs {"user", "tenant", "topic"} do
                local batch = ('[{"%s":"%s","data":1}]'):format(kind, name)
                pick(1):request("POST", "/api/publish", {body = batch, headers = {Authorization = "Bearer api-key"}})
            end
        end
        hears_nothing(one)
        hears_nothing(two)
        for _, client in ipairs(members) do client:drop() end
        wait_answer(pick(1), "/apps/7/channels/presence-ids/users", '{"users":[]}')
    end)

    it("trigger events for all but one", function()
        local clients = {}
        for i = 1, 12 do
            clients[i] = connect(pick(i))
            subscribe(clients[i], "news")
        end
        trigger(pick(1), "news", "all")
        trigger(pick(2), "news", "most", clients[5].socket)
        trigger(pick(3), "news", "last")
        for i, client in ipairs(clients) do
            local got = {}
            for n = 1, i == 5 and 2 or 3 do got[n] = client:recv() end
            table.sort(got)
            assert.are.same(i == 5 and {event("all", "news"), event("last", "news")}
                or {event("all", "news"), event("last", "news"), event("most", "news")}, got)
        end
        wait_answer(pick(1), "/apps/7/channels/news", '{"occupied":true,"subscription_count":12}',
            "info=subscription_count")
        for _, client in ipairs(clients) do client:close() end
        wait_answer(pick(2), "/apps/7/channels/news", '{"occupied":false}')
    end)

    it("send client events", function()
        local alice, bob, eve = connect(pick(1)), connect(pick(2)), connect(pick(3))
        subscribe(alice, "private-a")
        subscribe(bob, "private-a")
        subscribe(eve, "private-b")
        alice:text '{"event":"client-x","channel":"private-a","data":{"a":[1,{}]}}'
        assert.are.equal('{"event":"client-x","channel":"private-a","data":{"a":[1,{}]}}', bob:recv())
        hears_nothing(alice)
        hears_nothing(eve)
        for _, client in ipairs {alice, bob, eve} do client:close() end
    end)

    it("count a user with several devices once", function()
        local watcher = connect(pick(1))
        subscribe(watcher, "presence-a", "watcher")
        local devices = {}
        for i = 1, 8 do
            devices[i] = connect(pick(i))
            subscribe(devices[i], "presence-a", i % 2 == 0 and "even" or "odd")
        end
        assert.are.equal(member("added", "presence-a", "odd"), watcher:recv())
        assert.are.equal(member("added", "presence-a", "even"), watcher:recv())
        local late = connect(pick(2))
        local told = subscribe(late, "presence-a", "watcher")
        assert.matches('\\"count\\":3,\\"ids\\":[\\"even\\",\\"odd\\",\\"watcher\\"]', told, nil, true)
        hears_nothing(watcher)
        wait_answer(pick(2), "/apps/7/channels/presence-a", '{"occupied":true,"user_count":3}', "info=user_count")
        wait_answer(pick(1), "/apps/7/channels/presence-a/users",
            '{"users":[{"id":"even"},{"id":"odd"},{"id":"watcher"}]}')
        for i = 1, 7 do
            if i % 3 == 0 then leave(devices[i], "presence-a") else devices[i]:close() end
        end
        assert.are.equal(member("removed", "presence-a", "odd"), watcher:recv())
        devices[8]:close()
        assert.are.equal(member("removed", "presence-a", "even"), watcher:recv())
        wait_answer(pick(2), "/apps/7/channels/presence-a/users", '{"users":[{"id":"watcher"}]}')
        for _, client in ipairs {watcher, late, devices[3], devices[6]} do client:close() end
        wait_answer(pick(1), "/apps/7/channels/presence-a/users", '{"users":[]}')
    end)

    it("agree after many joins and leaves", function()
        local watcher = connect(pick(1))
        subscribe(watcher, "presence-b", "watcher")
        local clients = {}
        for i = 1, 6 do clients[i] = connect(pick(i)) end
        for _ = 1, 10 do
            for i, client in ipairs(clients) do say_subscribe(client, "presence-b", "u" .. i % 2) end
            for _, client in ipairs(clients) do leave(client, "presence-b") end
        end
        say_subscribe(clients[1], "presence-b", "u1")
        for _, client in ipairs(clients) do
            client:text '{"event":"client-done","channel":"presence-none"}'
            repeat
                local frame = assert(client:recv())
            until frame:find("Client events require", 1, true)
        end
        -- Until no more events arrive.
        local there, deadline = {}, wait.now() + 20
        repeat
            local frame = watcher:recv(0.5)
            local what, user = (frame or ""):match 'member_(%a+)".-user_id\\":\\"(u%d)'
            if user then there[user] = what == "added" end
        until not frame and there.u1 and there.u0 == false or wait.now() > deadline
        assert.are.same({u0 = false, u1 = true}, there)
        for _, client in ipairs(clients) do client:close() end
        watcher:close()
        wait_answer(pick(1), "/apps/7/channels/presence-b/users", '{"users":[]}')
    end)
end

describe("Pusher clients of one instance", function()
    local d
    setup(function() d = start {workers = 2} end)
    teardown(stop_all)

    share_specs(function() return d end)

    it("get an error, and are disconnected", function()
        local client = ws.connect(d.port, "/app/wrong?protocol=7")
        local frame = client:recv()
        assert.matches('"event":"pusher:error"', frame, nil, true)
        assert.matches('"code":4001', frame, nil, true)
        local code, reason = client:recv_close()
        assert.are.equal(4001, code)
        assert.are.equal("Unknown app key", reason)
    end)

    it("sign in with an integer as id", function()
        local client = connect(d)
        client:text(('{"event":"pusher:signin","data":{"auth":"key:%s","user_data":"{\\"id\\":42}"}}'):format(
            sign(d, client.socket .. '::user::{"id":42}')))
        assert.are.equal('{"event":"pusher:signin_success","data":"{\\"user_data\\":\\"{\\\\\\"id\\\\\\":\\\\\\"42\\\\\\"}\\"}"}',
            client:recv())
        subscribe(client, "#server-to-user-42")
        trigger(d, "#server-to-user-42", "e")
        assert.are.equal(event("e", "#server-to-user-42"), client:recv())
        client:close()
    end)

    it("cannot be sent more than a message may have", function()
        local answer = api(d, "POST", "/apps/7/events", ('{"name":"e","channel":"a","data":"%s"}'):format(("x"):rep(9000)))
        assert.are.equal(413, answer.status)
        assert.matches("delivery.payload_bytes", answer.body, nil, true)
    end)

    it("keep their channels over a reload", function()
        local alice, bob = connect(d), connect(d)
        subscribe(alice, "presence-r", "alice")
        subscribe(bob, "presence-r", "bob")
        assert.are.equal(member("added", "presence-r", "bob"), alice:recv())
        local answer = d:request("POST", "/api/reload", {headers = {Authorization = "Bearer api-key"}})
        assert.are.equal(200, answer.status, answer.body)
        trigger(d, "presence-r", "e")
        assert.are.equal(event("e", "presence-r"), alice:recv())
        wait_answer(d, "/apps/7/channels/presence-r/users", '{"users":[{"id":"alice"},{"id":"bob"}]}')
        bob:close()
        assert.are.equal(member("removed", "presence-r", "bob"), alice:recv())
        alice:close()
    end)
end)

describe("Pusher clients of two instances", function()
    local server, a, b

    local function start_one() return start {redis = server:url(), workers = 2} end

    setup(function()
        server = redis.start()
        a, b = start_one(), start_one()
    end)
    teardown(stop_all)

    share_specs(function(i) return i % 2 == 0 and a or b end)

    it("are registered again after Redis lost all data", function()
        local alice, bob = connect(a), connect(b)
        subscribe(alice, "presence-f", "alice")
        subscribe(bob, "presence-f", "bob")
        wait_answer(a, "/apps/7/channels/presence-f/users", '{"users":[{"id":"alice"},{"id":"bob"}]}')
        server:call "FLUSHALL"
        wait_answer(a, "/apps/7/channels/presence-f/users", '{"users":[{"id":"alice"},{"id":"bob"}]}')
        wait_answer(b, "/apps/7/channels/presence-f", '{"occupied":true,"subscription_count":2}',
            "info=subscription_count")
        alice:close()
        bob:close()
        wait_answer(b, "/apps/7/channels/presence-f/users", '{"users":[]}')
    end)

    -- Members m1..mN on both instances, who have heard of each other.
    local function members_of(channel, n)
        local clients = {}
        for i = 1, n do
            clients[i] = connect(i % 2 == 0 and a or b)
            subscribe(clients[i], channel, "m" .. i)
            for j = 1, i - 1 do assert.are.equal(member("added", channel, "m" .. i), clients[j]:recv()) end
        end
        return clients
    end

    local function join_whole(d, channel, user, count)
        local client = connect(d)
        local answer = subscribe(client, channel, user)
        assert.truthy(answer:find(('\\"count\\":%d,'):format(count), 1, true), answer)
        return client
    end

    local function all_hear(clients, frame)
        for _, client in ipairs(clients) do
            assert.are.equal(frame, client:recv())
            hears_nothing(client)
        end
    end

    it("get whole lists, and hear of no member they know, after Redis lost all data", function()
        local N = 12
        local clients = members_of("presence-w", N)
        for i, how in ipairs {"flush", "restart"} do
            if how == "flush" then
                server:call "FLUSHALL"
                table.remove(clients):close()
            else
                server:kill()
                table.remove(clients):close()
                server:restart()
                for _, d in ipairs {a, b} do d:wait_ready() end
            end
            all_hear(clients, member("removed", "presence-w", "m" .. N + 1 - i))
            server:call "FLUSHALL"
            for _, d in ipairs {a, b} do
                local new = join_whole(d, "presence-w", "new", N + 1 - i)
                all_hear(clients, member("added", "presence-w", "new"))
                new:close()
                all_hear(clients, member("removed", "presence-w", "new"))
            end
        end
        for _, d in ipairs {a, b} do assert.is_nil(d:log():find("level=error", 1, true)) end
        for _, client in ipairs(clients) do client:close() end
        wait_answer(a, "/apps/7/channels/presence-w/users", '{"users":[]}')
    end)

    it("keep the truth when Redis restarts from an older snapshot", function()
        local clients = members_of("presence-s", 6)
        local gone = table.remove(clients)
        assert(server:call "SAVE")
        gone:close()
        for _, client in ipairs(clients) do
            assert.are.equal(member("removed", "presence-s", "m6"), client:recv())
        end
        local later = join_whole(b, "presence-s", "later", 6)
        for _, client in ipairs(clients) do assert.are.equal(member("added", "presence-s", "later"), client:recv()) end
        server:kill()
        clients[5]:close()
        server:restart()
        for _, d in ipairs {a, b} do d:wait_ready() end
        table.remove(clients)
        clients[5] = later
        all_hear(clients, member("removed", "presence-s", "m5"))
        local new = join_whole(a, "presence-s", "new", 6)
        all_hear(clients, member("added", "presence-s", "new"))
        wait_answer(b, "/apps/7/channels/presence-s/users",
            '{"users":[{"id":"later"},{"id":"m1"},{"id":"m2"},{"id":"m3"},{"id":"m4"},{"id":"new"}]}')
        os.remove(server.dir .. "/dump.rdb")
        for _, client in ipairs(clients) do client:close() end
        new:close()
        wait_answer(a, "/apps/7/channels/presence-s/users", '{"users":[]}')
    end)

    it("do not leave because Redis was away for longer than the lease", function()
        local clients = members_of("presence-p", 4)
        server:call("CLIENT", "PAUSE", tostring((LEASE + 1) * 1000))
        server:call "PING" -- answered after the pause
        local new = join_whole(a, "presence-p", "new", 5)
        all_hear(clients, member("added", "presence-p", "new"))
        clients[5] = new
        for _, client in ipairs(clients) do client:close() end
        wait_answer(a, "/apps/7/channels/presence-p/users", '{"users":[]}')
    end)

    it("see members leave when an instance stops or is killed", function()
        local alice = connect(a)
        subscribe(alice, "presence-k", "alice")
        for _, how in ipairs {"TERM", "KILL"} do
            local bob, alice2 = connect(b), connect(b)
            subscribe(bob, "presence-k", "bob")
            subscribe(alice2, "presence-k", "alice")
            assert.are.equal(member("added", "presence-k", "bob"), alice:recv())
            if how == "TERM" then
                b:stop()
            else
                b.process:signal "KILL"
            end
            assert.are.equal(member("removed", "presence-k", "bob"), alice:recv())
            hears_nothing(alice)
            if how == "KILL" then b:stop(137) end
            wait_answer(a, "/apps/7/channels/presence-k/users", '{"users":[{"id":"alice"}]}')
            wait_answer(a, "/apps/7/channels/presence-k", '{"occupied":true,"subscription_count":1}',
                "info=subscription_count")
            if how == "TERM" then b = start_one() end
        end
        alice:close()
        wait.till(function() return #server:call("ZRANGE", "ws:pusher:leases", "0", "-1") == 2 end, 10,
            "the dead to be forgotten")
        assert.are.same({}, server:call("KEYS", "ws:pusher:m:*"))
    end)
end)

describe("Pusher clients of two instances on a Redis Cluster", function()
    local a, b, c

    setup(function()
        c = cluster.start(3)
        a, b = start {redis = c:url(), workers = 2}, start {redis = c:url(), workers = 2}
    end)
    teardown(stop_all)

    share_specs(function(i) return i % 2 == 0 and a or b end)

    it("go on when the slot of their keys moves", function()
        local alice, bob = connect(a), connect(b)
        subscribe(alice, "presence-m", "alice")
        local owner, slot = c:node_of "{ws:pusher:}"
        c:migrate(slot, c:masters()[owner == c:masters()[1] and 2 or 1])
        subscribe(bob, "presence-m", "bob")
        assert.are.equal(member("added", "presence-m", "bob"), alice:recv())
        wait_answer(b, "/apps/7/channels/presence-m/users", '{"users":[{"id":"alice"},{"id":"bob"}]}')
        alice:close()
        bob:close()
    end)
end)
