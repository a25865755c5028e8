-- Lua policies in a real instance: the results of every hook, its failure, and the default policy.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local wait = require "wait"
local ws = require "ws"

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
end

-- The query, the message or the payload selects what the hooks do, so that one instance serves many
-- specs.
local POLICY = [[
local bh = require "bellhop"
local hooks = {}

function hooks.on_handshake(req)
    local as = req:arg "as"
    if as == "nobody" then return {} end
    if as == "refused" then return false, 403, '{"why":"no"}' end
    if as == "plainly" then return false end
    if as == "undecided" then return nil end
    if as == "error" then error "a bug in the policy" end
    if as == "nonsense" then return 7 end
    if as == "typo" then return { user = "42", tennant = "7" } end
    if as == "bad" then return { user = "a b" } end
    if as == "slow" then bh.sleep(0.1) end
    if as == "never" then bh.sleep(1000) end
    local id = {
        user = req:header "X-User", tenant = req:arg "tenant", topics = req:args "topic",
        headers = { ["X-Welcome"] = "hello " .. req.method .. " " .. req.path },
        protocol = req:arg "protocol", tags = { platform = "ios" },
    }
    if as == "expiring" then id.expires = os.time() + 1 end
    return id
end

function hooks.on_subscribe(conn, topic)
    if topic == "secret" then return false, 403 end
    if topic == "broken" then error "a bug" end
    return true
end

function hooks.on_open(conn)
    if conn.user == "greeted" then conn:send("welcome " .. conn.user) end
    if conn.user == "json" then conn:send_json { tags = conn.tags } end
    if conn.user == "unwanted" then conn:close(4003, "not you") end
    if conn.user == "broken" then error "a bug" end
end

function hooks.on_close(conn, info)
    if conn.user == "leaver" then
        bh.publish { user = "watcher", data = conn.user .. " left with " .. info.code .. " " .. info.reason }
    end
end

function hooks.on_message(conn, data, opcode)
    if data == "ping" then return "pong" end
    if data == "opcode" then return opcode end
    if data == "slow" then bh.sleep(0.05) return "slept" end
    if data == "true" then return true end
    if data == "kick" then return false, 4010, "as you wish" end
    if data == "go" then return false end
    if data == "error" then error "a bug" end
    if data == "spawn" then bh.spawn(function() bh.sleep(0.01) conn:send "spawned" end) return true end
    if data == "join" then
        local ok, why = conn:subscribe "later"
        return ok and "joined" or why
    end
    if data == "join secret" then
        local ok, why = conn:subscribe "secret"
        return ok and "joined" or "not joined"
    end
    if data == "leave" then conn:unsubscribe "later" return "left" end
    if data == "count" then
        conn.vars.n = (conn.vars.n or 0) + 1
        return tostring(conn.vars.n)
    end
    local topic, text = data:match "^say (%S+) (.*)$"
    if topic then return { topic = topic, data = text, except = conn.id } end
end

function hooks.on_publish(msg, source)
    if msg.data == "upper" then msg.data = "UPPER" end
    if msg.data == "forward" then msg.user = "other" end
    if msg.data == "refuse" then return false, "not today" end
    if msg.data == "error" then error "a bug" end
    if msg.data == "strategy" then return "redis" end
    if msg.data == "nonsense" then return "quickly" end
    if msg.data == "slow" then bh.sleep(0.05) msg.data = "slow, by " .. source.kind end
end

function hooks.on_deliver(conn, msg)
    if msg.data == "skip" then return conn.user ~= "42" end
    if msg.data == "replace" then return "for " .. conn.user end
    if msg.data == "deliver error" then error "a bug" end
end

function hooks.on_api(req)
    if req:header "X-Key" == "open sesame" then return true end
    if req:header "X-Key" == "closed" then return false, 429, '{"error":{"code":"slow_down","message":"later"}}' end
    if req:header "X-Key" == "error" then error "a bug" end
end

return hooks
]]

describe("a policy", function()
    local d

    setup(function() d = daemon.start {policy = POLICY, env = {BELLHOP_WEBSOCKET_HANDSHAKE_TIMEOUT = "1"}} end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function try(query, user, headers)
        headers = headers or {}
        headers["X-User"] = user
        return ws.try(d.port, "/ws?" .. (query or ""), {headers = headers})
    end

    local function connect(query, user, headers)
        local client, refusal = try(query, user, headers)
        if not client then error(refusal.status .. " " .. refusal.body, 2) end
        return client
    end

    local function ask(client, question, answer)
        client:text(question)
        check.next(client, answer, "text")
    end

    describe("on_handshake", function()
        it("returns the identity", function()
            local client = connect("tenant=7&topic=a&topic=b", "42")
            assert.are.equal("hello GET /ws", client.headers["x-welcome"])
            for _, target in ipairs {"users/42", "tenants/7", "topics/a", "topics/b", "broadcast"} do
                d:publish(target, target)
                check.next(client, target)
            end
            local nobody = connect "as=nobody"
            d:publish("users/42", "not for nobody")
            check.next(client, "not for nobody")
            check.quiet(d, client, nobody)
        end)

        it("selects one of the offered protocols", function()
            local client = connect("protocol=v2", "42", {["Sec-WebSocket-Protocol"] = "v1, v2"})
            assert.are.equal("v2", client.headers["sec-websocket-protocol"])
            local _, refusal = try("protocol=v3", "42", {["Sec-WebSocket-Protocol"] = "v1, v2"})
            assert.are.equal(503, refusal.status)
        end)

        it("refuses with status and body", function()
            local _, refusal = try "as=refused"
            assert.are.same({403, '{"why":"no"}'}, {refusal.status, refusal.body})
            _, refusal = try "as=plainly"
            assert.are.equal(401, refusal.status)
            _, refusal = try "as=undecided"
            assert.are.equal(401, refusal.status)
        end)

        it("fails closed", function()
            for _, how in ipairs {"error", "nonsense", "typo", "bad"} do
                local client, refusal = try("as=" .. how, "42")
                assert.is_nil(client, how)
                assert.are.equal(503, refusal.status, how)
                assert.is_nil(refusal.body:find("bug", 1, true))
            end
            d:wait_log "a bug in the policy"
            d:wait_log "tennant"
        end)

        it("may wait, while others are served", function()
            local conn = require "tcp".connect(d.port)
            conn:send(ws.request("/ws?as=slow", {["X-User"] = "42"}))
            ask(connect(nil, "43"), "ping", "pong")
            assert.matches("^HTTP/1.1 101 ", conn:read_till "\r\n\r\n")
            conn:close()
        end)

        it("is cancelled when it waits too long, or its client disconnects", function()
            local _, refusal = try "as=never"
            assert.are.equal(504, refusal.status)
            local conn = require "tcp".connect(d.port)
            conn:send(ws.request "/ws?as=never")
            conn:close()
            assert.are.equal(200, d:ready())
        end)

        it("closes a connection when its identity expires", function()
            check.closed(connect("as=expiring", "42"), 4401)
        end)
    end)

    describe("on_subscribe", function()
        it("skips the topics that it refuses", function()
            local client = connect("topic=secret&topic=broken&topic=open", "42")
            d:publish("topics/secret", "no")
            d:publish("topics/broken", "no")
            d:publish("topics/open", "yes")
            check.next(client, "yes")
            ask(client, "join secret", "not joined")
            check.quiet(d, client)
        end)
    end)

    describe("on_open and on_close", function()
        it("send, close and fail", function()
            check.next(connect(nil, "greeted"), "welcome greeted", "text")
            check.next(connect(nil, "json"), '{"tags":{"platform":"ios"}}', "text")
            check.closed(connect(nil, "unwanted"), 4003, "not you")
            check.closed(connect(nil, "broken"), 1011)
        end)

        it("receive code and reason", function()
            local watcher = connect(nil, "watcher")
            local leaver = connect(nil, "leaver")
            leaver:close(4005, "bye")
            check.next(watcher, "leaver left with 4005 bye")
            connect(nil, "leaver"):drop()
            check.next(watcher, "leaver left with 1006 connection lost")
            leaver = connect(nil, "leaver")
            d:request("DELETE", "/api/users/leaver/connections?code=4001&reason=out")
            check.closed(leaver, 4001, "out")
            check.next(watcher, "leaver left with 4001 out")
        end)
    end)

    describe("on_message", function()
        it("replies, in the order of the messages and also after a wait", function()
            local client = connect(nil, "42")
            client:text "slow"
            client:text "ping"
            client:text "opcode"
            check.next(client, "slept", "text")
            check.next(client, "pong", "text")
            check.next(client, "text", "text")
            client:binary "opcode"
            check.next(client, "binary", "binary")
            client:text "true"
            ask(client, "spawn", "spawned")
            for i = 1, 3 do ask(client, "count", tostring(i)) end
            ask(connect(nil, "42"), "count", "1")
        end)

        it("pauses a flood without losses", function()
            local client = connect(nil, "42")
            client:text "slow"
            client:raw(ws.frame(ws.TEXT, "count"):rep(500))
            check.next(client, "slept")
            for i = 1, 500 do check.next(client, tostring(i)) end
        end)

        it("publishes", function()
            local speaker, listener = connect("topic=room", "42"), connect("topic=room", "43")
            speaker:text "say room hello"
            check.next(listener, "hello")
            ask(speaker, "ping", "pong")
            check.quiet(d, speaker, listener)
        end)

        it("joins and leaves topics", function()
            local client = connect(nil, "42")
            ask(client, "join", "joined")
            d:publish("topics/later", "in time")
            check.next(client, "in time")
            ask(client, "leave", "left")
            d:publish("topics/later", "too late")
            check.quiet(d, client)
        end)

        it("closes, and drops a message when it fails", function()
            local client = connect(nil, "42")
            client:text "error"
            ask(client, "ping", "pong")
            client:text "kick"
            check.closed(client, 4010, "as you wish")
            client = connect(nil, "42")
            client:text "go"
            check.closed(client, 1008)
            client = connect(nil, "42")
            client:text "anything else"
            check.closed(client, 1008)
        end)
    end)

    describe("on_publish", function()
        it("changes messages and selects strategies, also after a wait", function()
            local client, other = connect(nil, "42"), connect(nil, "other")
            d:publish("users/42", "upper")
            check.next(client, "UPPER")
            d:publish("users/42", "forward")
            check.next(other, "forward")
            d:publish("users/42", "strategy")
            check.next(client, "strategy")
            d:publish("users/42", "slow")
            check.next(client, "slow, by http")
            check.quiet(d, client, other)
        end)

        it("refuses, and fails closed", function()
            local client = connect(nil, "42")
            check.error(http.post(d.port, "/api/users/42/messages", "refuse"), 403, "refused", "not today")
            check.error(http.post(d.port, "/api/users/42/messages", "error"), 500, "script_error")
            check.error(http.post(d.port, "/api/users/42/messages", "nonsense"), 500, "script_error")
            check.quiet(d, client)
        end)
    end)

    describe("on_deliver", function()
        it("skips, replaces, and skips when it fails", function()
            local one, two = connect(nil, "42"), connect(nil, "43")
            d:publish("broadcast", "skip")
            check.next(two, "skip")
            d:publish("broadcast", "replace")
            check.next(one, "for 42")
            check.next(two, "for 43")
            d:publish("broadcast", "deliver error")
            check.quiet(d, one, two)
        end)
    end)

    it("counts its errors", function()
        for _, hook in ipairs {"on_handshake", "on_open", "on_message", "on_publish", "on_deliver"} do
            assert.is_true(d:metric('bellhop_script_errors_total{hook="' .. hook .. '"}') > 0, hook)
        end
    end)
end)

describe("on_api", function()
    after_each(stop_all)

    it("allows, refuses, defers to the key, and fails closed", function()
        local d = daemon.start {policy = POLICY, dev = false, env = {BELLHOP_API_KEYS = "key"}}
        local function post(headers) return http.post(d.port, "/api/broadcast", "x", headers) end
        assert.are.equal(200, post({["X-Key"] = "open sesame"}).status)
        check.error(post({["X-Key"] = "closed", Authorization = "Bearer key"}), 429, "slow_down")
        check.error(post({["X-Key"] = "error", Authorization = "Bearer key"}), 503)
        assert.are.equal(200, post({Authorization = "Bearer key"}).status)
        check.error(post(), 401, "unauthorized")
    end)
end)

describe("several policies", function()
    local dir

    setup(function() dir = process.temp_dir() end)
    teardown(function() os.execute("rm -rf " .. process.quote(dir)) end)
    after_each(stop_all)

    it("run in order, and an error does not fall through", function()
        local first = process.write_file(dir .. "/first.lua", [[return { on_handshake = function(req)
            if req:arg "by" == "first" then return { user = "first" } end
            if req:arg "by" == "error" then error "no" end
        end }]])
        local second = process.write_file(dir .. "/second.lua", [[return { on_handshake = function(req)
            return { user = "second" }
        end }]])
        local d = daemon.start {args = {"--policy", first .. "," .. second}}
        for by, user in pairs {first = "first", other = "second"} do
            local client = ws.connect(d.port, "/ws?by=" .. by)
            d:publish("users/" .. user, "hello " .. user)
            check.next(client, "hello " .. user)
        end
        local _, refusal = ws.try(d.port, "/ws?by=error")
        assert.are.equal(503, refusal.status)
    end)
end)

describe("loading a policy", function()
    local dir

    setup(function() dir = process.temp_dir() end)
    teardown(function() os.execute("rm -rf " .. process.quote(dir)) end)

    it("fails with file and reason, in check and serve", function()
        for text, wanted in pairs {
            ["return { on_mesage = function() end }"] = {"unknown hook", "on_mesage", "did you mean", "on_message"},
            ["return { on_message = 7 }"] = {"on_message"},
            ["return 7"] = {"table"},
            ["return {"] = {"policy.lua:1:"},
            ["local x = nil\nreturn x.y"] = {"policy.lua:2:"},
            ["return { }, io.open"] = {"policy.lua:1:"},
        } do
            local file = process.write_file(dir .. "/policy.lua", text)
            for _, argv in ipairs {
                {daemon.BIN, "check", "--policy", file},
                {daemon.BIN, "serve", "--dev", "--listen", "127.0.0.1:0", "--policy", file},
            } do
                local output, status = process.run(argv)
                assert.are.equal(1, status, text .. "\n" .. output)
                assert.is_truthy(output:find("policy.lua", 1, true), text .. "\n" .. output)
                for _, part in ipairs(wanted) do
                    assert.is_truthy(output:find(part, 1, true), text .. "\n" .. output)
                end
            end
        end
        local output, status = process.run {daemon.BIN, "check", "--policy", dir .. "/none.lua"}
        assert.are.equal(1, status, output)
        assert.matches("none%.lua", output)
    end)

    it("fails when on_init fails", function()
        local file = process.write_file(dir .. "/policy.lua", 'return { on_init = function() error "no database" end }')
        local output, status = process.run {daemon.BIN, "serve", "--dev", "--listen", "127.0.0.1:0", "--policy", file}
        assert.are.equal(1, status, output)
        assert.matches("no database", output)
    end)
end)

describe("the default policy", function()
    local SECRET = "0123456789abcdef0123456789abcdef"
    local d

    setup(function()
        local env = {BELLHOP_AUTH_JWT_SECRET = SECRET, BELLHOP_AUTH_JWT_LEEWAY = "0", BELLHOP_API_KEYS = "key"}
        d = daemon.start {dev = false, env = env}
    end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function token(secret, ...)
        local output, status = process.run({daemon.BIN, "token", ...}, {BELLHOP_AUTH_JWT_SECRET = secret})
        assert(status == 0, output)
        return output:match "%S+"
    end

    local KEY = {Authorization = "Bearer key"}

    it("accepts a token in the header, the query and a cookie", function()
        local jwt = token(SECRET, "--user", "42", "--tenant", "7")
        local clients = {
            ws.connect(d.port, "/ws", {headers = {Authorization = "Bearer " .. jwt}}),
            ws.connect(d.port, "/ws?token=" .. jwt),
            ws.connect(d.port, "/ws", {headers = {Cookie = "a=b; token=" .. jwt}}),
        }
        d:publish("users/42", "user", nil, KEY)
        d:publish("tenants/7", "tenant", nil, KEY)
        for _, client in ipairs(clients) do
            check.next(client, "user")
            check.next(client, "tenant")
        end
        assert.is_nil(d:log():find(jwt, 1, true))
    end)

    it("refuses everything else with 401", function()
        local jwt = token(SECRET, "--user", "42")
        local head, body, signature = jwt:match "^(.-)%.(.-)%.(.*)$"
        local none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0" -- {"alg":"none","typ":"JWT"}
        local flipped = (signature:sub(1, 1) == "A" and "B" or "A") .. signature:sub(2)
        for name, bad in pairs {
            empty = "", text = "hello", dots = "..", ["another key"] = token(("x"):rep(32), "--user", "42"),
            ["no signature"] = head .. "." .. body .. ".",
            ["a changed signature"] = head .. "." .. body .. "." .. flipped,
            ["alg none"] = none .. "." .. body .. ".", ["alg none, signed"] = none .. "." .. body .. "." .. signature,
            long = ("x"):rep(8000), expired = token(SECRET, "--user", "42", "--ttl", "0"),
        } do
            local client, refusal = ws.try(d.port, "/ws", {headers = {Authorization = "Bearer " .. bad}})
            assert.is_nil(client, name)
            check.error(refusal, 401, "unauthorized")
            assert.are.equal("Bearer", refusal.headers["www-authenticate"])
        end
        local _, refusal = ws.try(d.port, "/ws?user=42")
        assert.are.equal(401, refusal.status)
    end)

    it("closes a connection when its token expires", function()
        local jwt = token(SECRET, "--user", "brief", "--ttl", "1")
        local client, refusal = ws.try(d.port, "/ws?token=" .. jwt)
        -- the token may expire before it is used
        if client then check.closed(client, 4401) else assert.are.equal(401, refusal.status) end
        wait.till(function()
            return d:request("GET", "/api/users/brief", {headers = KEY}).body:find '"online":false'
        end)
    end)
end)
