-- One instance with the memory broker: the API, the command line, start and stop.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local socket = require "socket"
local wait = require "wait"
local ws = require "ws"

describe("one instance with --dev", function()
    local d

    setup(function() d = daemon.start() end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function connect(query) return ws.connect(d.port, "/ws" .. (query and "?" .. query or "")) end

    it("publishes to a user, a tenant, a topic and all", function()
        local phone, laptop = connect "user=42&tenant=7&topic=news", connect "user=42&tenant=7"
        local other = connect "user=43&tenant=8&topic=news&topic=a/b"
        d:publish("users/42", "for the user")
        check.next(phone, "for the user", "text")
        check.next(laptop, "for the user", "text")
        d:publish("tenants/7", "for the tenant")
        check.next(phone, "for the tenant", "text")
        check.next(laptop, "for the tenant", "text")
        d:publish("topics/news", "for the readers")
        check.next(phone, "for the readers", "text")
        check.next(other, "for the readers", "text")
        d:publish("topics/a/b", "slashes")
        check.next(other, "slashes", "text")
        d:publish("broadcast", "for all")
        check.next(phone, "for all", "text")
        check.next(laptop, "for all", "text")
        check.next(other, "for all", "text")
        check.quiet(d, phone, laptop, other)
    end)

    -- The kernel stalls a process with threads whenever it enlarges the table.
    it("has a table for all descriptors from the start", function()
        local function number_in(file, pattern)
            return tonumber(io.lines("/proc/" .. d.process.pid .. "/" .. file, "a")():match(pattern))
        end
        local most = number_in("limits", "Max open files +(%d+)") or math.huge
        assert.is_true(number_in("status", "FDSize:%s+(%d+)") >= math.min(most, 131072))
    end)

    it("delivers only broadcasts to an anonymous connection", function()
        local nobody = connect()
        d:publish("users/42", "no")
        d:publish("tenants/7", "no")
        d:publish("topics/news", "no")
        check.quiet(d, nobody)
    end)

    it("delivers payloads byte for byte", function()
        local client = connect "user=42"
        local every = {}
        for i = 0, 255 do every[#every + 1] = string.char(i) end
        local all_bytes = table.concat(every)
        local megabyte = all_bytes:rep(4096)
        for _, text in ipairs {
            '{"n":9223372036854775807,"m":-9223372036854775808, "f":1.10}', "Grüße, 世界 \u{1F514}",
            "", "null", " \r\n\t",
            "a\0b", ("x"):rep(125), ("y"):rep(126), ("z"):rep(65535), ("w"):rep(65536),
            '{"wide":"' .. ("é"):rep(524288) .. '"}',
        } do
            d:publish("users/42", text)
            check.next(client, text, "text")
        end
        for _, bytes in ipairs {all_bytes, "\xff\xfe", "\0bh1", megabyte} do
            d:publish("users/42", bytes, nil, {["Content-Type"] = "application/octet-stream"})
            check.next(client, bytes, "binary")
        end
    end)

    it("skips the connection named by except", function()
        local sender, receiver = connect "user=42", connect "user=42"
        d:publish("users/42", "to the other", "except=" .. sender.id)
        check.next(receiver, "to the other")
        check.quiet(d, sender, receiver)
        check.error(http.post(d.port, "/api/users/42/messages?except=me", "x"), 400, "invalid_option", "except")
    end)

    it("delivers a message with an id once", function()
        local client = connect "user=42"
        local first = d:publish("users/42", "paid", "id=order-17")
        assert.matches('"id":"order%-17"', first)
        assert.is_nil(first:find "duplicate")
        check.next(client, "paid")
        assert.matches('"duplicate":true', d:publish("users/42", "paid", "id=order-17"))
        check.quiet(d, client)
        d:publish("users/42", "paid", "id=order-18")
        check.next(client, "paid")
    end)

    it("takes tags from the query", function()
        local ios = connect "user=42&topic=news&tag=platform:ios&tag=beta:true"
        local web = connect "user=42&topic=news&tag=platform:web"
        d:publish("topics/news", "for the testers", "filter=platform:ios&filter=beta:true")
        check.next(ios, "for the testers")
        check.quiet(d, ios, web)
    end)

    it("sends back what clients send", function()
        local client = connect "user=42"
        client:text "hello"
        check.next(client, "hello", "text")
        client:binary "\xff\0"
        check.next(client, "\xff\0", "binary")
    end)

    it("accepts a ttl", function()
        local client = connect "user=42"
        d:publish("users/42", "in time", "ttl=60")
        check.next(client, "in time")
        for _, ttl in ipairs {"-1", "x", "1.5", "99999999999", ""} do
            check.error(http.post(d.port, "/api/users/42/messages?ttl=" .. ttl, "x"), 400, "invalid_option", "ttl")
        end
    end)

    it("accepts all strategies", function()
        local one, two = connect "user=42", connect "user=42"
        for _, strategy in ipairs {"local_first", "redis", "both", "local"} do
            d:publish("users/42", strategy, "strategy=" .. strategy)
            check.next(one, strategy)
            check.next(two, strategy)
        end
        check.quiet(d, one, two)
        for _, strategy in ipairs {"stored", "LOCAL", ""} do
            check.error(http.post(d.port, "/api/users/42/messages?strategy=" .. strategy, "x"), 400, "invalid_option")
        end
        local answer = http.post(d.port, "/api/users/42/messages?strategy=durable", "x") -- no topic has a history
        check.error(answer, 400, "invalid_request")
        check.quiet(d, one, two)
    end)

    it("publishes batches with exact bytes", function()
        local client = connect "user=9223372036854775807&tenant=7&topic=t"
        local answer = http.post(d.port, "/api/publish", [=[ [
            {"user": 9223372036854775807, "data": {"a" : 1.0, "n":12345678901234567890}},
            {"tenant":"7","data":"quoted \u00e9"},
            {"topic":"t","data":null, "strategy":"redis"},
            {"all":true,"data":[ ]},
            {"user":"a b","data":1},
            {"user":"42"},
            {"usr":"42","data":1},
            {"user":1e3,"data":1},
            7] ]=], {["Content-Type"] = "application/json"})
        assert.are.equal(200, answer.status)
        local published, failed = 0, 0
        for _ in answer.body:gmatch '"status":"delivered","instances":1,"local":1' do published = published + 1 end
        for _ in answer.body:gmatch '"error":{' do failed = failed + 1 end
        assert.are.same({4, 5}, {published, failed}, answer.body)
        local wanted = {['{"a" : 1.0, "n":12345678901234567890}'] = true, ['"quoted \\u00e9"'] = true,
            ["null"] = true, ["[ ]"] = true}
        for _ = 1, 4 do
            local got = client:recv()
            assert.is_true(wanted[got], got)
            wanted[got] = nil
        end
        check.quiet(d, client)
        check.error(http.post(d.port, "/api/publish", "[{]"), 400, "invalid_json", "at byte")
        check.error(http.post(d.port, "/api/publish", '{"user":"42","data":1}'), 400, "invalid_request", "array")
        check.error(http.post(d.port, "/api/publish?ttl=1", "[]"), 400, "unknown_option")
        assert.are.equal("[]\n", http.post(d.port, "/api/publish", "[]").body)
    end)

    it("lists and disconnects users", function()
        local one, two = connect "user=u.1&tenant=7", connect "user=u.1"
        local body = http.get(d.port, "/api/users/u.1").body
        assert.matches('"online":true', body)
        assert.matches('"tenant":"7","opened_at":"20%d%d%-%d%d%-%d%dT', body)
        assert.is_truthy(body:find('"id":"' .. one.id .. '","tenant":"7","opened_at":', 1, true), body)
        assert.is_truthy(body:find('"id":"' .. two.id .. '","tenant":null', 1, true), body)
        assert.matches('"as_of":"20', body)
        body = http.post(d.port, "/api/users/online", '{"users":["u.1","u.2",9223372036854775807]}').body
        assert.matches('"u%.1":true,"u%.2":false,"9223372036854775807":false', body)
        check.error(http.post(d.port, "/api/users/online", '{"users":["a b"]}'), 400, "invalid_user", "users[0]")
        check.error(http.post(d.port, "/api/users/online", '{"users":7}'), 400, "invalid_request")
        local answer = http.request(d.port, "DELETE", "/api/users/u.1/connections?code=4001&reason=good%20bye")
        assert.are.equal(200, answer.status, answer.body)
        check.closed(one, 4001, "good bye")
        check.closed(two, 4001, "good bye")
        wait.till(function()
            return http.get(d.port, "/api/users/u.1").body:find '"online":false,"connections":%[%]'
        end)
        answer = http.request(d.port, "DELETE", "/api/users/u.1/connections?code=1006")
        check.error(answer, 400, "invalid_option", "code")
        local three = connect "user=u.1"
        http.request(d.port, "DELETE", "/api/users/u.1/connections")
        check.closed(three, 4000)
    end)

    it("refuses invalid requests, and says why", function()
        for path, code in pairs {
            ["/api/users/broadcast/messages"] = "invalid_user", ["/api/users/a%7Fb/messages"] = "invalid_user",
            ["/api/users/a%20b/messages"] = "invalid_user", ["/api/users/%zz/messages"] = "invalid_user",
            ["/api/users/" .. ("u"):rep(129) .. "/messages"] = "invalid_user",
            ["/api/tenants/a%C2%A0b/messages"] = "invalid_tenant", ["/api/topics/%00/messages"] = "invalid_topic",
            ["/api/users/42/messages?stratgy=redis"] = "unknown_option", ["/api/broadcast?id=%20"] = "invalid_option",
        } do check.error(http.post(d.port, path, "x"), 400, code) end
        assert.are.equal(200, http.post(d.port, "/api/users/" .. ("u"):rep(128) .. "/messages", "x").status)
        assert.are.equal(200, http.post(d.port, "/api/topics/a%2Fb/messages", "x").status)
        check.error(http.post(d.port, "/api/users/42/messages", "\xc3\x28", {["Content-Type"] = "text/plain"}), 400,
            "invalid_utf8", "octet-stream")
        check.error(http.get(d.port, "/nothing"), 404, "not_found")
        check.error(http.get(d.port, "/api/users/a/b"), 404, "not_found")
        local answer = http.get(d.port, "/api/broadcast")
        check.error(answer, 405, "method_not_allowed")
        assert.are.equal("POST", answer.headers.allow)
        answer = http.request(d.port, "PUT", "/healthz", {body = "x"})
        check.error(answer, 405, "method_not_allowed")
        assert.are.equal("GET, HEAD", answer.headers.allow)
        check.error(http.post(d.port, "/api/broadcast", ("x"):rep(4 * 1024 * 1024 + 1)), 413, "too_large")
        local _, refusal = ws.try(d.port, "/ws?user=a%20b")
        check.error(refusal, 400)
        answer = http.get(d.port, "/ws")
        check.error(answer, 426)
        assert.are.same({"websocket", "upgrade, keep-alive"}, {answer.headers.upgrade, answer.headers.connection})
    end)

    it("serves health, readiness and metrics", function()
        assert.are.same({200, "ok\n"}, {http.get(d.port, "/healthz").status, http.get(d.port, "/healthz").body})
        assert.are.equal('{"ready":true}\n', http.get(d.port, "/readyz").body)
        local head = http.request(d.port, "HEAD", "/healthz")
        assert.are.same({200, "3"}, {head.status, head.headers["content-length"]})
        local client = connect "user=42"
        local metrics = http.get(d.port, "/metrics")
        assert.matches("^text/plain; version=0.0.4", metrics.headers["content-type"])
        assert.matches("# TYPE bellhop_%w+", metrics.body)
        client:drop()
        local page = http.get(d.port, "/")
        assert.are.equal(200, page.status)
        assert.matches("text/html", page.headers["content-type"])
    end)

    it("keeps connections alive, and serves pipelined requests in order", function()
        local s = http.open(d.port)
        for i = 1, 3 do
            s:send(http.format("GET", i == 2 and "/nothing" or "/healthz"))
            assert.are.equal(i == 2 and 404 or 200, s:response().status)
        end
        local client = connect "user=42"
        local requests = {}
        for i = 1, 20 do requests[i] = http.format("POST", "/api/users/42/messages", {body = "message " .. i}) end
        requests[21] = http.format("GET", "/nothing")
        s:send(table.concat(requests))
        for i = 1, 20 do
            assert.are.equal(200, s:response().status)
            check.next(client, "message " .. i)
        end
        assert.are.equal(404, s:response().status)
        s:send "POST /api/users/42/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n"
        s:send "2\r\ned\r\n0\r\n\r\n"
        assert.are.equal(200, s:response().status)
        check.next(client, "chunked")
        s:send "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert.are.equal(200, s:response().status)
        assert.are.equal("", s.conn:read_all())
        s:close()
    end)

    it("refuses invalid HTTP", function()
        for _, bytes in ipairs {"\22\3\1\0\1\1", "GET\r\n\r\n", "GET /healthz HTTP/1.1\r\n\r\n",
            "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. "0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nX: " .. ("y"):rep(20000) .. "\r\n\r\n"} do
            local s = http.open(d.port)
            s:send(bytes)
            local answer = s:response()
            assert.is_true(answer and answer.status >= 400 and answer.status < 500, bytes:sub(1, 40))
            s:close()
        end
    end)
end)

describe("the limits", function()
    after_each(daemon.stop_all)

    it("bound slow requests and idle connections", function()
        local d = daemon.start {env = {BELLHOP_HTTP_REQUEST_TIMEOUT = "0.2", BELLHOP_HTTP_IDLE_TIMEOUT = "0.2"}}
        local slow, idle = http.open(d.port), http.open(d.port)
        slow:send "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nha"
        check.error(slow:response(), 408, "timeout")
        assert.are.equal("", slow.conn:read_all())
        assert.are.equal("", idle.conn:read_all())
        slow:close()
        idle:close()
    end)

    it("bound connections, and accept others when some are closed", function()
        local d = daemon.start {env = {BELLHOP_SERVER_CONNECTIONS_MAX = "3"}}
        local sessions = {}
        for i = 1, 3 do
            sessions[i] = http.open(d.port)
            sessions[i]:send(http.format("GET", "/healthz"))
            assert.are.equal(200, sessions[i]:response().status)
        end
        check.error(http.get(d.port, "/"), 503, "too_many_connections")
        assert.are.equal(200, http.get(d.port, "/healthz").status)
        sessions[1]:close()
        wait.till(function() return http.get(d.port, "/").status == 200 end)
        for i = 2, 3 do sessions[i]:close() end
    end)
end)

describe("--dev with a policy that admits nobody itself", function()
    local d

    setup(function() d = daemon.start {policy = "return { on_message = function() return true end }"} end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("takes the identity from the query, with tags", function()
        local ios = ws.connect(d.port, "/ws?user=42&tenant=7&tag=platform:ios&tag=beta%3Atrue&tag=url:a:b&tag=none:")
        local web = ws.connect(d.port, "/ws?user=42&tenant=7&tag=platform:web")
        for _, filter in ipairs {"platform:ios", "beta:true", "url:a:b", "none:", "platform:ios&filter=beta:true"} do
            d:publish("tenants/7", filter, "filter=" .. filter)
            check.next(ios, filter)
        end
        d:publish("tenants/7", "web", "filter=platform:web")
        check.next(web, "web")
        check.quiet(d, ios, web)
        for _, query in ipairs {"tag=platform", "tag=:ios", "tag=", "tag=a:b&tag=c", "tag=%", ("tag=a:b&"):rep(33)} do
            local _, refusal = ws.try(d.port, "/ws?" .. query)
            check.error(refusal, 400, "invalid_identity", "tag")
        end
        ws.connect(d.port, "/ws?" .. ("tag=a:b&"):rep(32))
    end)
end)

describe("without --dev", function()
    after_each(daemon.stop_all)

    it("requires a key", function()
        local d = daemon.start {dev = false, env = {BELLHOP_API_KEYS = "first,second"}}
        local function publish(authorization)
            return http.post(d.port, "/api/broadcast", "x", authorization and {Authorization = authorization})
        end
        local answer = publish()
        check.error(answer, 401, "unauthorized")
        assert.are.equal("Bearer", answer.headers["www-authenticate"])
        for _, wrong in ipairs {
            "Bearer third", "Bearer", "Bearer ", "Basic first", "first", "Bearer firs", "Bearer first2",
        } do
            check.error(publish(wrong), 401, "unauthorized")
        end
        assert.are.equal(200, publish("Bearer first").status)
        assert.are.equal(200, publish("bearer second").status)
        check.error(http.get(d.port, "/"), 404)
        assert.are.equal(200, http.get(d.port, "/healthz").status)
        local log = d:stop()
        assert.is_nil(log:find "first")
        assert.is_nil(log:find "third")
    end)

    it("refuses the API without a configured key", function()
        local d = daemon.start {dev = false}
        check.error(http.post(d.port, "/api/broadcast", "x"), 401, "unauthorized", "no API key is configured")
        check.error(http.post(d.port, "/api/broadcast", "x", {Authorization = "Bearer "}), 401)
        local client, refusal = ws.try(d.port, "/ws?user=42")
        assert.is_nil(client)
        assert.are.equal(503, refusal.status)
        assert.matches("no key", refusal.body)
    end)
end)

describe("the command line", function()
    local dir

    setup(function() dir = process.temp_dir() end)
    teardown(function() os.execute("rm -rf " .. process.quote(dir)) end)
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local function run(...) return process.run {daemon.BIN, ...} end

    local function config(text) return process.write_file(dir .. "/bellhop.conf.lua", text) end

    it("prints its usage", function()
        local output, status = run "--help"
        assert.are.equal(0, status)
        assert.matches("usage: bellhop", output)
        for _, words in ipairs {{"--version"}, {"-V"}, {"version"}} do
            output, status = run(table.unpack(words))
            assert.are.equal(0, status)
            assert.matches("^bellhop %d+%.%d+", output)
        end
        for _, command in ipairs {"serve", "check", "test", "token"} do
            for _, words in ipairs {{command, "--help"}, {"help", command}} do
                output, status = run(table.unpack(words))
                assert.are.equal(0, status)
                assert.matches("^usage: bellhop " .. command, output)
            end
        end
        for _, wrong in ipairs {{}, {"sreve"}, {"serve", "--nope"}, {"serve", "more"}, {"token"}} do
            output, status = run(table.unpack(wrong))
            assert.are.equal(2, status, output)
            assert.matches("%-%-help", output)
        end
    end)

    it("reports a port in use", function()
        local taken = assert(socket.bind("127.0.0.1", 0))
        local _, port = taken:getsockname()
        local output, status = run("serve", "--dev", "--listen", "127.0.0.1:" .. port)
        taken:close()
        assert.are.equal(1, status, output)
        assert.matches("127%.0%.0%.1:" .. port .. ": the address is in use", output)
    end)

    it("does not share the port of another instance", function()
        local first = daemon.start {}
        local output, status = run("serve", "--dev", "--listen", "127.0.0.1:" .. first.port)
        first:stop()
        assert.are.equal(1, status, output)
        assert.matches("the address is in use", output)
    end)

    it("stops although a script hangs", function()
        local stuck = daemon.start {
            workers = 1,
            env = { BELLHOP_SERVER_DRAIN_TIMEOUT = "0", BELLHOP_SCRIPT_CPU_LIMIT = "0" },
            policy = "return { on_handshake = function() while true do end end }",
        }
        local conn = assert(http.open(stuck.port))
        conn:send(ws.request "/ws")
        wait.till(function() return not http.get(stuck.port, "/healthz", { timeout = 0.2 }) end, 10)
        assert.matches("hangs in its script", stuck:stop(1))
        conn:close()
    end)

    it("allows --dev on loopback only", function()
        local output, status = run("serve", "--dev", "--listen", "0.0.0.0:0")
        assert.are.equal(1, status, output)
        assert.matches("loopback", output)
    end)

    it("checks a configuration", function()
        local file = config 'return {\n  server = { workers = 1 },\n  app = { x = 1 },\n}\n'
        local output, status = run("check", "-c", file)
        assert.are.equal(0, status, output)
        assert.matches("bellhop%.conf%.lua: ok", output)
        local cases = {
            ["return {\n  redis = {\n    ulr = 'x' } }"] = {"bellhop.conf.lua:3: ", "redis.ulr", "redis.url"},
            ["return {\n  sevrer = {} }"] = {"bellhop.conf.lua:2: ", "sevrer"},
            ["return {\n\n  server = { workers = 'two' } }"] = {
                "bellhop.conf.lua:3: ", "server.workers", "a whole number",
            },
            ["return { delivery = { strategy = 'fast' } }"] = {"bellhop.conf.lua:1: ", "local_first|redis"},
            ["return { server = { workers = 65 } }"] = {"between 0 and 64"},
            ["return {\n  server = { }\n  http = {} }"] = {"bellhop.conf.lua:3: "},
            ["return 7"] = {"bellhop.conf.lua"},
            ["os.exit(0)"] = {"bellhop.conf.lua:1: "},
        }
        if daemon.HAS_WATCHDOG then
            cases["while true do end"] = {"bellhop.conf.lua:1: the configuration ran for more than 1000 ms"}
        end
        for text, wanted in pairs(cases) do
            output, status = run("check", "-c", config(text))
            assert.are.equal(1, status, text .. "\n" .. output)
            for _, part in ipairs(wanted) do
                assert.is_truthy(output:find(part, 1, true), text .. "\n" .. output)
            end
        end
        output, status = run("check", "-c", dir .. "/none.lua")
        assert.are.equal(1, status)
        assert.matches("none%.lua", output)
    end)

    it("prefers options to the environment, and that to the file", function()
        local file = config 'return { server = { workers = "x" } }'
        local output, status = process.run({daemon.BIN, "check", "-c", file}, {BELLHOP_SERVER_WORKERS = "1"})
        assert.are.equal(1, status, output)
        output, status = process.run({daemon.BIN, "check"}, {BELLHOP_SERVER_WORKERS = "many"})
        assert.are.equal(1, status, output)
        assert.matches("BELLHOP_SERVER_WORKERS: server%.workers must be a whole number", output)
        file = config 'return { log = { format = "json" }, websocket = { paths = { "/a" } } }'
        local d = daemon.start {args = {"-c", file}, env = {BELLHOP_WEBSOCKET_PATHS = "/b"}}
        ws.connect(d.port, "/b"):close()
        local _, refusal = ws.try(d.port, "/a")
        assert.are.equal(404, refusal.status)
        assert.matches('^{"', d:stop())
    end)

    it("makes tokens", function()
        local env = {BELLHOP_AUTH_JWT_SECRET = ("s"):rep(32)}
        local output, status = process.run({daemon.BIN, "token", "--user", "42"}, env)
        assert.are.equal(0, status, output)
        assert.matches("^[%w_-]+%.[%w_-]+%.[%w_-]+\n$", output)
        output, status = run("token", "--user", "42")
        assert.are.equal(1, status)
        assert.matches("BELLHOP_AUTH_JWT_SECRET", output)
        output, status = process.run({daemon.BIN, "token", "--user", "a b"}, env)
        assert.are.equal(2, status, output)
    end)
end)
