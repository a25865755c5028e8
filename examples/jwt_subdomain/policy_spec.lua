local bellhop = require "bellhop.test"

local secrets = { acme = ("a"):rep(32), globex = ("g"):rep(32) }
local tenants = { acme = { secret = secrets.acme }, globex = { secret = secrets.globex } }

local function start(app)
    return bellhop.try("policy.lua", { config = { app = app or { domain = "example.com", tenants = tenants } } })
end

describe("tenants by sub-domain", function()
    local t
    before_each(function() t = assert(start()) end)

    local function connect(host, claims, secret)
        local token = t.jwt(claims, secret or secrets.acme)
        return t.connect { host = host, headers = { Authorization = "Bearer " .. token } }
    end

    it("admits a token of the sub-domain's tenant", function()
        local client = connect("acme.example.com", { sub = 42, tenant = "acme", topics = { "news" } })
        assert.same({ 101, "acme.42", "acme", { "acme/news" } },
            { client.status, client.user, client.tenant, client.topics })
    end)

    it("keeps users and topics within the tenant, whatever their names", function()
        local client = connect("acme.example.com", { sub = "globex.42", tenant = "acme", topics = { "globex/news" } })
        assert.same({ "acme.globex.42", { "acme/globex/news" } }, { client.user, client.topics })
        assert.equal("acme.auth0|5f7c", connect("acme.example.com", { sub = "auth0|5f7c", tenant = "acme" }).user)
    end)

    it("takes the token from a cookie and from the query", function()
        local token = t.jwt({ sub = "1", tenant = "acme" }, secrets.acme)
        assert.equal(101, t.connect({ host = "acme.example.com", headers = { Cookie = "token=" .. token } }).status)
        assert.equal(101, t.connect({ host = "acme.example.com", query = "token=" .. token }).status)
    end)

    it("ignores port and case of the host", function()
        assert.equal(101, connect("ACME.example.com:8443", { sub = "1", tenant = "acme" }).status)
    end)

    it("keeps users of the same name apart", function()
        local ann = connect("acme.example.com", { sub = 42, tenant = "acme" })
        local bob = connect("globex.example.com", { sub = 42, tenant = "globex" }, secrets.globex)
        t.publish { user = "acme.42", data = "for ann" }
        t.publish { tenant = "globex", data = "for globex" }
        assert.same({ "for ann" }, ann.sent)
        assert.same({ "for globex" }, bob.sent)
    end)

    it("closes the connection when the token expires", function()
        local client = connect("acme.example.com", { sub = "1", tenant = "acme", exp = bellhop.now + 60 })
        t.advance(59)
        assert.is_nil(client.closed)
        t.advance(2)
        assert.equal(4401, client.closed)
    end)

    local function refused(what, status, code, host, claims, secret)
        it("refuses " .. what, function()
            local client = connect(host, claims, secret)
            assert.equal(status, client.status)
            assert.equal(code, client.json.error.code)
        end)
    end
    local ann = { sub = "1", tenant = "acme" }
    refused("another tenant's secret", 401, "unauthorized", "acme.example.com", ann, secrets.globex)
    refused("a token for another tenant", 403, "wrong_tenant", "acme.example.com", { sub = "1", tenant = "globex" })
    refused("a token without tenant", 403, "wrong_tenant", "acme.example.com", { sub = "1" })
    refused("a token without exp", 401, "unauthorized", "acme.example.com", { sub = "1", tenant = "acme", exp = false })
    refused("an invalid user", 401, "unauthorized", "acme.example.com", { sub = "a b", tenant = "acme" })
    refused("an invalid topic", 401, "unauthorized", "acme.example.com",
        { sub = "1", tenant = "acme", topics = { "a b" } })
    refused("an unknown tenant", 404, "unknown_tenant", "initech.example.com", ann)
    refused("the bare domain", 404, "unknown_tenant", "example.com", ann)
    refused("two levels", 404, "unknown_tenant", "x.acme.example.com", ann)
    refused("another domain", 404, "unknown_tenant", "acme.example.com.evil.test", ann)

    it("refuses connections without a token", function()
        assert.equal(401, t.connect({ host = "acme.example.com" }).status)
    end)

    it("does not start without a domain, or with a short secret", function()
        local env, why = start { tenants = tenants }
        assert.is_nil(env)
        assert.matches("app.domain", why, 1, true)
        env, why = start { domain = "example.com", tenants = { acme = { secret = "short" } } }
        assert.is_nil(env)
        assert.matches("32 bytes", why, 1, true)
        env, why = start { domain = "example.com", tenants = { acme = { secret = secrets.acme .. "\n" } } }
        assert.is_nil(env)
        assert.matches("control character", why, 1, true)
    end)
end)
