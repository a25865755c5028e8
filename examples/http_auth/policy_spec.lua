local bellhop = require "bellhop.test"

local config = { app = { auth = { url = "http://auth.test/whois", keep = 60, keep_no = 5, timeout = 2 } } }

describe("an authentication service", function()
    local t, asked, respond
    local function answer(status, value)
        return { status = status, headers = {}, body = type(value) == "table" and bellhop.encode(value) or value or "" }
    end
    before_each(function()
        asked = {}
        respond = function() return answer(200, { user = "42", tenant = "7", topics = { "news" }, ttl = 600 }) end
        t = bellhop.load("policy.lua", { config = config, http = function(request)
            asked[#asked + 1] = request
            return respond(request)
        end })
    end)

    local function connect(token) return t.connect { query = "token=" .. (token or "abc") } end

    it("gets the token and returns the identity", function()
        local client = connect()
        assert.same({ 101, "42", "7", { "news" } }, { client.status, client.user, client.tenant, client.topics })
        assert.equal("POST", asked[1].method)
        assert.equal("http://auth.test/whois", asked[1].url)
        assert.same({ token = "abc" }, bellhop.decode(asked[1].body))
        t.advance(599)
        assert.is_nil(client.closed)
        t.advance(2)
        assert.equal(4401, client.closed)
    end)

    it("gets tokens from the header and the cookie", function()
        assert.equal(101, t.connect({ headers = { Authorization = "bearer def" } }).status)
        assert.equal(101, t.connect({ headers = { Cookie = "token=ghi" } }).status)
        assert.same({ "def", "ghi" }, { bellhop.decode(asked[1].body).token, bellhop.decode(asked[2].body).token })
    end)

    it("is not asked again while the answer is cached", function()
        for _ = 1, 5 do assert.equal(101, connect().status) end
        assert.equal(1, #asked)
        connect "def"
        assert.equal(2, #asked)
        t.advance(59)
        connect()
        assert.equal(2, #asked)
        t.advance(2)
        connect()
        assert.equal(3, #asked)
    end)

    it("is asked again sooner after a no", function()
        respond = function() return answer(401, "") end
        for _ = 1, 5 do
            local client = connect()
            assert.same({ 401, "unauthorized" }, { client.status, client.json.error.code })
        end
        assert.equal(1, #asked)
        respond = function() return answer(200, { user = 42 }) end
        assert.equal(401, connect().status)
        t.advance(6)
        assert.equal("42", connect().user)
        assert.equal(2, #asked)
    end)

    it("is not asked without a token, or with an invalid one", function()
        assert.equal(401, t.connect().status)
        assert.equal(401, connect("").status)
        assert.equal(401, connect(("x"):rep(4097)).status)
        assert.equal(0, #asked)
    end)

    for what, broken in pairs {
        ["does not answer"] = function() return nil, "timed out" end,
        ["fails"] = function() return answer(500, "oops") end,
        ["redirects"] = function() return answer(302, "") end,
        ["does not return JSON"] = function() return answer(200, "<html>") end,
        ["returns no user"] = function() return answer(200, { name = "Ann" }) end,
        ["returns a user of another type"] = function() return answer(200, { user = { "42" } }) end,
        ["returns an invalid id"] = function() return answer(200, { user = "a b" }) end,
    } do
        it("leads to 503 when it " .. what, function()
            respond = broken
            local client = connect()
            assert.same({ 503, "unavailable" }, { client.status, client.json.error.code })
        end)
    end

    it("is still asked for other tokens when one makes it fail", function()
        respond = function(request)
            if bellhop.decode(request.body).token == "bad" then return answer(500, "") end
            return answer(200, { user = "42" })
        end
        assert.equal(503, connect("bad").status)
        assert.equal(101, connect("good").status)
    end)

    it("is not asked for a second after a timeout", function()
        respond = function() return nil, "timed out" end
        assert.equal("1", connect().headers["Retry-After"])
        assert.equal(503, connect("def").status)
        assert.equal(1, #asked)
        respond = function() return answer(200, { user = "42", tenant = nil }) end
        t.advance(1.1)
        assert.equal(101, connect().status)
    end)

    it("must return the user only", function()
        respond = function() return answer(200, '{"user":7,"tenant":null,"topics":null,"ttl":null}') end
        local client = connect()
        assert.same({ 101, "7", bellhop.now + 3600 }, { client.status, client.user, client.expires })
        assert.is_nil(client.tenant)
    end)

    it("must be configured", function()
        local env, why = bellhop.try("policy.lua", { config = {} })
        assert.is_nil(env)
        assert.matches("app.auth.url is missing", why, 1, true)
    end)
end)
