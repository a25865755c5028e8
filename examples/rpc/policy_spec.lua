local bellhop = require "bellhop.test"

local config = {
    app = { rpc = { backend = "http://api.test", key = "k", timeout = 5, at_once = 2, methods = { echo = "/v1/echo" } } },
}

local function connect(t) return t.connect { query = "token=" .. t.jwt { sub = "42", tenant = "7" } } end

describe("calls", function()
    local t, client, calls, respond
    before_each(function()
        calls = {}
        respond = function(request) return { status = 200, headers = {}, body = request.body } end
        t = bellhop.load("policy.lua", { config = config, http = function(request)
            calls[#calls + 1] = request
            return respond(request)
        end })
        client = connect(t)
    end)

    local function header(request, wanted)
        for name, value in pairs(request.headers) do
            if name:lower() == wanted then return value end
        end
    end

    it("pass on parameters and result, byte for byte", function()
        client:recv '{"id":1,"method":"echo","params":{"n": 9007199254740993.10, "l":[ ]}}'
        assert.same({ '{"id":1,"result":{"n": 9007199254740993.10, "l":[ ]}}' }, client.sent)
        assert.same({ "POST", "http://api.test/v1/echo" }, { calls[1].method, calls[1].url })
        assert.same({ "42", "7", "Bearer k" },
            { header(calls[1], "x-user"), header(calls[1], "x-tenant"), header(calls[1], "authorization") })
    end)

    it("pass on any JSON, exactly", function()
        for _, value in ipairs {
            "18446744073709551615", "1e400", "1.50", '"half \\ud83d"', '"\\u0000"', '{"\\udc00":1}',
            ("["):rep(500) .. ("]"):rep(500),
        } do
            client:recv(('{"x":%s,"id":18446744073709551615,"method":"echo","params":[%s]}'):format(value, value))
            assert.equal("[" .. value .. "]", calls[#calls].body)
            assert.equal(('{"id":18446744073709551615,"result":[%s]}'):format(value), client.sent[#client.sent])
            client:recv('{"id":"\\ud83d","method":"echo"}')
            assert.equal('{"id":"\\ud83d","result":{}}', client.sent[#client.sent])
            t.advance(1)
        end
    end)

    it("accept a list or no parameters, and any string as id", function()
        client:recv '{"method":"echo","id":"a\\"b","params":[1,2]}':recv '{"id":2,"method":"echo"}'
        assert.same({ '{"id":"a\\"b","result":[1,2]}', '{"id":2,"result":{}}' }, client.sent)
    end)

    it("return any JSON value", function()
        for _, body in ipairs { "null", "false", "0", '"x"', " [] " } do
            respond = function() return { status = 200, headers = {}, body = body } end
            client:recv '{"id":1,"method":"echo"}'
            assert.equal('{"id":1,"result":' .. body .. "}", client.sent[#client.sent])
        end
    end)

    local function refused(what, data, id, code)
        it("are refused: " .. what, function()
            client:recv(data)
            local answer = client:last()
            assert.same({ id, code }, { answer.id, answer.error.code })
            assert.equal(0, #calls)
            assert.is_nil(client.closed)
        end)
    end
    refused("an unknown method", '{"id":1,"method":"../admin"}', 1, "no_method")
    refused("a method that is not a string", '{"id":1,"method":["echo"]}', 1, "no_method")
    refused("no method", '{"id":"x"}', "x", "no_method")
    refused("params that are a number", '{"id":1,"method":"echo","params":5}', 1, "bad_params")
    refused("params that are a string", '{"id":1,"method":"echo","params":"{\\"a\\":1"}', 1, "bad_params")
    refused("params that are a string with a list", '{"id":1,"method":"echo","params":"[x"}', 1, "bad_params")
    for what, data in pairs {
        ["invalid JSON"] = "hello",
        ["no id"] = '{"method":"echo"}',
        ["null as the id"] = '{"id":null,"method":"echo"}',
        ["an id that is not an integer"] = '{"id":1.5,"method":"echo"}',
        ["a list"] = "[1]",
    } do
        it("are refused: " .. what, function()
            client:recv(data)
            local answer = client:last()
            assert.equal("bad_request", answer.error and answer.error.code or "a call was made")
            assert.equal(0, #calls)
        end)
    end

    for what, answer in pairs {
        ["unavailable 1"] = false,
        ["unavailable 2"] = { status = 500, headers = {}, body = "{}" },
        ["unavailable 3"] = { status = 302, headers = {}, body = "{}" },
        ["unavailable 4"] = { status = 200, headers = {}, body = "<html>" },
        ["unavailable 5"] = { status = 200, headers = {}, body = '{},"id":2' },
        ["rejected 1"] = { status = 404, headers = {}, body = "{}" },
    } do
        it("return an error when the backend fails: " .. what, function()
            respond = function()
                if not answer then return nil, "timed out" end
                return answer
            end
            client:recv '{"id":1,"method":"echo"}'
            local last = client:last()
            assert.same({ 1, what:match "%a+" }, { last.id, last.error.code })
        end)
    end

    it("have a rate limit", function()
        for i = 1, 41 do client:recv { id = i, method = "echo" } end
        assert.equal(40, #calls)
        assert.same({ 41, "too_fast" }, { client:last().id, client:last().error.code })
    end)

    it("require a token", function()
        local stranger = t.connect()
        assert.same({ 401, "unauthorized" }, { stranger.status, stranger.json.error.code })
    end)

    it("require a backend and paths", function()
        local env, why = bellhop.try "policy.lua"
        assert.is_nil(env)
        assert.matches("app.rpc.backend", why, 1, true)
        env, why = bellhop.try("policy.lua", { config = { app = { rpc = { backend = "x", methods = { a = "b" } } } } })
        assert.is_nil(env)
        assert.matches("begins with /", why, 1, true)
    end)
end)

-- A policy that replaces bh.http: the backend takes as many seconds as the params say.
local slow = [[
    local bh = require "bellhop"
    bh.http = { fetch = function(_, options)
        bh.sleep(bh.json.peek(options.body, "seconds"))
        return { status = 200, headers = {}, body = options.body }
    end }
    return {}]]

describe("slow calls", function()
    local t, client, path
    before_each(function()
        path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write(slow)
        file:close()
        t = bellhop.load({ path, "policy.lua" }, { config = config })
        client = connect(t)
    end)
    after_each(function() os.remove(path) end)

    local function ask(id, seconds) client:recv { id = id, method = "echo", params = { seconds = seconds } } end

    local function answers()
        local list = {}
        for i, text in ipairs(client.sent) do
            local answer = bellhop.decode(text)
            list[i] = answer.id .. (answer.error and " " .. answer.error.code or "")
        end
        return list
    end

    it("run concurrently, up to a limit", function()
        ask(1, 5)
        ask(2, 1)
        ask(3, 1)
        assert.same({ "3 busy" }, answers())
        t.advance(2)
        ask(4, 1)
        t.advance(2)
        assert.same({ "3 busy", "2", "4" }, answers())
        t.advance(2)
        assert.same({ "3 busy", "2", "4", "1" }, answers())
    end)

    it("are counted for each connection", function()
        ask(1, 5)
        ask(2, 5)
        local other = connect(t)
        other:recv { id = 1, method = "echo", params = { seconds = 1 } }
        t.advance(2)
        assert.equal(1, other:last().id)
    end)

    it("release their slots when the client disconnects", function()
        ask(1, 5)
        ask(2, 5)
        client:close()
        t.advance(6)
        client = connect(t)
        ask(3, 1)
        t.advance(2)
        assert.same({ "3" }, answers())
    end)
end)

describe("the policy", function()
    it("does not start with a key of two lines", function()
        local t, why = bellhop.try("policy.lua", { config = { app = { rpc = { backend = "http://api.test", key = "k\n" } } } })
        assert.is_nil(t)
        assert.matches("app.rpc.key has a control character", why, 1, true)
    end)
end)
