-- HTTP endpoints of scripts, and WebSocket paths with parameters, in a real instance.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local wait = require "wait"
local ws = require "ws"

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
end

local POLICY = [[
local bh = require "bellhop"
local cancelled = 0

local hooks = { http = {} }

function hooks.on_handshake(req)
    return { user = req.params.user or "nobody", headers = { ["X-Path"] = req.path } }
end

hooks.http["GET /hello/:name"] = function(req)
    return 200, nil, "hello " .. req.params.name .. " " .. (req:arg "q" or "")
end

hooks.http["GET /hello/world"] = function() return 200, { ["Content-Type"] = "text/html" }, "<p>the world" end

-- A signed webhook that becomes a notification.
hooks.http["POST /hooks/:user"] = function(req)
    local ours = bh.crypto.hex(bh.crypto.hmac("sha256", "a secret", req.body))
    if not bh.crypto.equal(ours, req:header "X-Signature" or "") then return 401, nil, { why = "signature" } end
    local event, why = req:json()
    if not event then return 400, nil, { why = why } end
    local id = assert(bh.publish { user = req.params.user, data = event.text })
    return 202, nil, { id = id }
end

hooks.http["GET /later"] = function() bh.sleep(0.05) return 204 end
hooks.http["GET /never"] = function()
    local guard <close> = setmetatable({}, { __close = function() cancelled = cancelled + 1 end })
    bh.sleep(1000)
    return 200
end
hooks.http["GET /cancelled"] = function() return 200, nil, tostring(cancelled) end
hooks.http["GET /nil"] = function() end
hooks.http["GET /error"] = function() error "a bug in the endpoint" end
hooks.http["GET /misuse"] = function() return 200, { Connection = "close" } end
hooks.http["GET /cookies"] = function() return 303, { Location = "/", ["Set-Cookie"] = { "a=1", "b=2" } } end
hooks.http["PUT /echo"] = function(req) return 200, { ["Content-Type"] = req:header "Content-Type" }, req.body end
hooks.http["GET /files/*path"] = function(req) return 200, nil, req.params.path end
hooks.http["GET /:page"] = function(req) return 200, nil, "page " .. req.params.page end
return hooks
]]

describe("endpoints of scripts", function()
    local d

    setup(function()
        d = daemon.start {policy = POLICY, workers = 1, dev = false, env = {
            BELLHOP_WEBSOCKET_PATHS = "/ws,/app/:user,/hello/:user", BELLHOP_HTTP_BODY_BYTES = "100000"}}
    end)

    teardown(stop_all)

    local function get(path) return d:request("GET", path) end

    it("are selected by the most specific path", function()
        local answer = get "/hello/a%20b%2Fc?q=%20x"
        assert.are.equal(200, answer.status)
        assert.are.equal("hello a b/c  x", answer.body)
        assert.are.equal("text/plain; charset=utf-8", answer.headers["content-type"])
        answer = get "/hello/world"
        assert.are.equal("<p>the world", answer.body)
        assert.are.equal("text/html", answer.headers["content-type"])
        assert.are.equal("a/b.txt", get("/files/a/b.txt").body)
        assert.are.equal("page hello", get("/hello").body)
        assert.are.equal(404, get("/hello/").status)
    end)

    it("never override built-in endpoints", function()
        assert.are.equal("page x", get("/x").body)
        assert.are.equal("ok\n", get("/healthz").body)
        assert.are.equal(401, d:request("POST", "/api/reload").status)
    end)

    it("are selected by method", function()
        local answer = d:request("DELETE", "/hello/x")
        assert.are.equal(405, answer.status)
        assert.are.equal("GET, HEAD", answer.headers.allow)
        answer = d:request("HEAD", "/hello/x")
        assert.are.equal(200, answer.status)
        assert.are.equal("8", answer.headers["content-length"])
        assert.are.equal("ok\n", get("/healthz").body) -- and nothing of a body came in between
    end)

    it("receive the body, up to its limit", function()
        local body = ("\0\r\n\xff"):rep(20000)
        local answer = d:request("PUT", "/echo", {body = body, headers = {["Content-Type"] = "a/b"}})
        assert.are.equal(200, answer.status)
        assert.are.equal("a/b", answer.headers["content-type"])
        assert.is_true(answer.body == body)
        answer = http.request(d.port, "PUT", "/echo", {body = ("x"):rep(100001)})
        assert.are.equal(413, answer.status)
    end)

    it("turn a webhook into a notification", function()
        local client = ws.connect(d.port, "/app/42")
        local body = '{"text":"paid"}'
        local answer = d:request("POST", "/hooks/42", {body = body, headers = {["X-Signature"] = "forged"}})
        assert.are.equal(401, answer.status)
        assert.are.equal('{"why":"signature"}', answer.body)
        assert.are.equal("application/json", answer.headers["content-type"])
        local sign = "printf '%s' '" .. body .. "' | openssl dgst -sha256 -hmac 'a secret' -r"
        local signature = process.run({"sh", "-c", sign}):match "^%x+"
        answer = d:request("POST", "/hooks/42", {body = body, headers = {["X-Signature"] = signature}})
        assert.are.equal(202, answer.status, answer.body)
        assert.are.equal("paid", client:recv())
        client:close()
    end)

    it("may wait, answer nil, redirect", function()
        assert.are.equal(204, get("/later").status)
        local answer = get "/nil"
        assert.are.equal(404, answer.status)
        assert.matches('"code":"not_found"', answer.body)
        local session = http.open(d.port)
        session:send(http.format("GET", "/cookies"))
        local head = session.conn:read_till "\r\n\r\n"
        assert.matches("^HTTP/1.1 303 See Other\r\n", head)
        assert.matches("\r\nLocation: /\r\n", head)
        assert.matches("\r\nSet%-Cookie: a=1\r\n", head)
        assert.matches("\r\nSet%-Cookie: b=2\r\n", head)
        session:close()
    end)

    it("fail with 500, and the log has the reason", function()
        local errors = d:metric 'bellhop_script_errors_total{hook="http"}'
        local answer = get "/error"
        assert.are.equal(500, answer.status)
        assert.matches('^{"error":{"code":"script_error","message":', answer.body)
        assert.is_nil(answer.body:find("a bug", 1, true))
        d:wait_log "a bug in the endpoint"
        assert.are.equal(500, get("/misuse").status)
        d:wait_log "Connection is set by the server"
        assert.are.equal(errors + 2, d:metric 'bellhop_script_errors_total{hook="http"}')
    end)

    it("are cancelled when the client disconnects", function()
        for _, how in ipairs {"close", "reset"} do
            local before = tonumber(get("/cancelled").body)
            local session = http.open(d.port)
            session:send(http.format("GET", "/never"))
            assert.is_nil(session:response("GET", 0.05))
            session.conn[how](session.conn)
            wait.till(function() return tonumber(get("/cancelled").body) == before + 1 end, 10,
                function() return "the endpoint to be cancelled after " .. how end)
        end
    end)

    it("coexist with WebSocket paths", function()
        local client = ws.connect(d.port, "/hello/a%40b")
        client:close()
        client = ws.connect(d.port, "/app/7")
        assert.are.equal("/app/7", client.headers["x-path"])
        client:close()
        ws.connect(d.port, "/ws"):close()
        for _, path in ipairs {"/", "/app", "/app/7/8", "/ws/", "/healthz", "/files/x", "/app/%zz"} do
            local refused, answer = ws.try(d.port, path)
            assert.is_nil(refused, path)
            assert.are.equal(404, answer.status, path)
        end
        assert.are.equal(426, get("/app/7").status)
    end)
end)

describe("an invalid script", function()
    local function check(policy, env)
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", policy)
        env = env or {}
        env.BELLHOP_SCRIPT_FILES = file
        local output, status = process.run({daemon.BIN, "check"}, env)
        os.execute("rm -rf " .. process.quote(dir))
        return output, status
    end

    it("is refused by check, with the key and a hint", function()
        local output, status = check 'return { http = { ["PSOT /x"] = function() end } }'
        assert.are.equal(1, status, output)
        assert.matches('http%["PSOT /x"%]: unknown method; did you mean "POST"%?', output)
        output, status = check 'return { http = { ["PUT /api/users/:id"] = function() end } }'
        assert.are.equal(1, status, output)
        assert.matches("bellhop itself answers at this path", output)
        output, status = check 'return { http = { ["GET /x/:id"] = function() return 204 end } }'
        assert.are.equal(0, status, output)
    end)

    it("is refused for invalid paths", function()
        local output, status = check("return {}", {BELLHOP_WEBSOCKET_PATHS = "/ws,app"})
        assert.are.equal(1, status, output)
        assert.matches('websocket%.paths: app: a path must begin with "/"', output)
        output, status = check("return {}", {BELLHOP_WEBSOCKET_PATHS = ""})
        assert.are.equal(1, status, output)
        assert.matches("websocket%.paths", output)
    end)
end)
