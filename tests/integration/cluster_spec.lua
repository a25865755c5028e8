-- Three instances that share a Redis: deliveries, and failures of Redis.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

-- Short intervals, so that specs are quick.
local ENV = {
    BELLHOP_REDIS_PROBE_INTERVAL = "0.2",
    BELLHOP_REDIS_COMMAND_TIMEOUT = "2",
    BELLHOP_REDIS_CONNECT_TIMEOUT = "2",
    BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.3",
}

local function start(url, name, options)
    options = options or {}
    options.redis, options.env, options.workers = url, ENV, options.workers or 2
    options.args = {"--instance", name}
    return daemon.start(options)
end

local function connect(d, query) return ws.connect(d.port, "/ws" .. (query and "?" .. query or "")) end

describe("three instances on one Redis", function()
    local server, a, b, c, instances

    setup(function()
        server = topology.start()
        a, b = start(server:url(), "node-a"), start(server:url(), "node-b")
        c = start(server:url(), "node-c", {workers = 1})
        instances = {a, b, c}
    end)
    teardown(function()
        daemon.stop_all()
        redis.stop_all()
    end)
    after_each(ws.drop_all)

    it("deliver once to each device, from every instance and with every strategy", function()
        local phone, laptop = connect(a, "user=42&tenant=7&topic=x"), connect(b, "user=42&tenant=7&topic=x")
        local other = connect(b, "user=43")
        for _, strategy in ipairs {"", "strategy=local_first", "strategy=redis", "strategy=both"} do
            for i, instance in ipairs(instances) do
                for _, target in ipairs {"users/42", "tenants/7", "topics/x"} do
                    local text = target .. " by " .. i .. " with " .. strategy
                    instance:publish(target, text, strategy)
                    check.next(phone, text, "text")
                    check.next(laptop, text, "text")
                end
                instance:publish("broadcast", "all " .. i .. strategy, strategy)
                check.next(phone, "all " .. i .. strategy)
                check.next(laptop, "all " .. i .. strategy)
                check.next(other, "all " .. i .. strategy)
                check.quiet(instance, phone, laptop, other)
            end
        end
    end)

    it("keep local messages on their instance", function()
        local phone, laptop = connect(a, "user=42"), connect(b, "user=42")
        a:publish("users/42", "here only", "strategy=local")
        check.next(phone, "here only")
        check.quiet(a, phone, laptop)
    end)

    it("deliver messages of any Redis client, byte for byte", function()
        local one = connect(a, "user=42&tenant=7&topic=x")
        local two, three = connect(b, "user=42&topic=x"), connect(c, "tenant=7")
        server:cli("PUBLISH", "notification:42", '{"n":9223372036854775807, "f":1.0}')
        check.next(one, '{"n":9223372036854775807, "f":1.0}', "text")
        check.next(two, '{"n":9223372036854775807, "f":1.0}', "text")
        server:cli("PUBLISH", "notification:tenant:7", "Grüße")
        check.next(one, "Grüße", "text")
        check.next(three, "Grüße", "text")
        server:cli("PUBLISH", "notification:topic:x", "for the readers")
        check.next(one, "for the readers")
        check.next(two, "for the readers")
        server:cli("PUBLISH", "notification:broadcast", "for all")
        for _, client in ipairs {one, two, three} do check.next(client, "for all") end
        local megabyte = ("0123456789abcdef"):rep(65536)
        server:call("PUBLISH", "notification:42", megabyte)
        check.next(one, megabyte, "text")
        check.next(two, megabyte, "text")
        check.quiet(c, one, two, three)
    end)

    it("deliver bytes that are no UTF-8 as binary, and ignore broken envelopes", function()
        local client = connect(a, "user=42")
        server:call("PUBLISH", "notification:42", "a\0\xff")
        check.next(client, "a\0\xff", "binary")
        for _, payload in ipairs {"\0bh1", "\0bh1\xff", "\0bh1" .. ("\xff"):rep(100), "\0bh1" .. ("\0"):rep(100)} do
            server:call("PUBLISH", "notification:42", payload)
        end
        check.quiet(b, client)
        assert.are.equal(200, a:ready())
    end)

    it("forward binary messages and `except`", function()
        local phone, laptop, tablet = connect(a, "user=42"), connect(b, "user=42"), connect(c, "user=42")
        c:publish("users/42", "\0\1\xff", nil, {["Content-Type"] = "application/octet-stream"})
        for _, client in ipairs {phone, laptop, tablet} do check.next(client, "\0\1\xff", "binary") end
        c:publish("users/42", "not for the phone", "except=" .. phone.id)
        check.next(laptop, "not for the phone")
        check.next(tablet, "not for the phone")
        check.quiet(c, phone, laptop, tablet)
    end)

    it("deliver an id once, also when it is sent to several instances", function()
        local phone, laptop = connect(a, "user=42"), connect(b, "user=42")
        for i, strategy in ipairs {"local_first", "redis", "both"} do
            for _, instance in ipairs(instances) do
                instance:publish("users/42", "paid " .. i, "id=order-" .. i .. "&strategy=" .. strategy)
            end
            check.next(phone, "paid " .. i)
            check.next(laptop, "paid " .. i)
            check.quiet(a, phone, laptop)
        end
    end)

    it("disconnect a user from all instances", function()
        local phone, laptop, other = connect(a, "user=42"), connect(b, "user=42"), connect(b, "user=43")
        local answer = c:request("DELETE", "/api/users/42/connections?code=4001&reason=out")
        assert.are.equal(200, answer.status)
        check.closed(phone, 4001, "out")
        check.closed(laptop, 4001, "out")
        check.quiet(c, other)
    end)

    it("subscribe exactly what they need, and unsubscribe after the linger", function()
        local first, second = connect(a, "user=exact&tenant=exact.t&topic=exact/x"), connect(a, "user=exact")
        assert.are.equal(0, server:call("PUBSUB", "NUMPAT"))
        assert.are.equal(3, server:subscribers "notification:broadcast")
        for _, channel in ipairs {"notification:exact", "notification:tenant:exact.t", "notification:topic:exact/x"} do
            assert.are.equal(1, server:subscribers(channel), channel)
        end
        first:close()
        wait.till(function() return server:subscribers "notification:topic:exact/x" == 0 end, 10, "unsubscribing")
        assert.are.equal(1, server:subscribers "notification:exact")
        second:close()
        wait.till(function() return server:subscribers "notification:exact" == 0 end, 10, "unsubscribing")
        assert.are.equal(3, server:subscribers "notification:broadcast")
        local again = connect(a, "user=exact")
        a:publish("users/exact", "again", "strategy=redis")
        check.next(again, "again")
    end)

    it("lose nothing that is published after the 101", function()
        for i = 1, 50 do
            local client = connect(instances[i % 3 + 1], "user=fresh" .. i)
            assert.are.equal(1, server:publish("notification:fresh" .. i, "hello " .. i))
            check.next(client, "hello " .. i)
            client:drop()
        end
    end)

    it("deliver to a user who reconnects within the linger", function()
        for i = 1, 10 do
            local client = connect(b, "user=restless")
            server:call("PUBLISH", "notification:restless", "round " .. i)
            check.next(client, "round " .. i)
            client:close()
        end
    end)
end)

describe("an instance without Redis", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    it("is not ready, and delivers again when Redis is back", function()
        local server = redis.start()
        local a, b = start(server:url(), "node-a"), start(server:url(), "node-b")
        local phone, laptop = connect(a, "user=42"), connect(b, "user=42")
        a:publish("users/42", "before")
        check.next(phone, "before")
        check.next(laptop, "before")
        for round = 1, 2 do
            server:kill()
            -- traffic while the link breaks: every answer is 200 or a clear error
            wait.till(function()
                local answer = a:request("POST", "/api/users/43/messages", {body = "x"})
                assert.is_true(answer.status == 200 or answer.status == 503, answer.body)
                return answer.status == 503
            end)
            a:wait_ready(503)
            b:wait_ready(503)
            check.error(a:request("POST", "/api/users/42/messages?strategy=redis", {body = "lost"}), 503,
                "broker_unavailable", "retry with id=")
            assert.matches('"ready":false,"reason":"%w', http.get(a.port, "/readyz").body)
            assert.are.equal(200, http.get(a.port, "/healthz").status)
            a:publish("users/42", "local while down", "strategy=local")
            check.next(phone, "local while down")
            local late = connect(b, "user=44")
            server:restart()
            a:wait_ready()
            b:wait_ready()
            a:publish("users/42", "after " .. round)
            check.next(phone, "after " .. round)
            check.next(laptop, "after " .. round)
            server:cli("PUBLISH", "notification:44", "for the late one")
            check.next(late, "for the late one")
            server:cli("PUBLISH", "notification:42", "by redis-cli")
            check.next(phone, "by redis-cli")
            check.next(laptop, "by redis-cli")
            check.quiet(b, phone, laptop, late)
            assert.are.equal(0, server:call("PUBSUB", "NUMPAT"))
        end
    end)

    it("accepts a repeated publish with the same id", function()
        local server = redis.start()
        local a, b = start(server:url(), "node-a"), start(server:url(), "node-b")
        local phone, laptop = connect(a, "user=42"), connect(b, "user=42")
        server:kill()
        a:wait_ready(503)
        check.error(a:request("POST", "/api/users/42/messages?id=once", {body = "once"}), 503, "broker_unavailable")
        check.next(phone, "once")
        server:restart()
        a:wait_ready()
        b:wait_ready()
        a:publish("users/42", "once", "id=once")
        check.next(laptop, "once")
        check.quiet(a, phone, laptop)
    end)

    it("starts before Redis does", function()
        local server = redis.start()
        server:kill()
        local a = start(server:url(), "node-a", {wait = "alive"})
        assert.are.equal(503, a:ready())
        server:restart()
        a:wait_ready()
        local phone = connect(a, "user=42")
        server:cli("PUBLISH", "notification:42", "hello")
        check.next(phone, "hello")
    end)

    it("stops while Redis is away", function()
        local server = redis.start()
        local a = start(server:url(), "node-a")
        local phone = connect(a, "user=42")
        server:kill()
        a:wait_ready(503)
        a.process:signal "TERM"
        check.closed(phone, 1001)
        assert.are.equal(0, a.process:wait())
    end)

    it("detects a Redis that hangs", function()
        local server = redis.start()
        local a = start(server:url(), "node-a")
        local phone = connect(a, "user=42")
        server.process:signal "STOP"
        a:wait_ready(503)
        server.process:signal "CONT"
        a:wait_ready()
        server:cli("PUBLISH", "notification:42", "awake")
        check.next(phone, "awake")
    end)

    it("detects that its connections were killed", function()
        local server = redis.start()
        local a = start(server:url(), "node-a")
        local phone = connect(a, "user=42")
        for _, kind in ipairs {"normal", "pubsub"} do
            server:call("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            wait.till(function() return server:subscribers "notification:42" == 1 end)
            a:wait_ready()
            a:publish("users/42", "after " .. kind, "strategy=redis")
            check.next(phone, "after " .. kind)
        end
        check.quiet(a, phone)
    end)
end)

describe("the Redis URL", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    local function works(server, d)
        local phone = connect(d, "user=42")
        d:publish("users/42", "hello", "strategy=redis")
        check.next(phone, "hello")
        phone:drop()
        local log = d:stop()
        assert.is_nil(log:find("s3cret", 1, true))
        server:stop()
    end

    it("may have a password", function()
        local server = redis.start {"--requirepass", "s3cret/@"}
        works(server, start(server:url ":s3cret%2F%40", "node-a"))
    end)

    it("may have a user, a password and a database", function()
        local server = redis.start()
        assert.are.equal("OK", server:call("ACL", "SETUSER", "bob", "on", ">s3cret", "&*", "~*", "+@all"))
        local d = start(server:url("bob:s3cret", "/3"), "node-a")
        local clients = server:call("CLIENT", "LIST")
        assert.matches("db=3 [^\n]*user=bob", clients)
        works(server, d)
    end)

    it("may name a unix socket", function()
        local server = redis.start {"--unixsocket", "redis.sock"}
        works(server, start("unix://" .. server.dir .. "/redis.sock", "node-a"))
    end)

    it("with a wrong password leaves the instance not ready, and the log has the reason without the password", function()
        local server = redis.start {"--requirepass", "right"}
        local d = start(server:url "bob:s3cret", "node-a", {wait = "alive"})
        d:wait_log "WRONGPASS"
        assert.are.equal(503, d:ready())
        local log = d:stop()
        assert.is_nil(log:find("s3cret", 1, true))
        d = start(server:url(), "node-a", {wait = "alive"})
        d:wait_log "NOAUTH"
        assert.are.equal(503, d:ready())
    end)

    it("is refused if invalid, and the error does not repeat it", function()
        for _, url in ipairs {
            "http://x:s3cret@y", "redis://s3cret@h", "redis://:s3cret@h:port", "rediss://:s3cret@h?insecure=1",
        } do
            local argv = {daemon.BIN, "serve", "--dev", "--listen", "127.0.0.1:0", "--redis", url}
            local output, status = process.run(argv)
            assert.are.equal(1, status, output)
            assert.matches("redis%.url", output)
            assert.is_nil(output:find("s3cret", 1, true))
        end
    end)
end)
