-- Tokens as identity providers make them, and secrets as files hold them, in a real instance.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local jwt = require "jwt"
local process = require "process"
local redis = require "redis"
local socket = require "socket"
local ws = require "ws"

local SECRET = "0123456789abcdef0123456789abcdef"
local KEY = {Authorization = "Bearer key"}

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

-- A client, or nil and the answer; claims are a format of JSON.
local function connect(d, claims, ...)
    return ws.try(d.port, "/ws?token=" .. jwt.sign(claims:format(...), SECRET))
end

local function must_connect(d, ...)
    local client, refusal = connect(d, ...)
    return client or error(refusal.status .. " " .. refusal.body, 2)
end

local function refused(d, why, ...)
    local client, refusal = connect(d, ...)
    assert.is_nil(client)
    check.error(refusal, 401, "unauthorized")
    assert.matches(why, refusal.body, 1, true)
end

describe("the times of a token", function()
    teardown(stop_all)
    after_each(ws.drop_all)

    describe("with clocks that agree", function()
        local d
        setup(function()
            d = daemon.start {dev = false, env = {BELLHOP_AUTH_JWT_SECRET = SECRET, BELLHOP_AUTH_JWT_LEEWAY = "0"}}
        end)

        it("may have a fraction of the current second", function()
            for i = 1, 20 do
                local claim = i % 2 == 0 and "iat" or "nbf"
                must_connect(d, '{"sub":"42","exp":%d,"%s":%.6f}', os.time() + 60, claim, socket.gettime()):drop()
            end
        end)

        it("are compared with the fraction", function()
            refused(d, "issued in the future", '{"sub":"42","iat":%.6f}', socket.gettime() + 60.5)
            refused(d, "not valid yet", '{"sub":"42","nbf":%.6f}', socket.gettime() + 60.5)
            refused(d, "expired", '{"sub":"42","exp":%.6f}', socket.gettime() - 0.002)
        end)

        it("end the connection not before the token", function()
            local exp = socket.gettime() + 1.5
            local client = must_connect(d, '{"sub":"42","exp":%.6f}', exp)
            check.closed(client, 4401)
            assert.is_true(socket.gettime() >= exp)
        end)
    end)

    describe("with the default leeway", function()
        local d
        setup(function() d = daemon.start {dev = false, env = {BELLHOP_AUTH_JWT_SECRET = SECRET}} end)

        it("may be a little off", function()
            must_connect(d, '{"sub":"42","iat":%.3f,"nbf":%.3f}', socket.gettime() + 4, socket.gettime() + 4)
            refused(d, "issued in the future", '{"sub":"42","iat":%d}', os.time() + 60)
            refused(d, "expired", '{"sub":"42","exp":%d}', os.time() - 6)
        end)

        it("let an expired token in, until the leeway is over", function()
            local exp = os.time()
            local client = must_connect(d, '{"sub":"42","exp":%d}', exp)
            check.closed(client, 4401)
            assert.is_true(socket.gettime() >= exp + 5)
        end)

        it("are refused with a reason when they are in milliseconds", function()
            for _, claim in ipairs {"exp", "iat", "nbf"} do
                for _, value in ipairs {"%d000", "1000000000000", "1e300", "9007199254740993"} do
                    refused(d, "in Unix seconds, not in milliseconds", '{"sub":"42","%s":' .. value .. "}", claim,
                        os.time() + 60)
                end
            end
            refused(d, "is not a number", '{"sub":"42","exp":"%d"}', os.time() + 60)
            refused(d, "expired", '{"sub":"42","exp":-1}')
            refused(d, "expired", '{"sub":"42","exp":0}')
        end)
    end)
end)

-- A start that must fail; its output.
local function fails(env, ...)
    local output, status = process.run({daemon.BIN, ...}, env)
    assert.are.equal(1, status, output)
    return output
end

local commands = {
    {"serve", "--listen", "127.0.0.1:0"}, {"serve", "--dev", "--listen", "127.0.0.1:0"}, {"check"},
    {"token", "--user", "42"},
}

describe("a secret that is shorter than the hash", function()
    teardown(stop_all)

    it("is refused at start, by check and by token", function()
        for alg, least in pairs {HS256 = 32, HS384 = 48, HS512 = 64} do
            local env = {BELLHOP_AUTH_JWT_ALGORITHMS = alg, BELLHOP_AUTH_JWT_SECRET = ("s"):rep(least - 1)}
            local why = ("auth.jwt.secret: the secret has %d bytes; %s needs at least %d"):format(least - 1, alg, least)
            for _, command in ipairs(commands) do
                assert.matches(why, fails(env, table.unpack(command)), 1, true)
            end
        end
    end)

    it("is refused in bh.jwt", function()
        local dir = process.temp_dir()
        local policy = process.write_file(dir .. "/policy.lua", [[
            local bh = require "bellhop"
            return { on_init = function() bh.jwt.verify("", { alg = "HS512", key = ("k"):rep(63) }) end }
        ]])
        local output = fails({}, "serve", "--dev", "--listen", "127.0.0.1:0", "--policy", policy)
        assert.matches("the secret has 63 bytes; HS512 needs at least 64", output, 1, true)
        os.execute("rm -rf " .. process.quote(dir))
    end)

    it("may be as long as the hash; token signs what the server accepts", function()
        for alg, least in pairs {HS256 = 32, HS384 = 48, HS512 = 64} do
            local env = {BELLHOP_AUTH_JWT_ALGORITHMS = alg, BELLHOP_AUTH_JWT_SECRET = ("s"):rep(least)}
            local d = daemon.start {dev = false, env = env}
            local token = process.run({daemon.BIN, "token", "--user", "42"}, env):match "%S+"
            ws.connect(d.port, "/ws?token=" .. token)
            ws.drop_all()
            d:stop()
        end
    end)
end)

describe("a secret from a file", function()
    after_each(stop_all)

    local function works(d)
        assert.are.equal(200, d:request("POST", "/api/broadcast", {body = "x", headers = KEY}).status)
        local other = {Authorization = "Bearer other"}
        assert.are.equal(200, d:request("POST", "/api/broadcast", {body = "x", headers = other}).status)
        must_connect(d, '{"sub":"42"}')
    end

    for name, line_end in pairs {["LF"] = "\n", ["CR LF"] = "\r\n"} do
        it("may end with " .. name .. " in the environment", function()
            local server = redis.start {"--requirepass", "pass"}
            works(daemon.start {
                dev = false,
                env = {
                    BELLHOP_AUTH_JWT_SECRET = SECRET .. line_end, BELLHOP_API_KEYS = "key,other" .. line_end,
                    BELLHOP_REDIS_URL = server:url ":pass" .. line_end,
                },
            })
        end)

        it("may end with " .. name .. " in the file", function()
            local server = redis.start {"--requirepass", "pass"}
            local dir = process.temp_dir()
            local file = process.write_file(dir .. "/bellhop.conf.lua", ([[return {
                auth = { jwt = { secret = %q } },
                api = { keys = { %q, os.getenv "OTHER_KEY" } },
                redis = { url = %q },
            }]]):format(SECRET .. line_end, "key" .. line_end,
                server:url(":pass" .. line_end:gsub(".", { ["\r"] = "%0D", ["\n"] = "%0A" }))))
            works(daemon.start {dev = false, args = {"-c", file}, env = {OTHER_KEY = "other" .. line_end}})
            os.execute("rm -rf " .. process.quote(dir))
        end)
    end

    it("has no other control characters", function()
        for name, value in pairs {
            ["api.keys"] = "first\nsecond", ["auth.jwt.secret"] = SECRET .. "\n\n", ["redis.url"] = "redis://:pa\rss@127.0.0.1",
        } do
            local variable = "BELLHOP_" .. name:upper():gsub("%.", "_")
            for _, command in ipairs(commands) do
                local output = fails({[variable] = value}, table.unpack(command))
                assert.matches(variable .. ": " .. name .. " has a control character", output, 1, true)
                assert.is_nil(output:find("first", 1, true) or output:find(SECRET, 1, true))
            end
        end
        local output = fails({BELLHOP_REDIS_URL = "redis://:pa%01ss@127.0.0.1"}, "serve", "--listen", "127.0.0.1:0")
        assert.matches("redis.url: ", output, 1, true)
        assert.matches("control character", output, 1, true)
    end)
end)
