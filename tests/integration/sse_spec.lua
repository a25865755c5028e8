-- Server-sent events: what clients see of identities, messages, refusals and ends, with a real instance.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local daemon = require "daemon"
local http = require "http"
local sse = require "sse"
local wait = require "wait"
local ws = require "ws"

-- ?as= decides.
local POLICY = [[
local bh = require "bellhop"
local closed = {}

return {
    on_handshake = function(req)
        local as = req:arg "as" or "42"
        if as == "nobody" then return false, 401, "who are you?" end
        if as == "later" then return false, 503, "not now" end
        if as == "broken" then error "broken" end
        if as == "short" then return { user = "short", expires = os.time() + 1 } end
        return { user = as, topics = { "own" }, headers = { ["X-As"] = as }, tags = { lang = req:arg "lang" } }
    end,
    on_subscribe = function(_, topic)
        if topic == "open" then return true end
        if topic == "closed" then return false end
    end,
    on_open = function(conn)
        conn:send("hello " .. (conn.protocol or "socket"))
    end,
    on_close = function(_, info)
        closed[#closed + 1] = info.code .. " " .. info.reason
    end,
    on_publish = function(msg)
        if msg.data == "close me" then
            for _, conn in ipairs(bh.hub.by_user "42") do conn:close(4510, "bye") end
        end
    end,
    http = { ["GET /closed"] = function() return 200, {}, table.concat(closed, "\n") end },
}
]]

local function start(options)
    local all = {dev = false, workers = 1, policy = POLICY, env = {BELLHOP_API_KEYS = "key", BELLHOP_SSE_RETRY = "0.1"}}
    for name, value in pairs(options or {}) do all[name] = value end
    return daemon.start(all)
end

local KEY = {Authorization = "Bearer key"}

local function publish(d, target, body, query, headers)
    local all = {Authorization = "Bearer key"}
    for name, value in pairs(headers or {}) do all[name] = value end
    return d:publish(target, body, query, all)
end

local function connect(d, query, options)
    local client = sse.connect(d.port, "/sse?" .. (query or ""), options)
    assert.are.equal("hello sse", client:message())
    return client
end

local function closed(d) return d:request("GET", "/closed").body end

-- 200, when to come back, and nothing else.
local function assert_later(client, answer)
    assert.is_nil(client)
    assert.are.equal(200, answer.status)
    assert.are.equal("text/event-stream", answer.headers["content-type"])
    assert.matches("^retry: %d+\n\n$", answer.body)
end

describe("server-sent events", function()
    local d

    setup(function() d = start() end)
    teardown(daemon.stop_all)
    after_each(sse.drop_all)

    it("begin with a head that proxies understand", function()
        local client = connect(d, "as=7")
        local headers = client.head.headers
        assert.are.equal("text/event-stream", headers["content-type"])
        assert.are.equal("no-cache, no-transform", headers["cache-control"])
        assert.are.equal("no", headers["x-accel-buffering"])
        assert.are.equal("7", headers["x-as"])
        assert.are.equal(11, #headers["bellhop-connection"])
        assert.is_true(tonumber(client.retry) >= 50 and tonumber(client.retry) <= 150)
    end)

    it("are messages to the user, to topics and to all, in order", function()
        local client = connect(d, "topic=open")
        publish(d, "users/42", "one")
        publish(d, "topics/own", "two")
        publish(d, "topics/open", "three")
        publish(d, "broadcast", "four")
        for _, text in ipairs {"one", "two", "three", "four"} do assert.are.equal(text, client:message()) end
    end)

    it("keep lines apart, and binary as base64", function()
        local client = connect(d)
        publish(d, "users/42", "a\nb\r\nc\rd\n")
        assert.are.equal("a\nb\nc\nd\n", client:message())
        publish(d, "users/42", "data: x\n\nevent: gap\nid: 1.evil")
        assert.are.equal("data: x\n\nevent: gap\nid: 1.evil", client:message())
        publish(d, "users/42", "")
        assert.are.equal("", client:message())
        publish(d, "users/42", "\0\1\2", nil, {["Content-Type"] = "application/octet-stream"})
        local event = client:event()
        assert.are.equal("binary AAEC", event.event .. " " .. event.data)
    end)

    it("honour filters and except, and count as connections", function()
        local german, other = connect(d, "lang=de"), connect(d)
        publish(d, "users/42", "hallo", "filter=lang:de")
        publish(d, "users/42", "not for " .. other.head.headers["bellhop-connection"],
            "except=" .. other.head.headers["bellhop-connection"])
        publish(d, "users/42", "both")
        assert.are.equal("hallo", german:message())
        assert.matches("^not for", german:message())
        assert.are.equal("both", other:message())
        local answer = d:request("GET", "/api/users/42", {headers = KEY})
        assert.matches('"online":true', answer.body)
    end)

    it("and WebSockets of one user get the same", function()
        local client, socket = connect(d), ws.connect(d.port, "/ws?as=42")
        assert.matches('"local":2', publish(d, "users/42", "for both"))
        assert.are.equal("for both", client:message())
        socket:drop()
    end)

    it("are long", function()
        local client = connect(d)
        local text = ("x"):rep(300000) .. "\n" .. ("y"):rep(300000)
        publish(d, "users/42", text)
        assert.is_true(text == client:message())
    end)

    it("are compressed for clients that accept it", function()
        local client = connect(d, "", {headers = {["Accept-Encoding"] = "br, gzip"}})
        assert.are.equal("gzip", client.head.headers["content-encoding"])
        assert.is_truthy(client.retry)
        local plain = connect(d)
        local long, random = ("0123456789"):rep(20000), io.open("/dev/urandom", "rb"):read(200000)
        local before = d:metric "bellhop_edge_messages_compressed_total"
        for _, text in ipairs {"short", long, "", ("a\n"):rep(5000)} do
            publish(d, "users/42", text)
            assert.is_true(text == client:message())
            assert.is_true(text == plain:message())
        end
        assert.are.equal(before + 2, d:metric "bellhop_edge_messages_compressed_total")
        publish(d, "users/42", random, nil, {["Content-Type"] = "application/octet-stream"})
        assert.are.equal(require "mime".b64(random), client:event().data)
        d:request("DELETE", "/api/users/42/connections?code=4900", {headers = KEY})
        assert.matches("^4900", client:event().data)
        assert.is_nil(client:event())
    end)

    it("are not compressed where that is off", function()
        local off = start {env = {BELLHOP_API_KEYS = "key", BELLHOP_WEBSOCKET_COMPRESSION = "off"}}
        local client = connect(off, "", {headers = {["Accept-Encoding"] = "gzip"}})
        assert.is_nil(client.head.headers["content-encoding"])
        client:drop()
        off:stop()
    end)

    it("answer HEAD without a link", function()
        local session = http.open(d.port)
        session:send(http.format("HEAD", "/sse"))
        local text = session.conn:read_all()
        session:close()
        assert.matches("^HTTP/1.1 200 OK\r\n.*text/event%-stream.*\r\n\r\n$", text)
        session = http.open(d.port)
        session:send "HEAD /sse?as=nobody HTTP/1.0\r\n\r\n"
        assert.matches("^HTTP/1.1 401 ", session.conn:read_all())
        session:close()
    end)

    it("work with HTTP/1.0", function()
        local session = http.open(d.port)
        session:send "GET /sse HTTP/1.0\r\n\r\n"
        assert.matches("^HTTP/1.1 200 OK\r\n", session.conn:read_till "\r\n\r\n")
        assert.is_truthy(session.conn:read_till "data: hello sse\n\n")
        session:close()
    end)
end)

describe("a request for server-sent events", function()
    local d

    setup(function() d = start() end)
    teardown(daemon.stop_all)
    after_each(sse.drop_all)

    local function status(query, options)
        local client, answer = sse.open(d.port, "/sse" .. query, options)
        return client and 200 or answer.status, answer and answer.body
    end

    it("is refused by the status that the policy says", function()
        local code, body = status "?as=nobody"
        assert.are.equal(401, code)
        assert.matches("who are you%?", body)
    end)

    it("needs a right for each topic that it names", function()
        assert.are.equal(200, (status "?topic=own"))
        assert.are.equal(200, (status "?topic=open&topic=own"))
        assert.are.equal(403, (status "?topic=closed"))
        local code, body = status "?topic=open&topic=unknown"
        assert.are.equal(403, code)
        assert.matches("unknown", body)
    end)

    it("is refused when it is malformed", function()
        for _, query in ipairs {"?since=x", "?since=1.x", "?since=2.", "?since=%zz", "?topic=%00", "?topic="} do
            assert.are.equal(400, (status(query)), query)
        end
        assert.are.equal(400, (status("", {last_id = "1.AAAAAAAAAAA:_-1"})))
        assert.are.equal(400, (status("", {last_id = ("1.A"):rep(100)})))
        assert.are.equal(405, http.post(d.port, "/sse", "").status)
        assert.are.equal(404, (status "/deeper"))
    end)

    it("is told to come back when that may help", function()
        assert_later(sse.open(d.port, "/sse?as=later"))
        assert_later(sse.open(d.port, "/sse?as=broken"))
        assert.are.equal(2, d:metric 'bellhop_edge_sse_refused_total{reason="failed"}')
    end)

    it("is told to come back when the user has too many connections", function()
        local full = start {env = {BELLHOP_WEBSOCKET_CONNECTIONS_PER_USER = "1"}}
        local first = connect(full)
        assert_later(sse.open(full.port, "/sse"))
        first:drop()
        local second = wait.till(function() return (sse.open(full.port, "/sse")) end)
        assert.are.equal("hello sse", second:message())
        full:stop()
    end)

    it("is told to come back when the instance is full", function()
        local full = start {env = {BELLHOP_SERVER_CONNECTIONS_MAX = "1"}}
        if full.session then full.session:close() end
        full.session = nil
        wait.till(function()
            local client = sse.open(full.port, "/sse")
            if not client then return false end
            client:wait_open()
            assert_later(sse.open(full.port, "/sse"))
            client:drop()
            return true
        end)
        full:stop()
    end)

    it("may have other paths, and none", function()
        local other = start {env = {BELLHOP_SSE_PATHS = "/events/:app"}}
        assert.are.equal("hello sse", sse.connect(other.port, "/events/shop"):message())
        assert.are.equal(404, http.get(other.port, "/sse").status)
        other:stop()
        other = start {env = {BELLHOP_SSE_PATHS = ""}}
        assert.are.equal(404, http.get(other.port, "/sse").status)
        other:stop()
    end)
end)

describe("the end of a link", function()
    local d

    before_each(function() d = start() end)
    after_each(function()
        sse.drop_all()
        daemon.stop_all()
    end)

    local function last(events) return events[#events] and events[#events].event .. " " .. events[#events].data end

    it("by the client is on_close with 1006", function()
        connect(d):drop()
        wait.till(function() return closed(d):find("1006", 1, true) end)
        d:wait_metric("bellhop_edge_sse_connections", 0)
        assert.are.equal(1, d:metric "bellhop_edge_sse_connections_opened_total")
        assert.are.equal(1, d:metric "bellhop_edge_sse_connections_closed_total")
    end)

    it("by the API is told", function()
        local client = connect(d)
        d:request("DELETE", "/api/users/42/connections?code=4900&reason=sold", {headers = KEY})
        assert.are.equal("close 4900 sold", last(client:read_all()))
        assert.is_truthy(client.retry)
        assert.are.equal("4900 sold", closed(d))
    end)

    it("by a script is told", function()
        local client = connect(d)
        publish(d, "users/1", "close me")
        assert.are.equal("close 4510 bye", last(client:read_all()))
    end)

    it("by an identity that expires is told", function()
        local client = connect(d, "as=short")
        assert.are.equal("close 4401 expired", last(client:read_all()))
    end)

    it("by an instance that stops has a time to come back, and no event", function()
        local client = connect(d)
        d.process:signal "TERM"
        assert.are.same({}, client:read_all())
        assert.is_true(tonumber(client.retry) >= 100 and tonumber(client.retry) <= 500)
        assert.are.equal(0, d.process:wait())
    end)

    it("by a client that sends too much", function()
        local client = connect(d)
        client.session:send(("x"):rep(20000))
        wait.till(function() return closed(d):find("1008", 1, true) end)
    end)
end)

describe("server-sent events over TLS", function()
    it("are the same", function()
        local dir = certs.new()
        local certificate, key = dir:make "server"
        local d = start {
            listen = {"127.0.0.1:0", "tls:127.0.0.1:0"},
            env = {
                BELLHOP_API_KEYS = "key", BELLHOP_TLS_CERTIFICATES = certificate, BELLHOP_TLS_KEYS = key,
            },
        }
        local client = sse.connect(d.ports[2], "/sse", {tls = {}})
        assert.are.equal("hello sse", client:message())
        local text = ("x"):rep(1000000)
        publish(d, "users/42", text)
        assert.is_true(text == client:message())
        d.process:signal "TERM"
        assert.are.same({}, client:read_all())
        assert.are.equal(0, d.process:wait())
        daemon.stop_all()
        dir:remove()
    end)
end)
