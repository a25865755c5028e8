-- What is only passed on: JSON that nobody reads, bytes that are text or binary, and what publishers are told.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local mime = require "mime"
local process = require "process"
local redis = require "redis"
local topology = require "topology"
local wait = require "wait"
local ws = require "ws"

local SECRET = ("s"):rep(32)
local LINGER = {BELLHOP_REDIS_UNSUBSCRIBE_LINGER = "0.2", BELLHOP_REDIS_PROBE_INTERVAL = "0.2"}

-- Valid JSON that not every reader can represent.
local DIFFICULT = {
    "18446744073709551615", "-1e400", "1.50", '"half \\ud83d"', '"\\u0000"', '{"\\udc00":[ ]}',
    ("["):rep(3000) .. ("]"):rep(3000),
}

local BACKEND = [[
local bh = require "bellhop"
return { http = {
    ["POST /echo"] = function(req) return 200, nil, req.body end,
    ["POST /sign"] = function(req)
        return 200, nil, bh.crypto.base64url(bh.crypto.hmac("sha256", ("s"):rep(32), req.body))
    end,
} }]]

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function base64url(text) return (mime.b64(text):gsub("=", ""):gsub("+", "-"):gsub("/", "_")) end

describe("JSON that nobody reads", function()
    local backend

    setup(function() backend = daemon.start {policy = BACKEND, workers = 1} end)
    teardown(stop_all)
    after_each(ws.drop_all)

    local function token(claims)
        local text = base64url '{"alg":"HS256"}' .. "." .. base64url(claims:format(os.time() + 60))
        return text .. "." .. backend:request("POST", "/sign", {body = text}).body
    end

    it("does not refuse a token", function()
        local d = daemon.start {dev = false, env = {BELLHOP_AUTH_JWT_SECRET = SECRET}}
        for _, value in ipairs(DIFFICULT) do
            if #value < 100 then -- the head of a request has a limit
                ws.connect(d.port, "/ws?token=" .. token('{"sub":"42","exp":%d,"x":' .. value .. "}"))
            end
        end
        d:stop()
    end)

    it("passes through examples/rpc in both directions", function()
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/bellhop.conf.lua", ([[return {
            script = { files = { "examples/rpc/policy.lua" } },
            app = { rpc = { backend = "http://127.0.0.1:%d", methods = { echo = "/echo" } } },
        }]]):format(backend.port))
        local d = daemon.start {dev = false, args = {"-c", file}, env = {BELLHOP_AUTH_JWT_SECRET = SECRET}}
        local client = ws.connect(d.port, "/ws?token=" .. token '{"sub":"42","exp":%d}')
        for _, value in ipairs(DIFFICULT) do
            client:text(('{"id":18446744073709551615,"x":%s,"method":"echo","params":[%s]}'):format(value, value))
            check.next(client, ('{"id":18446744073709551615,"result":[%s]}'):format(value))
        end
        client:text '{"id":1,"method":"echo","params":[01]}'
        assert.matches("bad_request", client:recv())
        d:stop()
        os.execute("rm -rf " .. dir)
    end)

    it("reaches the clients of a batch, whatever the other items have", function()
        local client = ws.connect(backend.port, "/ws?user=42")
        local items = {'{"user":42,"data":NaN}', '{"user":42,"data":"\xff"}', '{"user":"\\ud83d","data":1}'}
        for _, value in ipairs(DIFFICULT) do
            items[#items + 1] = ('{"user":42,"data":%s,"strategy":"redis"}'):format(value)
        end
        local answer = http.post(backend.port, "/api/publish", "[" .. table.concat(items, ",") .. "]")
        assert.are.equal(200, answer.status, answer.body)
        for _, value in ipairs(DIFFICULT) do check.next(client, value, "text") end
        local results = {}
        for line in answer.body:gmatch "[^\n]+" do results[#results + 1] = line:match '"code":"(%w+_%w+)"' or "ok" end
        assert.are.same({"invalid_json", "invalid_json", "invalid_request"}, {table.unpack(results, 1, 3)})
        assert.are.equal(#items, #results)
        check.error(http.post(backend.port, "/api/publish", '[{"user":42,"data":"a},{"user":42,"data":1}]'), 400,
            "invalid_json")
        check.quiet(backend, client)
    end)

    it("is judged where it is an id", function()
        check.error(http.post(backend.port, "/api/users/online", '{"users":["1","\\ud83d"]}'), 400, "invalid_user",
            "users[1]: half of a surrogate pair")
    end)
end)

describe("a message is text or binary", function()
    local server, d, client

    setup(function()
        server = topology.start()
        d = daemon.start {redis = server:url(), env = LINGER}
        client = ws.connect(d.port, "/ws?user=42")
    end)
    teardown(stop_all)

    it("by its Content-Type, or else by its bytes", function()
        local ANY, TEXT = {"text", "binary"}, {"text"}
        for content_type, kinds in pairs {
            [""] = ANY, ["application/x-www-form-urlencoded"] = ANY, ["image/png"] = ANY,
            ["text/plain; charset=utf-8"] = TEXT, ["application/json"] = TEXT, ["application/problem+json"] = TEXT,
            ["application/octet-stream"] = {"binary", "binary"},
        } do
            for i, bytes in ipairs {'{"ä":01', "\xff\0"} do
                local headers = content_type ~= "" and {["Content-Type"] = content_type} or nil
                local answer = d:request("POST", "/api/users/42/messages", {body = bytes, headers = headers})
                if kinds[i] then
                    assert.are.equal(200, answer.status, answer.body)
                    check.next(client, bytes, kinds[i])
                else
                    check.error(answer, 400, "invalid_utf8", "octet-stream")
                end
            end
        end
    end)

    it("by its bytes when it comes from Redis", function()
        wait.till(function() return server:subscribers "notification:42" == 1 end)
        for bytes, kind in pairs {['{"ä":1}'] = "text", [""] = "text", ["\xff\0"] = "binary", ["\xc3("] = "binary"} do
            server:call("PUBLISH", "notification:42", bytes)
            check.next(client, bytes, kind)
        end
    end)
end)

describe("publishers are told", function()
    after_each(stop_all)

    local function status(d, user, options)
        local body = d:publish("users/" .. user, "x", options)
        return body:match '"status":"(%a+)"' .. (body:find('"duplicate":true', 1, true) and " again" or "")
    end

    it("without Redis that nobody is there, with every strategy", function()
        local d = daemon.start {workers = 3}
        for _, strategy in ipairs {"local_first", "redis", "both", "local"} do
            local first = d:publish("users/nobody", "x", "strategy=" .. strategy)
            assert.is_truthy(first:find('"status":"offline","instances":0,"local":0', 1, true), strategy .. first)
        end
    end)

    it("for a repetition the status of the first", function()
        local server = topology.start()
        local a = daemon.start {redis = server:url(), env = LINGER, args = {"--instance", "a"}}
        local b = daemon.start {redis = server:url(), env = LINGER, args = {"--instance", "b"}}
        ws.connect(a.port, "/ws?user=here")
        ws.connect(b.port, "/ws?user=there")
        for _, user in ipairs {"here", "there"} do
            wait.till(function() return server:subscribers("notification:" .. user) == 1 end)
        end
        for _, strategy in ipairs {"local_first", "redis", "both"} do
            local options = ("id=%s&strategy=%s"):format(strategy, strategy)
            for user, expected in pairs {here = "delivered", there = "published", nobody = "offline"} do
                assert.are.equal(expected, status(a, user, options), strategy .. " " .. user)
                assert.are.equal(expected .. " again", status(a, user, options), strategy .. " " .. user)
            end
            assert.are.equal("published again", status(b, "there", options))
        end
    end)
end)
