-- bh.http.fetch in real scripts: with a server in this process, which answers on command, and with
-- another instance, also over TLS.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local socket = require "socket"
local wait = require "wait"
local ws = require "ws"

-- A message is "fetch URL [OPTIONS]"; all others are echoed.
local POLICY = [[
local bh = require "bellhop"
local function show(r, why)
    if not r then return "nil|" .. why end
    return r.status .. "|" .. (r.headers["x-mark"] or "") .. "|" .. r.body
end
return {
    on_handshake = function(req)
        local ask = req:arg "ask"
        if ask then
            local r, why = bh.http.fetch(ask)
            return r and { user = r.body } or false, 503, why
        end
        return { user = req:arg "user" or "42" }
    end,
    on_message = function(conn, data)
        local url, options = data:match "^fetch (%S+) ?(.*)$"
        if not url then return data end
        return show(bh.http.fetch(url, load("return " .. (options ~= "" and options or "nil"))()))
    end,
    http = {
        ["GET /many"] = function(req)
            local count, good = tonumber(req:arg "count"), 0
            local left = count
            for _ = 1, count do
                bh.spawn(function()
                    local r = bh.http.fetch(req:arg "url")
                    good = good + (r and r.status == 200 and 1 or 0)
                    left = left - 1
                end)
            end
            while left > 0 do bh.sleep(0.01) end
            return 200, {}, tostring(good)
        end,
    },
}
]]

-- A server that records connections and requests.
local server = {}
server.__index = server

function server.new()
    local listening = assert(socket.bind("127.0.0.1", 0))
    listening:settimeout(10)
    local _, port = listening:getsockname()
    return setmetatable({listening = listening, port = math.tointeger(tonumber(port)), accepted = 0}, server)
end

function server:url(path) return ("http://127.0.0.1:%d%s"):format(self.port, path or "/") end

-- The next request: {line, headers, body}, on the current connection or a new one.
function server:request()
    if not self.peer then
        self.peer = assert(self.listening:accept())
        self.accepted = self.accepted + 1
        self.peer:settimeout(10)
    end
    local request = {line = assert(self.peer:receive "*l"), headers = {}}
    for line in function() return assert(self.peer:receive "*l") end do
        if line == "" then break end
        local name, value = line:match "^([^:]+): ?(.*)$"
        request.headers[name:lower()] = value
    end
    local n = tonumber(request.headers["content-length"]) or 0
    request.body = n > 0 and assert(self.peer:receive(n)) or ""
    return request
end

function server:answer(body, status, headers)
    assert(self.peer:send(("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s"):format(status or "200 OK", #body,
        headers or "", body)))
end

-- The client disconnected.
function server:wait_end()
    local _, why = self.peer:receive(1)
    assert.equal("closed", why)
    self.peer:close()
    self.peer = nil
end

function server:close()
    if self.peer then self.peer:close() end
    self.listening:close()
end

describe("bh.http.fetch:", function()
    local instance, client, target, dir

    setup(function()
        dir = certs.new()
        dir:make("ca", {authority = true})
        dir:make("server", {issuer = "ca", san = "IP:127.0.0.1"})
        dir:make("stranger", {issuer = "ca", san = "DNS:elsewhere.example"})
        instance = daemon.start {
            policy = POLICY,
            workers = 1,
            env = {BELLHOP_FETCH_CA_FILE = dir:path "ca.crt", BELLHOP_FETCH_PER_HOST = "4"},
        }
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
        dir:remove()
    end)
    before_each(function()
        target = server.new()
        client = ws.connect(instance.port, "/ws")
    end)
    after_each(function()
        ws.drop_all()
        target:close()
    end)

    local function fetch(url, options) assert(client:text(("fetch %s %s"):format(url, options or ""))) end
    local function result() return (assert(client:recv())) end

    it("returns a response", function()
        fetch(target:url "/a?b=c", "{ headers = { ['X-One'] = 1 } }")
        local request = target:request()
        assert.equal("GET /a?b=c HTTP/1.1", request.line)
        assert.equal("1", request.headers["x-one"])
        target:answer("hello", "203 Whatever", "X-Mark: a\r\nx-mark: b\r\n")
        assert.equal("203|a, b|hello", result())
    end)

    it("sends a table as JSON", function()
        fetch(target:url(), "{ json = { n = { 1, 2 } } }")
        local request = target:request()
        assert.equal("POST / HTTP/1.1", request.line)
        assert.equal("application/json", request.headers["content-type"])
        assert.equal('{"n":[1,2]}', request.body)
        target:answer ""
        assert.equal("200||", result())
    end)

    it("keeps the connection", function()
        for i = 1, 5 do
            fetch(target:url("/" .. i))
            assert.equal(("GET /%d HTTP/1.1"):format(i), target:request().line)
            target:answer(tostring(i))
            assert.equal("200||" .. i, result())
        end
        assert.equal(1, target.accepted)
    end)

    it("does not block others", function()
        fetch(target:url())
        target:request()
        local other = ws.connect(instance.port, "/ws?user=7")
        other:text "are you there?"
        assert.equal("are you there?", (assert(other:recv())))
        target:answer "late"
        assert.equal("200||late", result())
    end)

    it("has a timeout", function()
        fetch(target:url(), "{ timeout = 0.2 }")
        target:request()
        assert.equal("nil|timeout", result())
        target:wait_end()
    end)

    it("limits the size of a response", function()
        fetch(target:url(), "{ max_bytes = 10 }")
        target:request()
        target:answer(("x"):rep(11))
        assert.equal("nil|response too large", result())
    end)

    it("explains errors", function()
        fetch(target:url(), [[{ headers = { ["X-A"] = "1\r\nX-B: 2" } }]])
        assert.matches("^nil|headers: X%-A: a line break", result())
        fetch "ftp://127.0.0.1/"
        assert.equal("nil|URL: only http and https", result())
        fetch "http://127.0.0.1:1/"
        assert.equal("nil|could not connect to 127.0.0.1: Connection refused", result())
    end)

    it("is cancelled when a client disconnects during its handshake", function()
        local leaving = assert(http.open(instance.port))
        leaving:send(ws.request("/ws?ask=" .. target:url()))
        target:request()
        leaving:close()
        target:wait_end()
        instance:wait_metric('bellhop_fetch_active', 0)
    end)

    it("may decide a handshake", function()
        local joining = assert(http.open(instance.port))
        joining:send(ws.request("/ws?ask=" .. target:url()))
        target:request()
        target:answer "77"
        assert.equal(101, joining:response("GET").status)
        wait.till(function()
            return instance:request("GET", "/api/users/77").body:find('"online":true', 1, true)
        end, 10, "user 77 to be online")
        joining:close()
    end)

    it("runs many requests, with a limit for each host", function()
        local other = daemon.start {policy = "return {}", workers = 1}
        local before = instance:metric "bellhop_fetch_connections_total"
        local path = ("/many?count=200&url=http://127.0.0.1:%d/healthz"):format(other.port)
        assert.equal("200", http.get(instance.port, path, {timeout = 20}).body)
        assert.is_true(instance:metric "bellhop_fetch_connections_total" - before <= 4)
        assert.equal(0, instance:metric "bellhop_fetch_waiting")
        other:stop()
    end)

    it("trusts the configured authority, and checks the name of a certificate", function()
        local function secure(name)
            return daemon.start {
                policy = "return {}",
                workers = 1,
                listen = {"127.0.0.1:0", "tls:127.0.0.1:0"},
                env = {BELLHOP_TLS_CERTIFICATES = dir:path(name .. ".crt"), BELLHOP_TLS_KEYS = dir:path(name .. ".key")},
            }
        end
        local good, stranger = secure "server", secure "stranger"
        fetch(("https://127.0.0.1:%d/healthz"):format(good.ports[2]))
        assert.matches("^200||", result())
        fetch(("https://127.0.0.1:%d/healthz"):format(stranger.ports[2]))
        assert.matches("^nil|TLS certificate of 127%.0%.0%.1: .*name", result())

        local stubborn = daemon.start {policy = POLICY, workers = 1} -- trusts the authorities of the system
        local asking = ws.connect(stubborn.port, "/ws")
        asking:text(("fetch https://127.0.0.1:%d/healthz"):format(good.ports[2]))
        assert.matches("^nil|TLS certificate of 127%.0%.0%.1: unable to get local issuer", (assert(asking:recv())))
        asking:close()
        for _, d in ipairs {good, stranger, stubborn} do d:stop() end
    end)

    it("refuses denied networks", function()
        local careful = daemon.start {policy = POLICY, workers = 1, env = {BELLHOP_FETCH_DENY = "127.0.0.0/8,::1"}}
        local asking = ws.connect(careful.port, "/ws")
        asking:text("fetch " .. target:url())
        assert.equal("nil|the address of 127.0.0.1 is not allowed (fetch.allow, fetch.deny)", (assert(asking:recv())))
        asking:close()
        careful:stop()
    end)

    it("is cancelled at the end of the process", function()
        local short = daemon.start {policy = POLICY, workers = 1, env = {BELLHOP_SERVER_DRAIN_TIMEOUT = "0.2"}}
        local asking = ws.connect(short.port, "/ws")
        asking:text("fetch " .. target:url())
        target:request()
        short:stop()
        target:wait_end()
    end)

    it("survives a reload", function()
        fetch(target:url())
        target:request()
        instance.process:signal "HUP"
        instance:wait_log "reloaded"
        target:answer "old and new"
        assert.equal("200||old and new", result())
    end)

    it("refuses an invalid configuration", function()
        local file = process.write_file(dir:path "bellhop.conf.lua", "return { fetch = { ca_file = 'none.pem' } }")
        local output, status = process.run {daemon.BIN, "check", "-c", file}
        assert.equal(1, status)
        assert.matches("fetch%.ca_file: none%.pem: cannot be read", output)
    end)
end)
