-- Publishes that wait for Redis, up to redis.publish_queue and redis.publish_wait.
--
-- Mostly only the link of node-a fails: queued messages are sent as soon as its own link is back, so only
-- clients subscribed by then receive them.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local proxy = require "proxy"
local redis = require "redis"
local traffic = require "traffic"
local ws = require "ws"

local ENV = daemon.short_timeouts {
    BELLHOP_SERVER_DRAIN_TIMEOUT = "1",
}

local server, link, a, b

-- One worker, so that there is one queue.
local function start(queue, seconds, workers)
    local env = {BELLHOP_REDIS_PUBLISH_QUEUE = queue, BELLHOP_REDIS_PUBLISH_WAIT = seconds}
    for key, value in pairs(ENV) do env[key] = value end
    server = redis.start()
    link = proxy.start(server.port)
    a = daemon.start {redis = link:url(), env = env, workers = workers or 1, args = {"--instance", "node-a"}}
    b = daemon.start {redis = server:url(), env = env, workers = workers or 1, args = {"--instance", "node-b"}}
end

local function cut()
    link:cut()
    a:wait_ready(503)
end

local function send(path, body)
    local session = http.open(a.port)
    session:send(http.format("POST", path, {body = body}))
    return session
end

local PATH = "/api/users/42/messages?strategy=redis"

local function send_waiting(count, path)
    local sessions = {}
    for i = 1, count do
        sessions[i] = send(path or PATH, "waits " .. i)
        a:wait_metric("bellhop_redis_publishes_waiting", i, 5)
    end
    return sessions
end

local function are_published(sessions)
    for _, session in ipairs(sessions) do
        local answer = session:response("POST", 15)
        assert.are.equal(200, answer.status, answer.body)
    end
end

describe("publishes during an outage of Redis", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        proxy.stop_all()
        redis.stop_all()
    end)

    it("reach clients of other instances once, and are not refused", function()
        start("1000", "20", 2)
        local flow = traffic.new {
            instances = {a, b}, timeout = 15,
            clients = {phone = ws.connect(b.port, "/ws?user=42&topic=x"), laptop = ws.connect(b.port, "/ws?user=42")},
            targets = {{path = "users/42", reaches = {"phone", "laptop"}}, {path = "topics/x", reaches = {"phone"}}},
        }
        flow:run(0.4)
        for _ = 1, 3 do
            link:cut()
            flow:run(function() return a:ready() == 503 end, 5, "/readyz 503")
            flow:run(function() return a:metric "bellhop_redis_publishes_waiting" > 0 end, 5, "one that waits")
            link:resume()
            flow:run(function() return a:ready() == 200 end, 15, "/readyz 200")
            flow:run(0.4)
        end
        flow:check() -- of all messages: for node-b there has been no fault
        -- Each time a publish in transit to Redis may be refused.
        assert.is_true(flow.refused <= 3 * 2, flow.refused)
        a:wait_metric("bellhop_redis_publishes_waiting", 0, 5)
    end)

    it("are sent after an outage of Redis itself, without duplicates", function()
        start("1000", "20", 2)
        local clients = {phone = ws.connect(a.port, "/ws?user=42"), laptop = ws.connect(b.port, "/ws?user=42")}
        local flow = traffic.new {
            instances = {a, b}, clients = clients, timeout = 15,
            targets = {{path = "users/42", reaches = {"phone", "laptop"}}},
        }
        flow:run(0.4)
        flow:fault_begins()
        server:kill()
        flow:run(function() return a:ready() == 503 and b:ready() == 503 end, 5, "/readyz 503")
        server:restart()
        flow:run(function() return a:ready() == 200 and b:ready() == 200 end, 15, "/readyz 200")
        flow:fault_ended()
        flow:run(0.5)
        flow:check()
        assert.is_true(flow.refused <= #flow.routes, flow.refused)
    end)

    it("keep their order, also relative to later ones", function()
        start("50", "20")
        local client = ws.connect(b.port, "/ws?user=42")
        cut()
        local sessions = send_waiting(20)
        link:resume()
        are_published(sessions)
        a:publish("users/42", "later", "strategy=redis")
        for i = 1, 20 do check.next(client, "waits " .. i) end
        check.next(client, "later")
        check.quiet(a, client)
    end)

    it("beyond the limit are refused at once, and the others are sent", function()
        start("2", "20")
        local client = ws.connect(b.port, "/ws?user=42")
        cut()
        local sessions = send_waiting(2)
        check.error(a:request("POST", PATH, {body = "no room"}), 503, "broker_unavailable")
        assert.are.equal(2, a:metric "bellhop_redis_publishes_waiting") -- it did not wait for theirs to end
        a:publish("users/42", "nobody is here", "strategy=local") -- needs no Redis, so no room either
        link:resume()
        are_published(sessions)
        for i = 1, 2 do check.next(client, "waits " .. i) end
        check.quiet(a, client)
    end)

    it("longer than the limit are refused, and not sent later", function()
        start("5", "0.4")
        local client = ws.connect(b.port, "/ws?user=42")
        cut()
        local sessions = {send(PATH, "waits 1"), send(PATH, "waits 2")}
        for _, session in ipairs(sessions) do
            check.error(session:response "POST", 503, "broker_unavailable", "redis.publish_wait")
        end
        a:wait_metric("bellhop_redis_publishes_waiting", 0, 5)
        link:resume()
        a:wait_ready()
        check.quiet(a, client)
    end)

    it("wait also when the network stops forwarding, and in a batch", function()
        start("50", "20")
        local client = ws.connect(b.port, "/ws?user=42")
        link:pause()
        a:wait_ready(503)
        local session = send("/api/publish",
            '[{"user":"42","data":1,"strategy":"redis"},{"user":"42","data":2,"strategy":"redis"}]')
        a:wait_metric("bellhop_redis_publishes_waiting", 2, 5)
        link:resume()
        local answer = session:response("POST", 15)
        assert.are.equal(200, answer.status, answer.body)
        assert.is_nil(answer.body:find("error", 1, true))
        check.next(client, "1")
        check.next(client, "2")
        check.quiet(a, client)
    end)

    it("are recognized by their id", function()
        start("50", "20")
        local client = ws.connect(b.port, "/ws?user=42")
        cut()
        local sessions = send_waiting(1, PATH .. "&id=order")
        sessions[2] = send(PATH .. "&id=order", "waits 1")
        link:resume()
        are_published(sessions)
        check.next(client, "waits 1")
        check.quiet(a, client)
    end)

    it("do not prevent an instance from stopping, and fail then", function()
        start("50", "60")
        cut()
        local session = send_waiting(1)[1]
        a.process:signal "TERM"
        check.error(session:response("POST", 10), 503, "broker_unavailable")
        assert.are.equal(0, a.process:wait())
    end)
end)

it("a publish is refused at once without a queue", function()
    start("0", "20")
    finally(function()
        daemon.stop_all()
        proxy.stop_all()
        redis.stop_all()
    end)
    cut()
    check.error(a:request("POST", PATH, {body = "x"}), 503, "broker_unavailable")
end)
