-- The policy that comes with bellhop, in the real runtime with a fake transport: run by spec_runner.
if not package.preload["bellhop.test.core"] then return end

local harness = require "harness"
local now = harness.now

local function config(jwt, dev)
    return { config = { dev = dev, auth = { jwt = jwt } } }
end

describe("the policy with a secret", function()
    local t
    before_each(function() t = assert(harness.load "policy.lua") end)
    after_each(harness.close)

    it("admits a valid token in the header", function()
        local phone = t.bearer { sub = "u1", tenant = "t1", exp = now + 60, topics = { "news", "a/b" } }
        assert.equal(0, phone.status)
        assert.equal("u1", phone.user)
        assert.equal("t1", phone.tenant)
        assert.equal(now + 60, phone.expires)
        assert.same({ "news", "a/b" }, phone.topics)
    end)

    it("admits it in the query and in the cookie", function()
        local token = harness.jwt { sub = "u1" }
        assert.equal("u1", t.connect({ query = "token=" .. token }).user)
        assert.equal("u1", t.connect({ headers = { Cookie = "x=1; token=" .. token } }).user)
    end)

    it("reads the scheme without regard to case", function()
        local token = harness.jwt { sub = "u1" }
        assert.equal("u1", t.connect({ headers = { authorization = "bearer " .. token } }).user)
    end)

    it("takes integers as ids", function()
        local phone = t.bearer { sub = 42, tenant = 7 }
        assert.equal("42", phone.user)
        assert.equal("7", phone.tenant)
    end)

    it("delivers to the user and to the topics of the token", function()
        local phone = t.bearer { sub = "u1", topics = { "news" } }
        t.publish("user:u1", "hello")
        t.publish("topic:news", "extra")
        t.publish("user:u2", "not mine")
        assert.same({ "hello", "extra" }, phone.sent())
    end)

    it("refuses a connection without token, and says what to do", function()
        local phone = t.connect()
        assert.equal(401, phone.status)
        assert.equal("unauthorized", phone.json.error.code)
        assert.matches("Authorization: Bearer", phone.json.error.message, nil, true)
    end)

    it("believes no query", function()
        assert.equal(401, t.connect({ query = "user=u1" }).status)
    end)

    local function refused(what, claims, secret)
        it("refuses " .. what, function()
            local token = harness.jwt(claims, secret)
            local phone = t.connect { headers = { Authorization = "Bearer " .. token } }
            assert.equal(401, phone.status)
            assert.equal("unauthorized", phone.json.error.code)
            assert.is_nil(phone.body:find(token, 1, true))
            assert.is_nil(phone.body:find("secret-claim", 1, true))
        end)
    end
    refused("another secret", { sub = "u1" }, ("x"):rep(32))
    refused("an expired token", { sub = "u1", exp = now - 1 })
    refused("a token without user", { tenant = "t1" })
    refused("a user that is no id", { sub = "secret-claim:x" })
    refused("the user broadcast", { sub = "broadcast" })
    refused("a user that is a float", { sub = 1.5 })
    refused("a user that is a table", { sub = { "u1" } })
    refused("a user beyond 2^53", { sub = (1 << 53) + 1 })
    refused("a long user", { sub = ("u"):rep(129) })
    refused("an empty user", { sub = "" })
    refused("a tenant that is no id", { sub = "u1", tenant = "secret-claim x" })
    refused("topics that are no list", { sub = "u1", topics = "news" })
    refused("a topic that is no id", { sub = "u1", topics = { "secret-claim:x" } })

    it("refuses what is no token", function()
        for _, junk in ipairs { "x", "a.b.c", ("x"):rep(20000) } do
            assert.equal(401, t.connect({ query = "token=" .. junk }).status)
        end
    end)

    it("refuses the algorithm none", function()
        local token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9."
        assert.equal(401, t.connect({ query = "token=" .. token }).status)
    end)
end)

describe("the policy's settings", function()
    after_each(harness.close)

    it("check issuer and audience", function()
        local t = harness.load("policy.lua",
            config { secret = harness.secret, issuer = "me", audience = "us" })
        assert.equal(401, t.bearer({ sub = "u1" }).status)
        assert.equal(401, t.bearer({ sub = "u1", iss = "me", aud = "them" }).status)
        assert.equal(0, t.bearer({ sub = "u1", iss = "me", aud = { "x", "us" } }).status)
    end)

    it("name the claims and the cookie", function()
        local t = harness.load("policy.lua", config {
            secret = harness.secret, user_claim = "uid", tenant_claim = "org", cookie = "session",
        })
        local phone = t.connect {
            headers = { Cookie = "session=" .. harness.jwt { uid = "u1", org = "o1", sub = "no" } },
        }
        assert.equal("u1", phone.user)
        assert.equal("o1", phone.tenant)
    end)

    it("allow some leeway", function()
        local t = harness.load("policy.lua", config { secret = harness.secret, leeway = 30 })
        assert.equal(0, t.bearer({ sub = "u1", exp = now - 10 }).status)
        assert.equal(401, t.bearer({ sub = "u1", exp = now - 40 }).status)
    end)

    it("take several algorithms, each with its own kind of key", function()
        local t = harness.load("policy.lua",
            config { secret = harness.secret, algorithms = { "HS256", "HS512", "RS256" } })
        assert.equal(0, t.bearer({ sub = "u1" }).status)
    end)

    it("without a key are closed with 503", function()
        local t = harness.load("policy.lua", config {})
        assert.equal(503, t.connect().status)
        assert.equal(401, t.bearer({ sub = "u1" }).status)
    end)

    it("with a key that is none stop the start", function()
        local t, why = harness.load("policy.lua", config { algorithms = { "ES256" }, public_key = "x" })
        assert.is_nil(t)
        assert.matches("auth.jwt", why, nil, true)
    end)
end)

describe("the policy in development", function()
    local t
    before_each(function() t = assert(harness.load("policy.lua", config({}, true))) end)
    after_each(harness.close)

    it("believes the query", function()
        local phone = t.connect { query = "user=42&tenant=7&topic=news&topic=a%2Fb" }
        assert.equal(0, phone.status)
        assert.equal("42", phone.user)
        assert.equal("7", phone.tenant)
        assert.same({ "news", "a/b" }, phone.topics)
    end)

    it("admits anonymous connections, to broadcasts only", function()
        local phone = t.connect()
        assert.equal(0, phone.status)
        assert.is_nil(phone.user)
        t.publish("all", "to all")
        t.publish("user:u1", "to one")
        assert.same({ "to all" }, phone.sent())
    end)

    it("refuses what is no id", function()
        for _, query in ipairs { "user=a:b", "user=broadcast", "tenant=a%20b", "topic=a:b" } do
            local phone = t.connect { query = query }
            assert.equal(400, phone.status)
            assert.equal("bad_request", phone.json.error.code)
        end
    end)

    it("still checks a token that is there", function()
        assert.equal(401, t.connect({ query = "user=u1&token=x" }).status)
    end)
end)
