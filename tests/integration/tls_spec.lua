-- TLS with real clients: openssl's s_client and LuaSec against a real instance.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local socket = require "socket"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

-- "?describe" is refused with the policy's view of the connection.
local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        if req.query == "describe" then
            return false, 403, bh.json.encode { secure = req.secure, tls = req.tls, listener = req.listener }
        end
        return { user = req:arg "user" }
    end,
    on_message = function(conn, data) return data end,
}
]]

local LISTEN = {"127.0.0.1:0", "tls:127.0.0.1:0"}
local dir, clients

-- Environment variables for these settings of the section tls.
local function env(settings, more)
    local all = {}
    for key, value in pairs(settings) do all["BELLHOP_TLS_" .. key:upper()] = value end
    for key, value in pairs(more or {}) do all[key] = value end
    return all
end

local function subject(output) return output:match "subject=[^\n]*CN ?= ?([^\n,]+)" end

local function describe_client(d, options)
    local client, refusal = ws.try(d.ports[2], "/ws?describe", options)
    assert.is_nil(client)
    return refusal
end

-- The first bytes of a real client.
local function client_hello()
    local server = assert(socket.bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    local child = process.spawn {"openssl", "s_client", "-connect", "127.0.0.1:" .. port}
    server:settimeout(10)
    local from = assert(server:accept())
    from:settimeout(10)
    local head = assert(from:receive(5))
    local hello = head .. assert(from:receive((string.unpack(">I2", head, 4))))
    from:close()
    server:close()
    child:stop()
    return hello
end

setup(function()
    dir = certs.new()
    dir:make("first.example", {san = "DNS:first.example"})
    dir:make("b.example", {san = "DNS:b.example,DNS:c.example"})
    dir:make("wild", {subject = "/CN=wild", san = "DNS:*.wild.example"})
    dir:make("clients", {authority = true})
    clients = dir:path "clients.crt"
    dir:make("good", {subject = "/O=Test/CN=device 17", san = "URI:urn:device:17,email:a@b.example", issuer = "clients"})
    dir:make("impostor", {subject = "/O=Test/CN=device 17", san = "URI:urn:device:17"})
end)

teardown(function() dir:remove() end)

describe("TLS", function()
    local d, tls

    setup(function()
        local names = {"first.example", "b.example", "wild"}
        local crts, keys = {}, {}
        for i, name in ipairs(names) do
            crts[i], keys[i] = dir:path(name .. ".crt"), dir:path(name .. ".key")
        end
        d = daemon.start {
            listen = LISTEN, policy = POLICY,
            env = env({
                certificates = table.concat(crts, ","), keys = table.concat(keys, ","), client_certificates = "optional",
                client_ca = clients, handshake_timeout = "1",
            }),
        }
        tls = d.ports[2]
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    for _, version in ipairs {"1_2", "1_3"} do
        local name = "TLSv" .. version:gsub("_", ".")

        it("serves HTTP over " .. name, function()
            local before = d:metric "bellhop_io_tls_handshakes_total"
            local output = dir:s_client(tls, "/healthz", {"-tls" .. version})
            assert.matches("HTTP/1%.1 200 OK\r\n.-\r\n\r\nok\n", output)
            assert.is_truthy(output:find("New, " .. name, 1, true), output)
            assert.are.equal(before + 1, d:metric "bellhop_io_tls_handshakes_total")
        end)

        it("describes the connection to the policy with " .. name, function()
            local refusal = describe_client(d, {tls = {protocol = "tlsv" .. version, sni = "b.example"}})
            assert.are.equal(403, refusal.status)
            assert.matches('"secure":true', refusal.body)
            assert.is_truthy(refusal.body:find(('"version":"%s"'):format(name), 1, true), refusal.body)
            assert.matches('"cipher":"[%w_-]+"', refusal.body)
            assert.matches('"sni":"b%.example"', refusal.body)
            assert.matches('"verified":false', refusal.body)
            assert.is_nil(refusal.body:find "subject")
        end)

        it("echoes messages of every size over " .. name, function()
            local client = ws.connect(tls, "/ws?user=42", {tls = {protocol = "tlsv" .. version}})
            for _, n in ipairs {0, 1, 125, 126, 16383, 16384, 16385, 65535, 65536, 1048576} do
                local payload = ("abc\0defg"):rep(n // 8 + 1):sub(1, n)
                client:text(payload)
                check.next(client, payload, "text")
                client:binary(payload)
                check.next(client, payload, "binary")
            end
            for i = 1, 100 do client:text("pipelined " .. i) end
            for i = 1, 100 do check.next(client, "pipelined " .. i) end
            assert.are.equal(1000, client:close(1000, "done"))
        end)

        it("resumes sessions of " .. name, function()
            local session, resumed = dir:path "session", d:metric "bellhop_io_tls_resumed_total"
            local output = dir:s_client(tls, "/healthz", {"-tls" .. version, "-sess_out", session})
            assert.is_truthy(output:find("New, " .. name, 1, true), output)
            for _ = 1, 2 do
                output = dir:s_client(tls, "/healthz", {"-tls" .. version, "-sess_in", session})
                assert.is_truthy(output:find("Reused, " .. name, 1, true), output)
                assert.matches("200 OK", output)
            end
            assert.are.equal(resumed + 2, d:metric "bellhop_io_tls_resumed_total")
        end)
    end

    it("refuses older versions", function()
        local failed = d:metric "bellhop_io_tls_handshakes_failed_total"
        local output = dir:s_client(tls, "/healthz", {"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"})
        assert.matches("alert protocol version", output)
        assert.is_nil(output:find "200 OK")
        d:wait_metric("bellhop_io_tls_handshakes_failed_total", failed + 1)
    end)

    it("has no TLS for a plain connection", function()
        local _, refusal = ws.try(d.port, "/ws?describe")
        assert.matches('"secure":false', refusal.body)
        assert.is_nil(refusal.body:find '"tls"')
    end)

    it("selects the certificate by the requested name", function()
        for name, wanted in pairs {
            ["first.example"] = "first.example", ["b.example"] = "b.example", ["c.example"] = "b.example",
            ["B.Example"] = "b.example", ["x.wild.example"] = "wild", ["X.WILD.example"] = "wild",
            ["wild.example"] = "first.example", ["x.y.wild.example"] = "first.example",
            ["other.example"] = "first.example",
        } do
            local output = dir:s_client(tls, "/healthz", {"-servername", name})
            assert.are.same({name, wanted}, {name, subject(output)})
            assert.matches("200 OK", output)
        end
        assert.are.equal("first.example", subject(dir:s_client(tls, "/healthz", {"-noservername"})))
    end)

    it("accepts client certificates of the authority", function()
        local good = {certificate = dir:path "good.crt", key = dir:path "good.key"}
        for _, protocol in ipairs {"tlsv1_2", "tlsv1_3"} do
            good.protocol = protocol
            local body = describe_client(d, {tls = good}).body
            assert.matches('"verified":true', body)
            assert.is_truthy(body:find('"subject":"CN=device 17,O=Test"', 1, true), body)
            assert.is_truthy(body:find('"san":["URI:urn:device:17","email:a@b.example"]', 1, true), body)
        end
    end)

    it("refuses other client certificates", function()
        local failed = d:metric "bellhop_io_tls_handshakes_failed_total"
        for _, version in ipairs {"-tls1_2", "-tls1_3"} do
            local output = dir:s_client(tls, "/healthz",
                {version, "-cert", dir:path "impostor.crt", "-key", dir:path "impostor.key"})
            assert.matches("alert", output)
            assert.is_nil(output:find "200 OK")
        end
        d:wait_metric("bellhop_io_tls_handshakes_failed_total", failed + 2)
        d:wait_log "self-signed certificate"
    end)

    it("delivers to TLS and plain clients", function()
        local all = {
            ws.connect(d.port, "/ws?user=plain"), ws.connect(tls, "/ws?user=new", {tls = {protocol = "tlsv1_3"}}),
            ws.connect(tls, "/ws?user=old", {tls = {protocol = "tlsv1_2"}}),
        }
        for _, n in ipairs {1, 70000, 1000000} do
            local payload = ("x"):rep(n)
            d:publish("broadcast", payload)
            for _, client in ipairs(all) do check.next(client, payload, "text") end
        end
        check.quiet(d, table.unpack(all))
    end)

    it("serves the API, and keeps the connection alive", function()
        local s = http.open(tls, {tls = {}})
        local reader = ws.connect(tls, "/ws?user=42", {tls = {}})
        for _, body in ipairs {"one", ("two"):rep(100000), ""} do
            s:send(http.format("POST", "/api/users/42/messages", {body = body}))
            assert.are.equal(200, s:response().status)
            check.next(reader, body)
        end
        s:close()
    end)

    it("does the handshake byte by byte", function()
        local conn = tcp.connect(tls)
        local hello = client_hello()
        for i = 1, #hello do assert(conn:send(hello:sub(i, i))) end
        assert.are.equal("\x16\x03\x03", conn:read(3))
        conn:close()
    end)

    it("disconnects clients that stall in the handshake", function()
        local limit, failed = d:limited "tls_handshake_timeout", d:metric "bellhop_io_tls_handshakes_failed_total"
        local hello = client_hello()
        local stalled = {}
        for i, bytes in ipairs {"", "\x16", hello:sub(1, #hello // 2), hello} do
            stalled[i] = tcp.connect(tls)
            if bytes ~= "" then stalled[i]:send(bytes) end
        end
        local honest = ws.connect(tls, "/ws?user=42", {tls = {}})
        for _, conn in ipairs(stalled) do
            assert(conn:read_all())
            conn:close()
        end
        assert.are.equal(limit + 4, d:limited "tls_handshake_timeout")
        assert.are.equal(failed + 3, d:metric "bellhop_io_tls_handshakes_failed_total")
        check.quiet(d, honest)
    end)

    it("disconnects clients without TLS", function()
        local failed, limit = d:metric "bellhop_io_tls_handshakes_failed_total", d:limited "tls_handshake_timeout"
        local garbage = {"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", ("\0"):rep(100), ("\xff"):rep(20000), ws.request "/ws"}
        for _, bytes in ipairs(garbage) do
            local conn = tcp.connect(tls)
            conn:send(bytes)
            local answer = conn:read_all() or ""
            assert.is_nil(answer:find "HTTP/1.1 ")
            conn:close()
        end
        d:wait_metric("bellhop_io_tls_handshakes_failed_total", failed + #garbage)
        assert.are.equal(limit, d:limited "tls_handshake_timeout")
        d:wait_log "plain HTTP to a TLS port"
        assert.is_nil((http.get(d.port, "/healthz", {tls = {}})))
    end)

    it("does not warn about keys with safe permissions", function()
        assert.is_nil(d:log():find "private key")
    end)
end)

describe("TLS of a strict instance", function()
    local d

    setup(function()
        d = daemon.start {
            listen = LISTEN, policy = POLICY,
            env = env({
                certificates = dir:path "b.example.crt", keys = dir:path "b.example.key", min_version = "1.3",
                client_certificates = "required", client_ca = clients, ticket_lifetime = "0",
            }),
        }
    end)
    teardown(daemon.stop_all)

    local function get(...) return dir:s_client(d.ports[2], "/healthz", {...}) end

    it("requires TLS 1.3", function()
        local good = {"-cert", dir:path "good.crt", "-key", dir:path "good.key"}
        local output = get("-tls1_2", table.unpack(good))
        assert.matches("alert protocol version", output)
        assert.is_nil(output:find "200 OK")
        assert.matches("200 OK", get(table.unpack(good)))
    end)

    it("requires a client certificate", function()
        local output = get()
        assert.matches("certificate required", output)
        assert.is_nil(output:find "200 OK")
        output = get("-cert", dir:path "impostor.crt", "-key", dir:path "impostor.key")
        assert.matches("alert", output)
        assert.is_nil(output:find "200 OK")
        local refusal = describe_client(d, {tls = {certificate = dir:path "good.crt", key = dir:path "good.key"}})
        assert.matches('"verified":true', refusal.body)
        assert.matches('"version":"TLSv1%.3"', refusal.body)
    end)

    it("resumes nothing without tickets", function()
        local session = dir:path "none"
        get("-cert", dir:path "good.crt", "-key", dir:path "good.key", "-sess_out", session)
        assert.is_nil(io.open(session))
    end)
end)

describe("new certificates", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("are loaded by SIGHUP, and do not affect connections and sessions", function()
        local crt, key = dir:make("changing", {subject = "/CN=before", san = "DNS:changing.example"})
        os.execute("chmod 644 " .. process.quote(key))
        local d = daemon.start {listen = LISTEN, policy = POLICY, env = env {certificates = crt, keys = key}}
        local tls, session = d.ports[2], dir:path "kept"
        d:wait_log "read or change a private key"
        assert.matches("mode=0644", d:log())
        assert.are.equal("before", subject(dir:s_client(tls, "/healthz", {"-sess_out", session})))
        local old = ws.connect(tls, "/ws?user=42", {tls = {}})

        dir:make("changing", {subject = "/CN=after", san = "DNS:changing.example"})
        d.process:signal "HUP"
        d:wait_log "certificates reloaded"
        wait.till(function() return subject(dir:s_client(tls, "/healthz")) == "after" end)
        assert.are.equal("after", subject(dir:s_client(tls, "/healthz")))
        assert.matches("Reused, ", dir:s_client(tls, "/healthz", {"-sess_in", session}))
        local new = ws.connect(tls, "/ws?user=42", {tls = {}})
        d:publish("users/42", "still here")
        check.next(old, "still here")
        check.next(new, "still here")
        old:text "echo"
        check.next(old, "echo")

        for name, text in pairs {["changing.crt"] = "no certificate", ["changing.key"] = "no key"} do
            local good = assert(io.open(dir:path(name))):read "a"
            process.write_file(dir:path(name), text)
            d.process:signal "HUP"
            d:wait_log(dir:path(name) .. ": no ")
            process.write_file(dir:path(name), good)
            assert.are.equal("after", subject(dir:s_client(tls, "/healthz")))
        end
        check.quiet(d, old, new)
    end)

    it("are ignored by a plain instance", function()
        local d = daemon.start()
        local client = ws.connect(d.port)
        d.process:signal "HUP"
        d:wait_log "scripts reloaded"
        check.quiet(d, client)
    end)
end)

describe("bellhop check", function()
    it("finds errors in certificates", function()
        local crt, key = dir:path "b.example.crt", dir:path "b.example.key"
        local wrong = {
            [{certificates = dir:path "none.crt", keys = key}] = "none.crt: No such file or directory",
            [{certificates = crt, keys = dir:path "none.key"}] = "none.key: No such file or directory",
            [{certificates = crt, keys = crt}] = "b.example.crt: no private key in it",
            [{certificates = crt, keys = dir:path "wild.key"}] = "wild.key: the key does not belong to the certificate",
            [{certificates = crt .. "," .. crt, keys = key}] = "2 certificates need as many keys, not 1",
            [{certificates = crt, keys = key, min_version = "1.1"}] = "tls.min_version must be one of 1.2|1.3",
            [{certificates = crt, keys = key, ciphers = "NONSENSE"}] = "NONSENSE",
            [{certificates = crt, keys = key, client_certificates = "required"}] = "client_ca is not set",
            [{certificates = crt, keys = key, client_certificates = "optional", client_ca = key}] =
                "b.example.key: no certificate of a client CA in it",
            [{certificates = crt, keys = key, ticket_keys = crt}] = "b.example.crt",
        }
        for settings, text in pairs(wrong) do
            local output, status = process.run({daemon.BIN, "check"}, env(settings))
            assert.are.equal(1, status, text .. "\n" .. output)
            assert.is_truthy(output:find(text, 1, true), text .. "\n" .. output)
        end
        local output, status = process.run({daemon.BIN, "check"}, env({certificates = crt, keys = key},
            {BELLHOP_SERVER_LISTEN = "tls:127.0.0.1:0"}))
        assert.are.equal(0, status, output)
        output, status = process.run({daemon.BIN, "check"}, {BELLHOP_SERVER_LISTEN = "tls:127.0.0.1:0"})
        assert.are.equal(1, status, output)
        assert.matches("needs a certificate", output)
    end)
end)
