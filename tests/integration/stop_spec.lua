-- How an instance stops: what load balancers, clients and publishers see of it.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local proxy = require "proxy"
local redis = require "redis"
local wait = require "wait"
local ws = require "ws"

local NEVER = "1000" -- seconds: the second signal ends it
local MESSAGES = "/api/users/42/messages"

local function env(more) return daemon.short_timeouts(more) end

local function connect(d, query) return ws.connect(d.port, "/ws?" .. (query or "user=42")) end

-- A kept-alive connection that has had a request.
local function open_session(d)
    local session = http.open(d.port)
    session:send(http.format("GET", "/healthz"))
    assert.are.equal(200, session:response().status)
    return session
end

local function ask(session, method, path, body)
    session:send(http.format(method, path, {body = body}))
    return session:response(method)
end

local function terminate(d)
    d.process:signal "TERM"
    d:wait_log "draining"
end

local function ends(d) assert.are.equal(0, d.process:wait()) end

-- The messages until the close frame, counted, and its code.
local function read_all(client)
    local got = {}
    while true do
        local text, why, code = client:recv()
        if not text then
            assert.are.equal("closed", why)
            client:drop()
            return got, code
        end
        got[text] = (got[text] or 0) + 1
    end
end

describe("an instance that stops", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        proxy.stop_all()
        redis.stop_all()
    end)

    it("closes with 1001, takes no new connections, and ends with 0", function()
        local d = daemon.start()
        local one, two = connect(d), ws.connect(d.port)
        d.process:signal "TERM"
        check.closed(one, 1001)
        check.closed(two, 1001)
        ends(d)
        assert.is_nil((http.get(d.port, "/healthz")))
        assert.matches("drained", d:stop())
    end)

    it("finishes a pending request", function()
        local d = daemon.start()
        local s = http.open(d.port)
        s:send "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha"
        assert.are.equal(200, http.get(d.port, "/healthz").status)
        terminate(d)
        s:send "lf"
        assert.are.equal(200, s:response().status)
        assert.are.equal("", s.conn:read_all())
        s:close()
        ends(d)
    end)

    it("stops at once with the second signal", function()
        local d = daemon.start {env = {BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "100", BELLHOP_SERVER_DRAIN_TIMEOUT = NEVER}}
        local mute = connect(d)
        d.process:signal "TERM"
        assert.are.equal(ws.CLOSE, mute:recv_frame().opcode)
        d:wait_log "draining"
        d.process:signal "TERM"
        ends(d)
    end)

    it("stops when the drain takes too long", function()
        local d = daemon.start {env = {BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "100", BELLHOP_SERVER_DRAIN_TIMEOUT = "0.2"}}
        local mute = connect(d)
        d.process:signal "INT"
        assert.are.equal(ws.CLOSE, mute:recv_frame().opcode)
        ends(d)
        assert.matches("drain timeout", d:log())
    end)

    it("is red and goes on serving for server.drain_delay, until a second signal", function()
        local d = daemon.start {env = {BELLHOP_SERVER_DRAIN_DELAY = NEVER}}
        local old, session = connect(d), open_session(d)
        d.process:signal "TERM"
        d:wait_ready(503)
        local answer = ask(session, "GET", "/readyz")
        assert.are.equal(503, answer.status)
        assert.matches("shutting down", answer.body)
        assert.are.equal("close", answer.headers.connection)
        session:close()
        assert.are.equal(200, http.get(d.port, "/healthz").status)
        local new = connect(d)
        assert.matches('"local":2', d:publish("users/42", "still here", "strategy=redis"))
        check.next(old, "still here")
        check.next(new, "still here")
        assert.is_nil(d:log():find("draining", 1, true))
        d.process:signal "INT"
        ends(d)
    end)

    it("drains when server.drain_delay is over", function()
        local server = redis.start()
        local d = daemon.start {redis = server:url(), env = env {BELLHOP_SERVER_DRAIN_DELAY = "0.3"}}
        local old = connect(d)
        d.process:signal "TERM"
        d:wait_ready(503)
        local new = connect(d)
        check.closed(old, 1001)
        check.closed(new, 1001)
        ends(d)
        assert.matches("draining", d:log())
    end)

    it("refuses publishes and clients that come too late", function()
        local d = daemon.start {env = {
            BELLHOP_SERVER_DRAIN_TIMEOUT = NEVER, BELLHOP_SCRIPT_HOOK_TIMEOUT = NEVER,
        }, workers = 1, policy = [[
            local bh = require "bellhop"
            return { on_shutdown = function()
                bh.log.info "refusing"
                bh.sleep(1000)
            end }]]}
        local client, publisher, batch, socket = connect(d), open_session(d), open_session(d), open_session(d)
        d.process:signal "TERM"
        d:wait_log "refusing"
        check.error(ask(publisher, "POST", MESSAGES, "late"), 503, "shutting_down")
        assert.are.equal("", publisher.conn:read_all())
        check.error(ask(batch, "POST", "/api/publish", '[{"user":"42","data":1}]'), 503, "shutting_down")
        socket:send(ws.request "/ws?user=42")
        assert.are.equal(503, socket:response().status)
        assert.is_nil((http.get(d.port, "/healthz")))
        d.process:signal "TERM"
        assert.are_not.equal("late", (client:recv()))
        ends(d)
    end)

    it("closes the first 200 clients at once and the others over a long time", function()
        local server = redis.start()
        local d = daemon.start {redis = server:url(), env = env {
            BELLHOP_SERVER_DRAIN_TIMEOUT = "3600", BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = NEVER,
        }}
        local clients = {}
        for i = 1, 260 do clients[i] = connect(d, "user=" .. i) end
        terminate(d)
        -- Each channel loses its subscriber when the client has been closed.
        local function open_channels() return #server:call("PUBSUB", "CHANNELS", "notification:[0-9]*") end
        wait.till(function() return open_channels() <= 62 end, 20)
        assert.is_true(open_channels() >= 57)
        local reached
        for i = 1, 260 do
            if server:call("PUBLISH", "notification:" .. i, "still open") == 1 then reached = clients[i] end
        end
        check.next(reached, "still open")
        d.process:signal "TERM"
        ends(d)
    end)

    it("lets hooks finish", function()
        local server = redis.start()
        local d = daemon.start {redis = server:url(), env = env(), policy = [[
            local bh = require "bellhop"
            return {
                on_handshake = function(req) return { user = req:arg "user" } end,
                on_close = function(conn)
                    bh.sleep(0.2)
                    bh.redis.call("INCR", "closed")
                end,
                on_shutdown = function()
                    bh.sleep(0.1)
                    bh.publish { user = "42", data = "good-bye", strategy = "redis" }
                end,
            }]]}
        local one, two = connect(d), connect(d)
        d.process:signal "TERM"
        for _, client in ipairs {one, two} do
            check.next(client, "good-bye")
            check.next(client, "good-bye") -- of each worker
            check.closed(client, 1001)
        end
        ends(d)
        assert.are.equal("2", server:call("GET", "closed"))
    end)
end)

describe("publishes while an instance stops", function()
    local server, link, d

    -- Redis is 300 ms away.
    local function start(more)
        server = redis.start()
        link = proxy.start(server.port)
        d = daemon.start {redis = link:url(), env = env(more)}
    end

    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        proxy.stop_all()
        redis.stop_all()
    end)

    it("reach the clients before they are closed, and then are answered", function()
        start()
        local phone, laptop, session = connect(d), connect(d), http.open(d.port)
        link:delay(300)
        session:send(http.format("POST", MESSAGES .. "?strategy=redis", {body = "in flight"}))
        wait.till(function() return d:metric "bellhop_redis_publishes_total" > 0 end)
        terminate(d)
        local answer = session:response("POST")
        assert.are.equal(200, answer.status, answer.body)
        assert.matches('"local":2', answer.body)
        assert.are.equal("close", answer.headers.connection)
        session:close()
        for _, client in ipairs {phone, laptop} do
            check.next(client, "in flight")
            check.closed(client, 1001)
        end
        ends(d)
    end)

    it("are an error when they do not come back", function()
        start {BELLHOP_REDIS_COMMAND_TIMEOUT = "100", BELLHOP_REDIS_PROBE_INTERVAL = "50",
            BELLHOP_SERVER_DRAIN_TIMEOUT = "2"}
        local client, session = connect(d), http.open(d.port)
        link:pause()
        session:send(http.format("POST", MESSAGES .. "?strategy=redis", {body = "lost"}))
        wait.till(function() return d:metric "bellhop_redis_publishes_total" > 0 end)
        terminate(d)
        check.error(session:response("POST"), 503, "broker_unavailable")
        session:close()
        check.closed(client, 1001)
        ends(d)
    end)

    it("are answered when they wait for Redis", function()
        start {BELLHOP_REDIS_PUBLISH_QUEUE = "50", BELLHOP_REDIS_PUBLISH_WAIT = "60", BELLHOP_SERVER_DRAIN_TIMEOUT = "1"}
        local client, sessions = connect(d), {}
        link:cut()
        d:wait_ready(503)
        for i, strategy in ipairs {"redis", "local_first"} do
            sessions[i] = http.open(d.port)
            sessions[i]:send(http.format("POST", MESSAGES .. "?strategy=" .. strategy, {body = strategy}))
            d:wait_metric("bellhop_redis_publishes_waiting", i, 5)
        end
        d.process:signal "TERM"
        check.error(sessions[1]:response("POST"), 503, "broker_unavailable")
        check.error(sessions[2]:response("POST"), 503, "shutting_down")
        check.next(client, "local_first")
        check.closed(client, 1001)
        ends(d)
    end)

    -- Pipelined, so that many are under way at the signal.
    local function publish_many(sessions, strategy)
        for i = 1, 4 do
            local requests = {}
            for k = 1, 400 do
                requests[k] = http.format("POST", MESSAGES .. "?strategy=" .. strategy, {body = i .. "." .. k})
            end
            sessions[i] = http.open(d.port)
            sessions[i]:send(table.concat(requests))
        end
    end

    -- What was answered as delivered to so many sockets was received by so many.
    local function compare(sessions, received)
        local accepted = 0
        for i, session in ipairs(sessions) do
            local k, answer = 0, session:response("POST")
            while answer do
                k = k + 1
                if answer.status == 200 then
                    local count = tonumber(answer.body:match '"local":(%d+)')
                    assert.are.equal(count, received[i .. "." .. k] or 0, i .. "." .. k .. ": " .. answer.body)
                    accepted = accepted + 1
                else
                    check.error(answer, 503)
                end
                answer = session:response("POST")
            end
            session:close()
        end
        return accepted
    end

    for _, strategy in ipairs {"redis", "local_first", "both"} do
        it("are received as their answers say, with " .. strategy, function()
            start()
            local clients, sessions, received = {}, {}, {}
            for i = 1, 6 do clients[i] = connect(d) end
            link:delay(20)
            publish_many(sessions, strategy)
            wait.till(function() return d:metric "bellhop_core_published_total" > 20 end)
            d.process:signal "TERM"
            for _, client in ipairs(clients) do
                local got, code = read_all(client)
                assert.are.equal(1001, code)
                for text, times in pairs(got) do
                    assert.are.equal(1, times)
                    received[text] = (received[text] or 0) + 1
                end
            end
            assert.is_true(compare(sessions, received) > 20)
            ends(d)
        end)
    end
end)
