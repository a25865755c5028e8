-- bellhop.test: what it refuses. An option that is ignored would make a spec test something else than it says.
local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
package.path = here .. "?.lua;" .. package.path
local temporary = require "temporary"
local test = require "bellhop.test"

local POLICY = [[local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user" or "42", tags = { ab = req:arg "ab" }, topics = { "news" } } end,
    on_message = function(conn, data)
        local answer, why = bh.http.fetch(data)
        return answer and answer.status .. answer.body or why
    end,
    http = { ["POST /echo"] = function(req) return 200, nil, req.body end },
    on_api = function(req) return req.query == "yes" end }]]

local function load(options) return test.load(temporary.write(POLICY), options) end

-- Calls the function, which must raise an error with these texts, at a line of this file.
local function refuses(call, ...)
    local ok, why = pcall(call)
    assert.is_false(ok)
    for _, text in ipairs { "test_options_spec.lua:", ... } do assert.matches(text, tostring(why), nil, true) end
end

local function remove_all()
    test.close()
    temporary.remove_all()
end

describe("t.publish", function()
    after_each(remove_all)

    it("has filter and except", function()
        local t = load()
        local a, b = t.connect { query = "ab=a" }, t.connect { query = "ab=b" }
        t.publish { topic = "news", data = "to b", filter = { ab = "b" } }
        t.publish { topic = "news", data = "not to b", except = b }
        t.publish { topic = "news", data = "not to a", except = a.id }
        assert.same({ "not to b" }, a.sent)
        assert.same({ "to b", "not to a" }, b.sent)
        assert.equal("offline", t.publish({ all = true, data = "x", filter = { ab = "c" } }).status)
    end)

    it("takes the values that a policy may publish", function()
        local t = load()
        local client = t.connect { query = "user=7" }
        t.publish { user = 7, data = 1.5, ttl = 10, id = 12, priority = 3, strategy = "local" }
        t.publish { user = "7", data = "\xff", binary = true }
        t.publish { user = "7" }
        assert.same({ "1.5", "\xff", "" }, client.sent)
        assert.same({ "text", "binary", "text" }, client.opcodes)
        assert.is_nil((t.publish { user = "7", data = "\xff" }))
    end)

    for name, case in pairs {
        ["an unknown field"] = { { user = "7", dta = "x" }, 'no field "dta"; did you mean "data"?' },
        ["no target"] = { { data = "x" }, "name exactly one target" },
        ["two targets"] = { { user = "7", topic = "news", data = "x" }, "name exactly one target" },
        ["a conn"] = { { conn = "AAAAAAAAAAA", data = "x" }, "only a policy publishes to a conn" },
        ["a target that is no id"] = { { user = {}, data = "x" }, "user must be a string or an integer" },
        ["all = false"] = { { all = false, data = "x" }, "all must be true" },
        ["an unknown strategy"] = { { user = "7", strategy = "remote" }, "strategy" },
        ["an unknown opcode"] = { { user = "7", opcode = "txt" }, 'opcode must be "text" or "binary"' },
        ["a filter without tags"] = { { user = "7", filter = {} }, "filter has no tags" },
        ["a filter that is a string"] = { { user = "7", filter = "ab:b" }, "filter must be a table" },
        ["something else as except"] = { { user = "7", except = "7" }, "not a connection id" },
        ["a client that was rejected as except"] = { { user = "7", except = {} }, "must be a connected client" },
        ["a negative ttl"] = { { user = "7", ttl = -1 }, "ttl must be" },
        ["a ttl that is a string"] = { { user = "7", ttl = "10" }, "ttl must be" },
        ["an id that is too long"] = { { user = "7", id = ("x"):rep(200) }, "id: " },
        ["a string"] = { "x", "expected a table, not a string" },
    } do
        it("refuses " .. name, function()
            local t = load()
            refuses(function() t.publish(case[1]) end, "t.publish: ", case[2])
        end)
    end
end)

describe("requests", function()
    after_each(remove_all)

    it("have the documented fields", function()
        local t = load()
        local answer = t.request { method = "POST", path = "/echo", query = "", host = "x", ip = "::1", secure = true,
            headers = { a = "b" }, body = "hello" }
        assert.equal("hello", answer.body)
        assert.equal(200, t.api({ query = "yes" }).status)
    end)

    for name, case in pairs {
        ["an unknown key"] = { { qery = "x" }, 'unknown key "qery"; did you mean "query"?' },
        ["a key that resembles none"] = { { cookies = "x" }, "there are " },
        ["a key that is a number"] = { { "/ws" }, 'unknown key "1"' },
        ["a query that is a table"] = { { query = { user = "7" } }, "query must be a string, not a table" },
        ["a path that is a number"] = { { path = 5 }, "path must be a string, not a number" },
        ["headers that are no table"] = { { headers = "a: b" }, "headers must be a table of names and strings" },
        ["a header that is a number"] = { { headers = { a = 1 } }, "headers must be a table of names and strings" },
        ["secure that is a string"] = { { secure = "no" }, "secure must be true or false, not a string" },
        ["a string"] = { "/ws", "expected a table, not a string" },
    } do
        it("refuse " .. name, function()
            local t = load()
            for _, verb in ipairs { "connect", "request", "api" } do
                refuses(function() t[verb](case[1]) end, "t." .. verb .. ": ", case[2])
            end
        end)
    end

    it("have a body only for endpoints", function()
        local t = load()
        refuses(function() t.connect { body = "x" } end, 't.connect: unknown key "body"')
        refuses(function() t.api { body = "x" } end, 't.api: unknown key "body"')
    end)
end)

describe("load", function()
    after_each(remove_all)

    it("takes its options", function()
        local first = load { config = { app = { any = { thing = 1 } }, server = { workers = 2, memory_budget = 1e9 },
            redis = { url = { "redis://x" } }, auth = { jwt = { leeway = 1.5 } } } }
        load { keep = true, redis = false, http = print }
        assert.equal(101, first.connect().status)
    end)

    for name, case in pairs {
        ["an unknown option"] = { { confg = {} }, 'unknown key "confg"; did you mean "config"?' },
        ["a table as redis"] = { { redis = {} }, "redis must be a function or false, not a table" },
        ["redis = true"] = { { redis = true }, "redis must be a function or false, not a boolean" },
        ["a table as http"] = { { http = { status = 200 } }, "http must be a function, not a table" },
        ["keep as a string"] = { { keep = "yes" }, "keep must be true or false" },
        ["a string as config"] = { { config = "x" }, "config must be a table" },
        ["an unknown section"] = { { config = { autth = {} } }, 'config: unknown key "autth"' },
        ["an unknown key of the configuration"] = { { config = { auth = { jwt = { secrt = "x" } } } },
            'config: unknown key "auth.jwt.secrt"; did you mean "auth.jwt.secret"?' },
        ["a key in the wrong section"] = { { config = { auth = { secret = "x" } } },
            'config: unknown key "auth.secret"; did you mean "auth.jwt.secret"?' },
        ["a section that is a value"] = { { config = { auth = { jwt = "x" } } }, "auth.jwt must be a table, not a string" },
        ["app that is a value"] = { { config = { app = 1 } }, "app must be a table, not a number" },
        ["a string for a number"] = { { config = { server = { workers = "2" } } }, "server.workers must be a number" },
        ["a string for a list"] = { { config = { websocket = { paths = "/ws" } } }, "websocket.paths must be a list" },
        ["a number for a string"] = { { config = { auth = { jwt = { secret = 5 } } } }, "auth.jwt.secret must be a string" },
        ["a string"] = { "policy.lua", "expected a table, not a string" },
    } do
        it("refuses " .. name, function()
            local path = temporary.write(POLICY)
            refuses(function() test.load(path, case[1]) end, "load: ", case[2])
            refuses(function() test.try(path, case[1]) end, "load: ", case[2])
        end)
    end

    it("refuses files that are no paths", function()
        refuses(function() test.load {} end, "a path, or a list of paths")
        refuses(function() test.load { policy = "policy.lua" } end, "a path, or a list of paths")
        refuses(function() test.load { 5 } end, "a file is its path, not a number")
        refuses(function() test.load(nil) end, "a path, or a list of paths")
        refuses(function() test.try "no_such_policy.lua" end, "no policy no_such_policy.lua; searched")
    end)

    it("refuses commands for a Redis that does not exist", function()
        local t = load { redis = false }
        refuses(function() t.redis("GET", "k") end, "this environment has no Redis")
    end)
end)

describe("the function http", function()
    after_each(remove_all)

    for name, case in pairs {
        ["an unknown key"] = { { status = 200, boby = "x" }, 'unknown key "boby"; did you mean "body"?' },
        ["a body that is a table"] = { { body = {} }, "body must be a string, not a table" },
        ["a status that is a string"] = { { status = "200" }, "status must be an integer, not a string" },
        ["a header that is a number"] = { { headers = { a = 1 } }, "headers must be a table of names and strings" },
        ["a string"] = { "hello", "expected a table, not a string" },
    } do
        it("may not return " .. name, function()
            local t = load { http = function() return case[1] end }
            local said = t.connect():recv("http://x/").sent[1]
            assert.matches("what the spec's function http returns: " .. case[2], said, nil, true)
        end)
    end
end)
