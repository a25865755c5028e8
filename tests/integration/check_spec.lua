-- `bellhop check` against `bellhop serve`: what one refuses, the other refuses, with the same text.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local process = require "process"

local dir

setup(function() dir = process.temp_dir() end)
teardown(function()
    daemon.stop_all()
    os.execute("rm -rf " .. process.quote(dir))
end)

local function file(name, text) return process.write_file(dir .. "/" .. name, text) end

local function has(output, part) return output:find(part, 1, true) ~= nil end

-- Each: the configuration, and texts that both commands print. `policy`, `env` and `args` are further sources; `listen`:
-- the case is about addresses, so that none is given on the command line.
local WRONG = {
    {"return {\n  redis = {\n    ulr = 'x' } }", {"bellhop.conf.lua:3: unknown key redis.ulr; did you mean \"redis.url\"?"}},
    {"return {\n  sevrer = {} }", {"bellhop.conf.lua:2: unknown key sevrer"}},
    {"return {\n\n  server = { workers = 'two' } }", {"bellhop.conf.lua:3: server.workers must be a whole number"}},
    {"return { server = { workers = 65 } }", {"bellhop.conf.lua:1: server.workers must be between 0 and 64"}},
    {"return { server = { dev = 'yes' } }", {"server.dev must be true or false"}},
    {"return { server = 7 }", {"bellhop.conf.lua:1: server must be a table"}},
    {"return { delivery = { strategy = 'fast' } }", {"delivery.strategy must be one of local_first|redis|both|local"}},
    {"return { websocket = { ping_interval = 0.001 } }", {"websocket.ping_interval must be between 0.05 and 86400"}},
    {"return {\n  server = {}\n  http = {} }", {"bellhop.conf.lua:3: "}},
    {"return 7", {"a configuration must return a table"}},
    {"return { 'x' }", {"the file must return a table of sections"}},
    {"os.exit(0)", {"bellhop.conf.lua:1: "}},
    {"return { app = { f = string.rep } }", {"a function cannot be"}},
    {"return {\n server = { instance = 'a b' } }", {"bellhop.conf.lua:2: server.instance: a b: "}},
    {"return {\n server = { trusted_proxies = { '10.0.0.0/33' } } }",
        {"bellhop.conf.lua:2: server.trusted_proxies: 10.0.0.0/33: "}},
    {"return {\n server = {\n listen = { '127.0.0.1:1', '127.0.0.1:1' } } }",
        {"bellhop.conf.lua:3: server.listen: 127.0.0.1:1: the address is already in server.listen"}, listen = true},
    {"return {\n server = { listen = { 'localhost:1' },\n admin_listen = { '127.0.0.1:1' } } }",
        {"bellhop.conf.lua:3: server.admin_listen: 127.0.0.1:1: the address is already in server.listen"}, listen = true},
    {"return { server = { listen = {} } }", {"server.listen: no address"}, listen = true},
    {"return { server = { listen = { 'example.com:80' } } }", {"server.listen: example.com:80: "}, listen = true},
    {"return { server = { listen = { '203.0.113.7:80' } } }",
        {"bellhop.conf.lua:1: server.listen: 203.0.113.7:80: address not available"}, listen = true},
    {"return { server = { listen = { 'unix:/none/socket' } } }",
        {"server.listen: unix:/none/socket: no such directory"}, listen = true},
    {"return { server = { dev = true, listen = { '0.0.0.0:0' } } }", {"with --dev only loopback"}, listen = true},
    {"return { server = { listen = { 'tls:127.0.0.1:0' } } }", {"needs a certificate"}, listen = true},
    {"return { server = { listen = { 'proxy:127.0.0.1:0' } } }", {"list them in server.trusted_proxies"}, listen = true},
    {"return { tls = {\n certificates = { '/none.pem' } } }", {"bellhop.conf.lua:2: tls.certificates: /none.pem: "}},
    {"return { websocket = { paths = { 'ws' } } }", {"websocket.paths: ws: "}},
    {"return { websocket = { paths = {} } }", {"websocket.paths: no path"}},
    {"return { websocket = { origins = { 'https://a.example/x' } } }", {"websocket.origins: https://a.example/x: "}},
    {"return { websocket = { compression_max = 1 } }", {"websocket.compression_max: is below compression_threshold"}},
    {"return { redis = { url = 'http://:hunter2@a' } }", {"bellhop.conf.lua:1: redis.url: "}, secret = "hunter2"},
    {"return { redis = { url = { 'redis://a', 'redis://a:6379' } } }", {"redis.url: URLs 1 and 2 are the same node"}},
    {"return { redis = { url = { 'redis://a', 'redis+cluster://b,c' } } }", {"redis.url: a Redis Cluster must be the only URL"}},
    {"return { redis = { url = 'redis+cluster://b,c/1' } }", {"redis.url: a Redis Cluster has database 0 only"}},
    {"return { redis = { url = 'rediss://a?ca=/none.pem' } }", {"bellhop.conf.lua:1: redis.url: /none.pem: "}},
    {"return { fetch = { ca_file = '/none.pem' } }", {"bellhop.conf.lua:1: fetch.ca_file: /none.pem: cannot be read"}},
    {"return { fetch = { deny = { 'localhost' } } }", {"fetch.deny: localhost: "}},
    {"return { auth = { jwt = {\n algorithms = { 'HS265' } } } }",
        {"bellhop.conf.lua:2: auth.jwt.algorithms: HS265: unknown algorithm; expected HS256, "}},
    {"return { auth = { jwt = {\n algorithms = { 'RS256' }, secret = 'x' } } }",
        {"bellhop.conf.lua:2: auth.jwt.algorithms: RS256: no key to verify tokens: set auth.jwt.public_key"}},
    {"return { auth = { jwt = { algorithms = { 'RS256' }, public_key = '-----BEGIN NONSENSE-----' } } }", {"on_init refused"}},
    {"return { auth = { jwt = { jwks = '/none.json' } } }", {"bellhop.conf.lua:1: auth.jwt.jwks: /none.json: No such file"}},
    {"return { auth = { jwt = { public_key = '/none.pem' } } }", {"auth.jwt.public_key: /none.pem: neither PEM"}},
    {"return { script = { files = { '/none.lua' } } }", {"/none.lua"}},
    {"return {}", {"policy.lua:1: no database"}, policy = "return { on_init = function() error 'no database' end }"},
    {"return {}", {"policy.lua: on_init refused: not today"},
        policy = "return { on_init = function() return false, 'not today' end }"},
    {"return {}", {"the hook did not finish within 0.05 s (script.hook_timeout)"}, env = {BELLHOP_SCRIPT_HOOK_TIMEOUT = "0.05"},
        policy = "return { on_init = function() require 'bellhop'.sleep(60) end }"},
    {"return {}", {"unknown hook \"on_mesage\"; did you mean \"on_message\"?"}, policy = "return { on_mesage = print }"},
    {"return {}", {"BELLHOP_HTTP_BODY_BYTES: http.body_bytes must be a whole number of bytes"},
        env = {BELLHOP_HTTP_BODY_BYTES = "4M"}},
    {"return { app = { n = 1 } }", {"BELLHOP_APP_N: must be a number"}, env = {BELLHOP_APP_N = "many"}},
    {"return {}", {"command line: server.workers must be between 0 and 64"}, args = {"--workers", "65"}},
}

local function run(command, case)
    local argv = {daemon.BIN, command, "-c", file("bellhop.conf.lua", case[1]), table.unpack(case.args or {})}
    local function add(...)
        for _, word in ipairs {...} do argv[#argv + 1] = word end
    end
    if not case.listen then add("--listen", "127.0.0.1:0") end
    if case.policy then add("--policy", file("policy.lua", case.policy)) end
    local output, status = process.run(argv, case.env)
    return output:gsub('\\"', '"'), status -- as in the log of serve
end

describe("bellhop check", function()
    for i, case in ipairs(WRONG) do
        it(("refuses what serve refuses, %d: %s"):format(i, case[2][1]), function()
            for _, command in ipairs {"check", "serve"} do
                local output, status = run(command, case)
                assert.are.equal(1, status, command .. "\n" .. output)
                for _, part in ipairs(case[2]) do
                    assert.is_true(has(output, part), ("%s: %q is not in\n%s"):format(command, part, output))
                end
                assert.is_false(case.secret ~= nil and has(output, case.secret), output)
            end
        end)
    end

    it("lists every mistake, and says so of scripts, too", function()
        local output, status = process.run({daemon.BIN, "check", "--instance", "a b", "-c", file("bellhop.conf.lua", [[
return {
    http = { body_bytes = "x" },
    fetch = { ca_file = "/none.pem", timeout = 0 },
    script = { files = { "]] .. file("a.lua", "return {") .. '", "' .. file("b.lua", "return { on_x = 1 }") .. [[" } },
}]])}, {BELLHOP_LOG_LEVEL = "loud"})
        assert.are.equal(1, status)
        local wanted = {
            "bellhop.conf.lua:2: http.body_bytes", "bellhop.conf.lua:3: fetch.timeout", "BELLHOP_LOG_LEVEL: log.level",
            "command line: server.instance: a b", "bellhop.conf.lua:3: fetch.ca_file", "a.lua:1:", "b.lua: unknown hook",
        }
        local at = 1
        for _, part in ipairs(wanted) do
            local found = output:find(part, at, true)
            assert.is_truthy(found, part .. " is not in, or not at its place in\n" .. output)
            at = found
        end
        assert.are.equal(#wanted, select(2, output:gsub("\n", "\n")))
    end)

    it("runs on_init, which reaches nobody", function()
        local policy = file("policy.lua", [[
local bh = require "bellhop"
return { on_init = function(ctx)
    assert(ctx.generation == 1 and not ctx.reload)
    assert(bh.publish { user = "42", data = "hello" })
    bh.sleep(0.01)
    assert(bh.hub.count() == 0)
    if bh.config "app.ask" == "redis" then bh.redis.call("SET", "x", "y") end
    if bh.config "app.ask" == "http" then bh.http.fetch "http://127.0.0.1:1/" end
    error "the end"
end }]])
        local function result(ask)
            local argv = {daemon.BIN, "check", "--policy", policy, "--redis", "redis://127.0.0.1:1"}
            return process.run(argv, {BELLHOP_APP_ASK = ask})
        end
        local output, status = result "redis"
        assert.are.equal(0, status, output)
        assert.is_true(has(output, "on_init was run until it asked Redis"), output)
        output, status = result "http"
        assert.are.equal(0, status, output)
        assert.is_true(has(output, "on_init was run until it asked an HTTP service"), output)
        output, status = result "nobody"
        assert.are.equal(1, status, output)
        assert.is_true(has(output, "bellhop: " .. policy .. ":9: the end\n"), output)
    end)

    it("does not mind that the instance is running", function()
        local d = daemon.start {}
        local output, status = process.run {daemon.BIN, "check", "--dev", "--listen", "127.0.0.1:" .. d.port}
        d:stop()
        assert.are.equal(0, status, output)
    end)

    it("shows that no client could connect", function()
        local output, status = process.run {daemon.BIN, "check", "-c", file("bellhop.conf.lua", "return {}")}
        assert.are.equal(0, status, output)
        assert.is_true(has(output, "clients cannot connect: no key to verify tokens"), output)
    end)
end)

describe("the environment", function()
    it("warns of unknown variables and serves", function()
        local env = {
            BELLHOP_REDIS_ULR = "redis://a", BELLHOP_PORT = "tcp://10.0.0.1:80", BELLHOP_SERVICE_HOST = "10.0.0.1",
            BELLHOP_SERVICE_PORT = "80",
        }
        local output, status = process.run({daemon.BIN, "check", "--dev"}, env)
        assert.are.equal(0, status, output)
        local texts = {
            "BELLHOP_REDIS_ULR: unknown variable, ignored; did you mean BELLHOP_REDIS_URL?",
            " and 2 more: unknown variables, ignored; Kubernetes sets them for a service",
        }
        local d = daemon.start {env = env}
        local log = d:stop()
        for _, text in ipairs(texts) do
            assert.is_true(has(output, "bellhop: warning: "), output)
            assert.is_true(has(output, text), output)
            assert.is_true(has(log, text), log)
        end
    end)

    it("sets the section app", function()
        local policy = "local bh = require 'bellhop'\n" ..
            "return { http = { ['GET /app'] = function() return 200, nil, bh.config 'app' end } }"
        local d = daemon.start {policy = policy, env = {BELLHOP_APP_GREETING = "hello"}}
        assert.are.equal('{"greeting":"hello"}', d:request("GET", "/app").body)
        d:stop()
    end)
end)

describe("the option --listen", function()
    it("adds up, and replaces file and environment", function()
        local config = file("bellhop.conf.lua", "return { server = { listen = { '127.0.0.1:1' } } }")
        local d = daemon.start {
            wait = false,
            args = {"--listen", "localhost:0", "-c", config},
            env = {BELLHOP_SERVER_LISTEN = "127.0.0.1:2"},
        }
        d:wait_log "msg=ready"
        local _, count = d:stop():gsub("msg=listening [^\n]-address=127%.0%.0%.1:%d%d%d", "")
        assert.are.equal(2, count)
    end)
end)
