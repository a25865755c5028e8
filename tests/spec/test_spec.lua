-- bellhop.test: the API that specs of policies use.
local test = require "bellhop.test"

-- A policy in a file of its own.
local paths = {}
local function policy(text)
    local path = os.tmpname()
    paths[#paths + 1] = path
    local file = assert(io.open(path, "w"))
    file:write('local bh = require "bellhop"\n', text)
    file:close()
    return path
end

local function remove_all()
    test.close()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
end

local ANYONE = "on_handshake = function(req) return { user = req:arg 'user' or nil } end"

describe("bellhop.test", function()
    after_each(remove_all)

    it("reports why a policy does not load", function()
        local t, why = test.try(policy "return { on_mesage = print }")
        assert.is_nil(t)
        assert.matches('did you mean "on_message"', why, nil, true)
        assert.has_error(function() test.load "no_such_policy.lua" end)
    end)

    it("connects clients that send and receive", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            on_message = function(conn, data, opcode)
                if data == "bye" then return false, 4000, "as you like" end
                return opcode .. " " .. data
            end }]]))
        local client = t.connect { query = "user=42" }
        assert.equal(101, client.status)
        assert.equal("42", client.user)
        client:recv("a"):recv("b", true):recv { n = 1 }
        assert.same({ "text a", "binary b", 'text {"n":1}' }, client.sent)
        assert.same({ "text", "binary", "text" }, client.opcodes)
        client:clear()
        assert.same({}, client.sent)
        client:recv "bye"
        assert.equal(4000, client.closed)
        assert.equal("as you like", client.reason)
        assert.has_error(function() client:recv "more" end)
    end)

    it("publishes as a backend does", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            on_publish = function(msg) if msg.user == "evil" then return false, "not to evil" end end }]]))
        local client = t.connect { query = "user=42" }
        local result = t.publish { user = "42", data = { n = 1 } }
        assert.equal("delivered", result.status)
        assert.equal(1, result["local"])
        assert.same({ n = 1 }, client:last())
        assert.equal("offline", t.publish({ user = "nobody", data = "x" }).status)
        assert.same({ nil, "not to evil" }, { t.publish { user = "evil", data = "x" } })
        assert.has_error(function() t.publish { data = "x" } end)
    end)

    it("answers a repetition as the server does", function()
        local t = test.load(policy("return { " .. ANYONE .. " }"))
        local client = t.connect { query = "user=42" }
        for user, status in pairs { ["42"] = "delivered", nobody = "offline" } do
            local first = t.publish { user = user, data = "once", id = "same" }
            assert.equal(status, first.status)
            assert.is_nil(first.duplicate)
            assert.same({ id = "same", status = status, duplicate = true },
                t.publish { user = user, data = "once", id = "same" })
        end
        assert.same({ "once" }, client.sent)
    end)

    it("has a clock that moves only by advance", function()
        local t = test.load(policy("local ticks = 0 return { " .. ANYONE .. [[,
            timers = { tick = { every = 60, fn = function() ticks = ticks + 1 end } },
            on_message = function(conn, data)
                if data == "sleep" then bh.sleep(3600) end
                return ticks .. " " .. os.time()
            end }]]))
        local client = t.connect()
        client:recv "x"
        assert.same({ "0 " .. test.now }, client.sent)
        t.advance(90)
        client:recv "x"
        assert.same({ "0 " .. test.now, "1 " .. test.now + 90 }, client.sent)
        assert.equal(test.now + 90, math.floor(t.time()))
    end)

    it("expires identities", function()
        local t = test.load(policy [[return {
            on_handshake = function() return { user = "42", expires = os.time() + 10 } end,
            on_expire = function(conn)
                conn.vars.n = (conn.vars.n or 0) + 1
                return conn.vars.n < 2 and os.time() + 10
            end }]])
        local client = t.connect()
        t.advance(15)
        assert.is_nil(client.closed)
        t.advance(10)
        assert.equal(4401, client.closed)
    end)

    it("admits identities without a user, if that is not a contradiction", function()
        local function status(identity)
            local t = test.load(policy("return { on_handshake = function() return " .. identity .. " end }"))
            return t.connect().status
        end
        assert.equal(101, status "{ anonymous = true, topics = { 'news' } }")
        assert.equal(101, status "{ anonymous = false, user = 'u' }")
        assert.equal(101, status "{ tenant = 't' }")
        assert.equal(503, status "{ anonymous = true, user = 'u' }")
        assert.equal(503, status "{ anonymous = 'true' }")
        assert.equal(503, status "{ user = 'u', expires = 3600 }")
    end)

    it("names what a policy may have meant", function()
        local function why(code)
            local file = policy(code .. "\nreturn {}")
            local t, text = test.try(file)
            assert.is_nil(t)
            return text
        end
        assert.matches("did you mean bh.metrics?", why "bh.metric.counter 'x'", nil, true)
        assert.matches("scripts have no io", why "io.open 'x'", nil, true)
        assert.matches("an error object { code = 7 }", why "error { code = 7 }", nil, true)
    end)

    it("has a Redis that stores values", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            on_message = function(conn, data)
                local words = {}
                for word in data:gmatch "%S+" do words[#words + 1] = word end
                local value, why = bh.redis.call(table.unpack(words))
                return bh.json.encode { value = value, why = why }
            end }]]))
        local client = t.connect()
        local function redis(command)
            client:recv(command)
            local answer = client:last()
            return answer.value, answer.why
        end
        assert.equal("OK", redis "SET a 1 EX 10")
        assert.equal("1", redis "GET a")
        assert.equal(2, redis "INCR a")
        assert.is_nil(redis "SET a 1 NX")
        assert.equal(10, redis "TTL a")
        t.advance(11)
        assert.is_nil((redis "GET a"))
        assert.equal(2, redis "HSET h f 1 g 2")
        assert.same({ "f", "1", "g", "2" }, redis "HGETALL h")
        assert.matches("WRONGTYPE", select(2, redis "GET h"))
        assert.equal(2, redis "SADD s x y")
        assert.same({ "x", "y" }, redis "SMEMBERS s")
        assert.equal(3, redis "RPUSH l 1 2 3")
        assert.equal("OK", redis "LTRIM l -2 -1")
        assert.same({ "2", "3" }, redis "LRANGE l 0 -1")
        assert.equal("OK", redis "LTRIM l 5 9")
        assert.equal(0, redis "EXISTS l")
        assert.matches("does not support", select(2, redis "BITPOS x 1"))
        assert.equal("ERR wrong number of arguments for 'get' command", select(2, redis "GET"))
        assert.equal("ERR unknown command 'GTE', with args beginning with: 'a' ", select(2, redis "GTE a"))
        assert.equal("2", (t.redis("HGET", "h", "g")))
    end)

    it("has a Redis that runs scripts", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            http = { ["POST /eval"] = function(req)
                local value, why = bh.redis.eval(req.body, { "key" }, { "3", 4 })
                return 200, nil, { value = value, why = why }
            end } }]]))
        local function eval(text) return t.request({ method = "POST", path = "/eval", body = text }).json end
        for _ = 1, 2 do -- EVAL, then EVALSHA
            assert.same({ value = { 7, "key", "OK" } },
                eval "return {ARGV[1] + ARGV[2], KEYS[1], redis.call('SET', KEYS[1], ARGV[1])}")
        end
        assert.equal("3", eval("return redis.call('GET', KEYS[1])").value)
        assert.same({}, eval "return redis.call('GET', 'none')")
        assert.same({ value = 3 }, eval "return 3.9")
        assert.same({ value = 1 }, eval "return redis.call('GET', 'none') == false")
        assert.same({ value = { 1 } }, eval "return {1, nil, 2}")
        assert.matches("WRONGTYPE", eval("return redis.call('HGET', KEYS[1], 'x')").why)
        assert.matches("WRONGTYPE", eval("return redis.pcall('HGET', KEYS[1], 'x').err").value)
        assert.matches("compiling script", eval("return return").why)
        assert.matches("user_script", eval("return nothing.there").why)
        eval "redis.call('ZADD', 'z', 1.5, 'a', 3, 'b') redis.call('ZADD', 'z', 'NX', 9, 'a')"
        assert.same({ value = "1.5" }, eval "return redis.call('ZSCORE', 'z', 'a')")
        assert.same({ value = { "a", "b" } }, eval "return redis.call('ZRANGEBYSCORE', 'z', '-inf', 3)")
        assert.same({ value = { "b" } }, eval "return redis.call('ZRANGEBYSCORE', 'z', '(1.5', '+inf', 'LIMIT', 0, 5)")
        assert.same({ value = 1 }, eval "return redis.call('ZLEXCOUNT', 'z', '[a', '(b')")
        t.redis "FLUSHALL"
        assert.same({ value = 0 }, eval "return redis.call('ZCARD', 'z')")
    end)

    it("accepts a function as Redis, which may be down", function()
        local source = "return { " .. ANYONE .. [[,
            on_message = function(conn, data)
                local value, why = bh.redis.call("GET", data)
                return tostring(value) .. " " .. tostring(why)
            end }]]
        local function answer(redis)
            local client = test.load(policy(source), { redis = redis }).connect()
            return client:recv("k").sent[1]
        end
        assert.equal("k! nil", answer(function(_, key) return key .. "!" end))
        assert.equal("nil ERR no", answer(function() return nil, "ERR no" end))
        assert.equal("nil unavailable", answer(function() return false, "down" end))
        assert.matches("no Redis is configured", answer(false))
    end)

    it("suspends hooks that wait for Redis or a server", function()
        for _, ask in ipairs {
            [[bh.redis.call("GET", what)]],
            [[(bh.http.fetch("http://x/" .. what) or {}).body]],
        } do
            local source = "local function ask(what) return " .. ask .. [[ end
                return {
                    on_handshake = function() return { user = ask "user" } end,
                    on_publish = function() return false, ask "publish" end,
                    on_api = function() return false, 403, ask "api" end,
                    http = { ["GET /x"] = function() return 200, nil, ask "http" end },
                }]]
            local t
            local function answer(what)
                return t.time() > 0 and what .. "1" -- the function may call the environment
            end
            t = test.load(policy(source), {
                redis = function(_, key) return answer(key) end,
                http = function(request) return { status = 200, body = answer(request.url:match "%w+$") } end,
            })
            assert.equal("user1", t.connect().user)
            assert.same({ nil, "publish1" }, { t.publish { user = "42", data = "x" } })
            assert.same({ 403, "api1" }, { t.api().status, t.api().body })
            assert.equal("http1", t.request({ path = "/x" }).body)
        end
    end)

    it("answers HTTP requests of the policy", function()
        local asked
        local source = "return { " .. ANYONE .. [[,
            on_message = function(conn, data)
                local answer, why = bh.http.fetch("http://backend/" .. data, { json = { data } })
                return answer and answer.status .. " " .. answer.body .. " " .. answer.headers["x-a"] or why
            end }]]
        local t = test.load(policy(source), { http = function(request)
            asked = request
            if request.url == "http://backend/down" then return nil, "connection refused" end
            return { status = 201, headers = { ["x-a"] = "1" }, body = "made" }
        end })
        local client = t.connect():recv("it"):recv("down")
        assert.same({ "201 made 1", "connection refused" }, client.sent)
        assert.equal("POST", asked.method)
        assert.equal('["down"]', asked.body)
        assert.matches("no server for http://backend/x", test.load(policy(source)).connect():recv("x").sent[1])
    end)

    it("calls endpoints and on_api", function()
        local t = test.load(policy [[return {
            on_api = function(req) if req:header "x-key" then return true end end,
            http = { ["POST /echo/:name"] = function(req)
                return 201, { ["X-Name"] = req.params.name }, { got = req:json() }
            end } }]])
        local answer = t.request { method = "POST", path = "/echo/a%20b", body = "[1]" }
        assert.equal(201, answer.status)
        assert.equal("a b", answer.headers["X-Name"])
        assert.same({ got = { 1 } }, answer.json)
        assert.equal(404, t.request({ path = "/none" }).status)
        assert.equal(405, t.request({ path = "/echo/x" }).status)
        assert.equal(200, t.api({ headers = { ["x-key"] = "1" } }).status)
        assert.equal(0, t.api({}).status)
    end)

    it("reloads and shuts down", function()
        local path = policy("return { " .. ANYONE .. [[, on_message = function(conn)
            conn.vars.n = (conn.vars.n or 0) + 1 return "one " .. conn.vars.n end }]])
        local t = test.load(path)
        local client = t.connect():recv "x"
        local file = assert(io.open(path, "w"))
        file:write [[return { on_message = function(conn) return "two " .. conn.vars.n end,
            on_shutdown = function(reason) require "bellhop".publish { all = true, data = reason } end }]]
        file:close()
        assert.is_true(t.reload())
        client:recv "x"
        assert.is_true(t.shutdown())
        assert.same({ "one 1", "two 1", "stop" }, client.sent)
        file = assert(io.open(path, "w"))
        file:write "return {"
        file:close()
        assert.matches("expected", select(2, t.reload()))
        client:recv "x"
        assert.equal("two 1", client.sent[4])
    end)

    it("calls on_slow, and closes connections from the client", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            on_slow = function(conn, queued) return queued > 1000 and "close" or "drop_oldest" end,
            on_close = function(conn, info)
                bh.publish { user = "log", data = conn.user .. " " .. info.code .. " " .. info.reason }
            end }]]))
        local log, client = t.connect { query = "user=log" }, t.connect { query = "user=42" }
        assert.equal("drop_oldest", client:slow(10))
        assert.equal("close", client:slow(2000))
        client:close(1001, "gone")
        assert.same({ "42 1001 gone" }, log.sent)
    end)

    it("raises presence after the debounce", function()
        local t = test.load(policy("return { " .. ANYONE .. [[,
            on_presence = function(event)
                bh.publish { user = "log", data = event.user .. (event.online and " on" or " off") }
            end }]]))
        local log = t.connect { query = "user=log" }
        local client = t.connect { query = "user=42" }
        t.advance(5)
        client:close()
        t.advance(5)
        local text = table.concat(log.sent, ",")
        assert.matches("42 on", text)
        assert.matches("42 off", text)
    end)

    it("calls several policies in their order", function()
        local t = test.load({ policy "return { on_message = function(c, d) if d == 'a' then return 'first' end end }",
            policy("return { " .. ANYONE .. ", on_message = function() return 'second' end }") })
        assert.same({ "first", "second" }, t.connect():recv("a"):recv("b").sent)
    end)
end)

describe("a hundred cases", function()
    local t
    before_each(function() t = test.load "policy.lua" end)
    teardown(test.close)
    for i = 1, 100 do
        it("number " .. i, function()
            local client = t.user("u" .. i)
            t.publish { user = "u" .. i, data = tostring(i) }
            assert.same({ tostring(i) }, client.sent)
        end)
    end
end)
