-- Protection against foreign web pages: the Origin of WebSockets, CORS of the API, and injection into
-- headers and the log.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local ws = require "ws"

-- Counts its calls; "?calls" returns the number and does not count.
local POLICY = [[
local bh = require "bellhop"
local calls = 0
return { on_handshake = function(req)
    if req.query == "calls" then return false, 403, bh.json.encode { calls = calls } end
    calls = calls + 1
    return { user = "42" }
end }
]]

-- Every line is one that the daemon wrote.
local function check_log(log)
    for line in log:gmatch "[^\n]+" do
        assert.matches("^ts=%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z level=%l+ msg=", line)
        assert.is_nil(line:find "[\0-\31\127]", line)
        assert.is_truthy(utf8.len(line), line)
    end
end

-- The parsed answer to these bytes, and its text.
local function raw(port, bytes)
    local s = http.open(port)
    s:send(bytes)
    local text = s.conn:read_till("\r\n\r\n")
    s:close()
    return text and http.parse_head(text), text
end

describe("the origin of a WebSocket", function()
    local d

    setup(function()
        d = daemon.start {
            dev = false, workers = 1, policy = POLICY,
            env = {
                BELLHOP_WEBSOCKET_ORIGINS = "https://app.example,*.wild.example,https://port.example:8443,"
                    .. "http://any.example:*,https://*.deep.example,chrome-extension://abcdef",
            },
        }
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function try(origin) return ws.try(d.port, "/ws", {headers = {Origin = origin}}) end

    local function calls()
        local _, refusal = ws.try(d.port, "/ws?calls", {headers = {Origin = "https://app.example"}})
        return tonumber(refusal.body:match '"calls":(%d+)')
    end

    for _, origin in ipairs {
        "https://app.example", "https://app.example:443", "HTTPS://App.Example", "https://a.wild.example",
        "http://a.wild.example", "https://a.b.wild.example", "https://A.WILD.example:443", "https://port.example:8443",
        "http://any.example", "http://any.example:1", "http://any.example:65535", "https://x.deep.example",
        "chrome-extension://abcdef",
    } do
        it("lets in " .. origin, function() assert((try(origin))) end)
    end

    for _, origin in ipairs {
        "http://app.example", "https://app.example:8443", "https://app.example.evil.example", "https://evil.app.example",
        "https://evilapp.example", "https://wild.example", "https://evilwild.example", "https://a.wild.example:8443",
        "https://a.wild.example.evil.example", "https://port.example", "https://port.example:84433",
        "https://any.example:1", "http://x.deep.example", "null", "file://", "", "*", "https://", "app.example",
        "://app.example", "ftp://a.wild.example", "https://app.example/", "https://app.example https://evil.example",
        "https://evil.example#.wild.example", "https://evil.example/.wild.example", "https://evil.example?.wild.example",
        "https://evil.example\\.wild.example", "https://u@a.wild.example", "https://app.example,https://evil.example",
        "chrome-extension://abcdefg", "https://app.example.", "https://[::1]",
    } do
        it("keeps out '" .. origin .. "', and does not ask the policy", function()
            local before, limited = calls(), d:limited "origins"
            local client, refusal = try(origin)
            assert.is_nil(client)
            check.error(refusal, 403, "forbidden", "websocket.origins")
            assert.are.equal(limited + 1, d:limited "origins")
            assert.are.equal(before, calls())
        end)
    end

    it("is required when origins are configured", function()
        local limited = d:limited "origins"
        local _, refusal = ws.try(d.port, "/ws")
        check.error(refusal, 403, "forbidden")
        assert.are.equal(limited + 1, d:limited "origins")
    end)

    it("must be sent only once", function()
        for _, second in ipairs {"https://app.example", "https://evil.example"} do
            local bytes = ws.request("/ws", {Origin = "https://evil.example"})
                :gsub("\r\n\r\n$", "\r\nOrigin: " .. second .. "\r\n\r\n")
            assert.are.equal(400, raw(d.port, bytes).status)
        end
    end)
end)

describe("injected values", function()
    local d

    setup(function()
        d = daemon.start {
            dev = false, policy = POLICY,
            env = {
                BELLHOP_WEBSOCKET_ORIGINS = "https://app.example", BELLHOP_API_KEYS = "key",
                BELLHOP_API_CORS_ORIGINS = "*", BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.1",
            },
        }
    end)
    teardown(daemon.stop_all)

    local EVIL = {
        'https://x" level=error msg="forged', "https://x level=error msg=forged", "https://x\\nlevel=error msg=forged",
        "https://x\tforged", "https://x\xff\xfe", "https://x\u{2028}forged", "https://x\x1b[31mforged", "https://x\x7f",
        "https://x\x01", "https://x\0forged", "https://x\rX-Forged: 1", "https://x\nX-Forged: 1", "https://x\r\n\tX-Forged: 1",
        "https://x\r\n X-Forged: 1", ("x"):rep(8000),
    }

    it("forge neither log lines nor headers", function()
        for _, value in ipairs(EVIL) do
            for _, name in ipairs {"Origin", "X-Forwarded-For", "X-Forwarded-Proto", "Cookie", "Sec-WebSocket-Protocol"} do
                local headers = {Origin = "https://evil.example", [name] = value}
                local head, text = raw(d.port, ws.request("/ws", headers))
                assert.is_true(head == nil or head.status >= 400, text)
                assert.is_nil(text and text:lower():find "\n%s*x%-forged")
            end
            local host = "GET /healthz HTTP/1.1\r\nHost: " .. value .. "\r\n\r\n"
            local _, text = raw(d.port, host)
            assert.is_nil(text and text:lower():find "\n%s*x%-forged")
        end
        d:wait_log [[origin="https://x\" level=error msg=\"forged"]]
        check_log(d:log())
    end)

    it("come back unchanged, or not at all", function()
        for _, value in ipairs(EVIL) do
            local _, text = raw(d.port, "OPTIONS /api/broadcast HTTP/1.1\r\nHost: x\r\nOrigin: " .. value
                .. "\r\nAccess-Control-Request-Method: POST\r\n\r\n")
            if text then
                assert.is_nil(text:lower():find "\n%s*x%-forged")
                assert.is_nil(text:find "[%z\1-\8\11\12\14-\31\127]")
            end
        end
        check_log(d:log())
    end)
end)

describe("CORS", function()
    local d

    setup(function()
        d = daemon.start {
            dev = false,
            env = {
                BELLHOP_API_KEYS = "key", BELLHOP_API_CORS_ORIGINS = "https://admin.example,*.wild.example",
                BELLHOP_HTTP_BODY_BYTES = "1000",
            },
        }
    end)
    teardown(daemon.stop_all)

    local function preflight(origin, path)
        return http.request(d.port, "OPTIONS", path or "/api/broadcast",
            {headers = {Origin = origin, ["Access-Control-Request-Method"] = "POST",
                ["Access-Control-Request-Headers"] = "authorization,content-type"}})
    end

    it("answers the preflight of an allowed origin", function()
        for _, origin in ipairs {"https://admin.example", "https://a.wild.example", "http://b.wild.example"} do
            local answer = preflight(origin)
            assert.are.equal(204, answer.status)
            assert.are.equal(origin, answer.headers["access-control-allow-origin"])
            assert.matches("POST", answer.headers["access-control-allow-methods"])
            assert.matches("DELETE", answer.headers["access-control-allow-methods"])
            assert.matches("Authorization", answer.headers["access-control-allow-headers"])
            assert.matches("Content%-Type", answer.headers["access-control-allow-headers"])
            assert.matches("^%d+$", answer.headers["access-control-max-age"])
            assert.are.equal("Origin", answer.headers.vary)
            assert.is_nil(answer.headers["access-control-allow-credentials"])
        end
    end)

    it("refuses the preflight of other origins", function()
        for _, origin in ipairs {"https://evil.example", "null", "http://admin.example", "https://wild.example"} do
            local answer = preflight(origin)
            check.error(answer, 403, "forbidden", "api.cors_origins")
            assert.is_nil(answer.headers["access-control-allow-origin"])
            assert.are.equal("Origin", answer.headers.vary)
        end
    end)

    it("shows answers and errors to allowed origins, which need the key, too", function()
        local function post(origin, key, body)
            return http.post(d.port, "/api/broadcast", body or "x",
                {Origin = origin, Authorization = key and "Bearer " .. key, ["Content-Type"] = "text/plain"})
        end
        for _, case in ipairs {{"key", "x", 200}, {"wrong", "x", 401}, {"key", ("x"):rep(1001), 413}, {"key", "\xff", 400}} do
            local answer = post("https://admin.example", case[1], case[2])
            assert.are.equal(case[3], answer.status)
            if case[3] ~= 413 then -- which is no complete request
                assert.are.equal("https://admin.example", answer.headers["access-control-allow-origin"])
                assert.are.equal("Origin", answer.headers.vary)
            end
            answer = post("https://evil.example", case[1], case[2])
            assert.are.equal(case[3], answer.status)
            assert.is_nil(answer.headers["access-control-allow-origin"])
        end
        local answer = post(nil, "key")
        assert.are.same({200, nil}, {answer.status, answer.headers["access-control-allow-origin"]})
        assert.are.equal("Origin", answer.headers.vary)
    end)

    it("applies to the API only", function()
        for _, path in ipairs {"/healthz", "/metrics", "/nothing"} do
            local answer = http.get(d.port, path, {headers = {Origin = "https://admin.example"}})
            assert.is_nil(answer.headers["access-control-allow-origin"])
            assert.is_nil(answer.headers.vary)
        end
        assert.are.equal(405, preflight("https://admin.example", "/healthz").status)
    end)

    it("does not change OPTIONS without a preflight", function()
        local answer = http.request(d.port, "OPTIONS", "/api/broadcast", {headers = {Origin = "https://admin.example"}})
        check.error(answer, 405, "method_not_allowed")
    end)
end)

describe("a development server", function()
    local d

    setup(function() d = daemon.start() end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("serves pages of this machine, and programs", function()
        for _, origin in ipairs {"http://localhost", "http://localhost:3000", "https://a.localhost:1",
            "http://127.0.0.1:" .. d.port, "http://[::1]:8080"} do
            assert.are.equal(200, http.post(d.port, "/api/broadcast", "x", {Origin = origin}).status)
            assert(ws.try(d.port, "/ws", {headers = {Origin = origin}}))
        end
        assert.are.equal(200, http.post(d.port, "/api/broadcast", "x").status)
        assert(ws.try(d.port))
        assert(ws.try(d.port, "/ws", {headers = {Origin = "file://"}}))
    end)

    it("refuses other pages that a developer visits", function()
        for _, origin in ipairs {"https://evil.example", "http://localhost.evil.example", "http://evil.example:3000"} do
            local limited = d:limited "origins"
            check.error(http.post(d.port, "/api/broadcast", "x", {Origin = origin}), 403, "forbidden")
            check.error(http.get(d.port, "/api/users/42", {headers = {Origin = origin}}), 403, "forbidden")
            check.error(http.request(d.port, "DELETE", "/api/users/42/connections", {headers = {Origin = origin}}), 403)
            local _, refusal = ws.try(d.port, "/ws?user=42", {headers = {Origin = origin}})
            check.error(refusal, 403, "forbidden")
            assert.are.equal(limited + 4, d:limited "origins")
        end
    end)

    -- Any page can have it, in a sandboxed frame.
    it("refuses the origin null", function()
        check.error(http.post(d.port, "/api/broadcast", "x", {Origin = "null"}), 403, "forbidden")
        local _, refusal = ws.try(d.port, "/ws?user=42", {headers = {Origin = "null"}})
        check.error(refusal, 403, "forbidden", "websocket.origins")
    end)

    -- The page's name resolves to 127.0.0.1, so it sends no Origin, or one with that name.
    it("refuses names that a page can take", function()
        for _, host in ipairs {"evil.example", "evil.example:" .. d.port, "localhost.evil.example", "127.0.0.1.evil.example"} do
            for _, request in ipairs {
                "GET /", "GET /healthz", "GET /metrics", "GET /api/users/42", "POST /api/broadcast", "OPTIONS /api/broadcast",
                "DELETE /api/users/42/connections", "HEAD /", "PUT /nothing", "GET http://" .. host .. "/healthz",
            } do
                local bytes = request .. " HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Length: 0\r\n\r\n"
                local answer, text = raw(d.port, bytes)
                assert.are.equal(403, answer.status, text)
            end
            local bytes = ws.request("/ws?user=42", {Origin = "http://" .. host}):gsub("Host: test", "Host: " .. host)
            local s = http.open(d.port)
            s:send(bytes)
            check.error(s:response(), 403, "forbidden", "add it to websocket.origins or api.cors_origins: " .. host)
            s:close()
        end
        d:wait_log 'host=evil.example'
    end)

    it("serves listed names", function()
        d:stop()
        d = daemon.start {
            env = {
                BELLHOP_WEBSOCKET_ORIGINS = "https://my.example,*.wild.example",
                BELLHOP_API_CORS_ORIGINS = "http://api.example:1",
            },
        }
        for host, status in pairs {
            ["my.example"] = 200, ["My.Example:8080"] = 200, ["a.wild.example"] = 200, ["api.example"] = 200, ["[::1]:1"] = 200,
            devbox = 200, ["wild.example"] = 403, ["sub.my.example"] = 403,
        } do
            local answer = raw(d.port, "GET /api/users/42 HTTP/1.1\r\nHost: " .. host .. "\r\n\r\n")
            assert.are.same({host, status}, {host, answer.status})
        end
        assert.are.equal(200, raw(d.port, "GET /api/users/42 HTTP/1.0\r\n\r\n").status)
    end)
end)

describe("bellhop check", function()
    it("finds invalid origins", function()
        for _, name in ipairs {"websocket.origins", "api.cors_origins"} do
            local variable = "BELLHOP_" .. name:upper():gsub("%.", "_")
            for _, bad in ipairs {"https://app.example/", "https://app.example/path", "https://*", "a.*.example", "*example",
                "https://app.example:x", "https://app.example:70000", "https://", "://x", "a b", "https://u@h"} do
                local output, status = process.run({daemon.BIN, "check"}, {[variable] = "https://good.example," .. bad})
                assert.are.equal(1, status, bad .. "\n" .. output)
                assert.is_truthy(output:find(name .. ": " .. bad .. ": must be an origin", 1, true), output)
            end
            local output, status = process.run({daemon.BIN, "check"},
                {[variable] = "*,null,https://a.example,*.b.example,localhost:*,[::1]:3000,app://x"})
            assert.are.equal(0, status, output)
        end
    end)
end)
