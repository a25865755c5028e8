-- The address of the client from trusted proxies: the PROXY protocol and X-Forwarded-For.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

-- "?who" is refused with the request as the policy sees it; others ask on the connection.
local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req)
        if req.query == "who" then
            return false, 403, bh.json.encode { ip = req.ip, port = req.port, secure = req.secure, sni = req.tls and req.tls.sni }
        end
        return { user = req:arg "user" }
    end,
    on_message = function(conn) return conn.ip end,
}
]]

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

-- version and command, family and protocol, addresses
local function v2(command, family, addresses)
    return SIGNATURE .. string.pack(">BBs2", command, family, addresses)
end

local function inet(a, b, c, d, port)
    return string.char(a, b, c, d, 10, 0, 0, 9) .. string.pack(">I2I2", port, 443)
end

local INET6 = ("\x20\x01\x0d\xb8" .. ("\0"):rep(11) .. "\7") .. ("\xfd" .. ("\0"):rep(14) .. "\1")
    .. string.pack(">I2I2", 7777, 443)
local MAPPED = (("\0"):rep(10) .. "\xff\xff\xcb\x00\x71\x05"):rep(2) .. string.pack(">I2I2", 5555, 443)
local PLAIN, PROXY, PROXY_TLS = 1, 2, 3

describe("behind a proxy", function()
    local d, dir

    setup(function()
        dir = certs.new()
        local crt, key = dir:make("proxied.example", {san = "DNS:proxied.example"})
        d = daemon.start {
            listen = {"127.0.0.1:0", "proxy:127.0.0.1:0", "proxy:tls:127.0.0.1:0"}, policy = POLICY, dev = false,
            env = {
                BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.1,10.0.0.0/8,fd00::/8", BELLHOP_SERVER_CONNECTIONS_PER_IP = "3",
                BELLHOP_TLS_CERTIFICATES = crt, BELLHOP_TLS_KEYS = key, BELLHOP_TLS_HANDSHAKE_TIMEOUT = "0.5",
            },
        }
    end)
    teardown(function()
        daemon.stop_all()
        dir:remove()
    end)
    after_each(ws.drop_all)

    -- ip, port, and the whole answer of the policy
    local function who(listener, options)
        local client, refusal = ws.try(d.ports[listener], "/ws?who", options)
        assert.is_nil(client)
        assert.are.equal(403, refusal.status, refusal.body)
        return refusal.body:match '"ip":"([^"]*)"', tonumber(refusal.body:match '"port":(%d+)'), refusal.body
    end

    local headers = {
        {"version 1, IPv4", "PROXY TCP4 203.0.113.5 10.0.0.9 4711 443\r\n", "203.0.113.5", 4711},
        {"version 1, IPv6", "PROXY TCP6 2001:db8::7 fd00::1 7777 443\r\n", "2001:db8::7", 7777},
        {"version 1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1"},
        {"version 1, unknown with something", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"},
        {"version 2, IPv4", v2(0x21, 0x11, inet(203, 0, 113, 5, 4711)), "203.0.113.5", 4711},
        {"version 2, IPv6", v2(0x21, 0x21, INET6), "2001:db8::7", 7777},
        {"version 2, IPv4 as IPv6", v2(0x21, 0x21, MAPPED), "203.0.113.5", 5555},
        {"version 2 with more behind", v2(0x21, 0x11, inet(203, 0, 113, 5, 4711) .. "\x02\0\4host\x20\0\1x"),
            "203.0.113.5", 4711},
        {"version 2, local", v2(0x20, 0x00, ""), "127.0.0.1"},
        {"version 2, local with addresses", v2(0x20, 0x11, inet(203, 0, 113, 5, 4711)), "127.0.0.1"},
        {"version 2, unspecified", v2(0x21, 0x00, "whatever"), "127.0.0.1"},
        {"version 2, unix", v2(0x21, 0x31, ("/tmp/x" .. ("\0"):rep(102)):rep(2)), "127.0.0.1"},
    }
    for _, header in ipairs(headers) do
        it("accepts " .. header[1], function()
            local ip, port = who(PROXY, {first = header[2]})
            assert.are.equal(header[3], ip)
            if header[4] then assert.are.equal(header[4], port) end
            assert.are.equal(header[3], (who(PROXY_TLS, {first = header[2], tls = {}})))
        end)

        it("accepts " .. header[1] .. " byte by byte, and in one piece with what follows", function()
            local conn = tcp.connect(d.ports[PROXY])
            for i = 1, #header[2] do conn:send(header[2]:sub(i, i)) end
            conn:send(ws.request "/ws")
            assert.matches("HTTP/1.1 101 ", conn:read_till "\r\n\r\n")
            conn:send(ws.frame(ws.TEXT, "?"))
            assert.are.equal("\x81" .. string.char(#header[3]) .. header[3], conn:read(#header[3] + 2))
            conn:close()
            conn = tcp.connect(d.ports[PROXY])
            conn:send(header[2] .. ws.request "/ws" .. ws.frame(ws.TEXT, "?"))
            assert.matches("HTTP/1.1 101 ", conn:read_till "\r\n\r\n")
            assert.are.equal("\x81" .. string.char(#header[3]) .. header[3], conn:read(#header[3] + 2))
            conn:close()
        end)
    end

    local TCP4 = headers[1][2]
    local garbage = {
        {"nothing but HTTP", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"}, {"a TLS client", "\x16\x03\x01\2\0\1"},
        {"an unknown protocol", "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"}, {"a bad address", "PROXY TCP4 256.1.1.1 1.2.3.4 1 2\r\n"},
        {"a bad port", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"}, {"a missing port", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"},
        {"a bare LF", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"}, {"a long line", "PROXY UNKNOWN " .. ("x"):rep(200)},
        {"a name", "PROXY TCP4 evil.example 1.2.3.4 1 2\r\n"}, {"lower case", "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"},
        {"version 3", SIGNATURE .. "\x31\x11\0\12" .. inet(1, 2, 3, 4, 5)},
        {"an unknown command", SIGNATURE .. "\x22\x11\0\12" .. inet(1, 2, 3, 4, 5)},
        {"an unknown family", SIGNATURE .. "\x21\x41\0\12" .. inet(1, 2, 3, 4, 5)},
        {"a datagram", v2(0x21, 0x12, inet(1, 2, 3, 4, 5))}, {"too few addresses", v2(0x21, 0x11, "\1\2\3\4")},
        {"a huge version 2", SIGNATURE .. "\x21\x11\xff\xff"}, {"garbage", ("\xff"):rep(300)}, {"zeroes", ("\0"):rep(300)},
        {"a second header", TCP4 .. "PROXY TCP4 198.51.100.1 10.0.0.9 1 443\r\n\r\n", true},
    }
    for _, case in ipairs(garbage) do
        it("closes a connection with " .. case[1], function()
            local before = d:limited "proxy"
            local conn = tcp.connect(d.ports[PROXY])
            conn:send(case[2])
            local answer = conn:read_all() or ""
            assert.is_nil(answer:find "200 OK")
            if case[3] then -- which is bad HTTP
                assert.matches("^HTTP/1.1 400 ", answer)
            else
                assert.are.equal("", answer)
                assert.are.equal(before + 1, d:limited "proxy")
            end
            conn:close()
        end)
    end

    it("waits for a header for a limited time", function()
        local before, stalled = d:limited "tls_handshake_timeout", {}
        for i, bytes in ipairs {"", "PROX", TCP4:sub(1, -2), SIGNATURE, headers[5][2]:sub(1, -2)} do
            stalled[i] = tcp.connect(d.ports[i % 2 == 0 and PROXY or PROXY_TLS])
            if bytes ~= "" then stalled[i]:send(bytes) end
        end
        for _, conn in ipairs(stalled) do
            assert.are.equal("", conn:read_all())
            conn:close()
        end
        assert.are.equal(before + 5, d:limited "tls_handshake_timeout")
    end)

    it("trusts nobody else", function()
        local before = d:limited "proxy"
        for _, listener in ipairs {PROXY, PROXY_TLS} do
            local conn = tcp.connect(d.ports[listener], {from = "127.0.0.2", first = TCP4})
            assert.are.equal("", conn:read_all() or "")
            conn:close()
        end
        assert.are.equal(before + 2, d:limited "proxy")
        d:wait_log "server.trusted_proxies"
        assert.matches("ip=127%.0%.0%.2", d:log())
    end)

    it("accepts no header on other listeners", function()
        local conn = tcp.connect(d.ports[PLAIN])
        conn:send(TCP4 .. "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.matches("^HTTP/1%.1 400 ", conn:read_all())
        conn:close()
    end)

    it("accepts TLS after the header", function()
        local _, _, body = who(PROXY_TLS, {first = TCP4, tls = {sni = "proxied.example"}})
        assert.matches('"secure":true', body)
        assert.matches('"sni":"proxied%.example"', body)
    end)

    it("reads X-Forwarded-For from the right", function()
        for value, ip in pairs {
            ["203.0.113.5"] = "203.0.113.5", ["203.0.113.5:4711"] = "203.0.113.5", ["2001:db8::7"] = "2001:db8::7",
            ["[2001:db8::7]:4711"] = "2001:db8::7", ["::ffff:203.0.113.5"] = "203.0.113.5",
            ["198.51.100.1, 203.0.113.5"] = "203.0.113.5", ["198.51.100.1,203.0.113.5 , 10.1.2.3"] = "203.0.113.5",
            ["203.0.113.5, 10.1.2.3, fd00::5, 127.0.0.1"] = "203.0.113.5", ["10.1.1.1, 10.2.2.2"] = "10.1.1.1",
            ["evil, 203.0.113.5"] = "203.0.113.5", ["203.0.113.5, unknown"] = "127.0.0.1",
            ["203.0.113.5, evil, 10.0.0.1"] = "10.0.0.1",
            [", ,203.0.113.5,, "] = "203.0.113.5", [""] = "127.0.0.1", [("10.0.0.1,"):rep(1000) .. "x"] = "127.0.0.1",
        } do
            assert.are.same({value, ip}, {value, (who(PLAIN, {headers = {["X-Forwarded-For"] = value}}))})
        end
        local two = ws.request("/ws?who", {["X-Forwarded-For"] = "198.51.100.1"})
            :gsub("\r\n\r\n$", "\r\nx-forwarded-for: 203.0.113.5, 10.0.0.1\r\n\r\n")
        local conn = tcp.connect(d.ports[PLAIN])
        conn:send(two)
        assert.matches('"ip":"203%.0%.113%.5"', conn:read_till "}")
        conn:close()
    end)

    it("reports whether the connection of the client is secure", function()
        for value, secure in pairs {https = "true", HTTPS = "true", http = "false", ["https, http"] = "false", [""] = "false"} do
            local _, _, body = who(PLAIN, {headers = {["X-Forwarded-Proto"] = value}})
            assert.is_truthy(body:find('"secure":' .. secure, 1, true), value .. " " .. body)
        end
    end)

    it("ignores X-Forwarded-For of clients", function()
        local ip, _, body = who(PLAIN, {from = "127.0.0.2",
            headers = {["X-Forwarded-For"] = "203.0.113.5", ["X-Forwarded-Proto"] = "https"}})
        assert.are.equal("127.0.0.2", ip)
        assert.matches('"secure":false', body)
        -- A client behind the proxy is not a trusted proxy.
        assert.are.equal("203.0.113.5", (who(PROXY, {first = TCP4, headers = {["X-Forwarded-For"] = "198.51.100.1"}})))
        -- A proxy behind the proxy is.
        assert.are.equal("198.51.100.1", (who(PROXY, {
            first = "PROXY TCP4 10.9.9.9 10.0.0.9 1 443\r\n", headers = {["X-Forwarded-For"] = "198.51.100.1"},
        })))
    end)

    local ways = {
        {"the PROXY protocol", function(ip)
            return PROXY, {first = ("PROXY TCP4 %s 10.0.0.9 4711 443\r\n"):format(ip)}
        end},
        {"the PROXY protocol and TLS", function(ip)
            return PROXY_TLS, {first = ("PROXY TCP4 %s 10.0.0.9 4711 443\r\n"):format(ip), tls = {}}
        end},
        {"X-Forwarded-For", function(ip) return PLAIN, {headers = {["X-Forwarded-For"] = ip}} end},
    }
    for i, way in ipairs(ways) do
        it("counts the clients, not the proxy, with " .. way[1], function()
            local function try(ip)
                local listener, options = way[2](ip)
                return ws.try(d.ports[listener], "/ws?user=42", options)
            end
            local before, clients = d:limited "connections_per_ip", {}
            local crowd = "203.0.113." .. 100 + i
            for n = 1, 3 do clients[n] = assert(try(crowd)) end
            for _ = 1, 2 do
                local client, refusal = try(crowd)
                assert.is_nil(client)
                assert.is_true(refusal.status == 429 or way[1]:find "TLS" ~= nil, refusal.status)
            end
            assert.are.equal(before + 2, d:limited "connections_per_ip")
            for n = 1, 10 do assert(try("203.0.113." .. 200 + n)) end
            clients[1]:text "who am I?"
            check.next(clients[1], crowd)
            clients[1]:close()
            clients[2]:drop()
            for _ = 1, 2 do wait.till(function() return (try(crowd)) end) end
            assert.is_nil((try(crowd)))
        end)
    end

    it("counts a network of IPv6 as one address", function()
        local function try(ip) return ws.try(d.port, "/ws?user=42", {headers = {["X-Forwarded-For"] = ip}}) end
        for n = 1, 3 do assert(try("2001:db8:1:2::" .. n)) end
        local _, refusal = try "2001:db8:1:2:ffff::9"
        assert.are.equal(429, refusal.status)
        assert(try "2001:db8:1:3::1")
    end)

    it("does not count the connections of the proxy itself", function()
        local sessions = {}
        for i = 1, 10 do
            sessions[i] = http.open(d.port)
            sessions[i]:send(http.format("GET", "/healthz", {headers = {["X-Forwarded-For"] = "203.0.113.77"}}))
            assert.are.equal(200, sessions[i]:response().status)
        end
        for _, s in ipairs(sessions) do s:close() end
    end)
end)

describe("bellhop check", function()
    it("finds invalid proxies and addresses", function()
        for _, bad in ipairs {"10.0.0.0/33", "10.0.0", "fd00::/129", "proxy.example", "10.0.0.0/", "/8"} do
            local output, status = process.run({daemon.BIN, "check"}, {BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.1," .. bad})
            assert.are.equal(1, status, bad .. "\n" .. output)
            assert.is_truthy(output:find("server.trusted_proxies: " .. bad .. ": ", 1, true), output)
        end
        for listen, why in pairs {
            ["proxy:127.0.0.1:0"] = "list them in server.trusted_proxies",
            ["prxy:127.0.0.1:0"] = "server.listen: prxy:127.0.0.1:0",
            ["127.0.0.1:99999"] = "server.listen: 127.0.0.1:99999",
        } do
            local output, status = process.run({daemon.BIN, "check"}, {BELLHOP_SERVER_LISTEN = listen})
            assert.are.equal(1, status, listen .. "\n" .. output)
            assert.is_truthy(output:find(why, 1, true), output)
        end
        local output, status = process.run({daemon.BIN, "check"}, {
            BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.1,10.0.0.0/8,fd00::/8,::1,unix",
            BELLHOP_SERVER_LISTEN = "proxy:127.0.0.1:0",
        })
        assert.are.equal(0, status, output)
    end)
end)
