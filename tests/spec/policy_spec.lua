-- The default policy, lua/policy.lua. Run by `bellhop test`.
local test = require "bellhop.test"
local now = test.now

local function config(jwt, dev)
    return { config = { dev = dev, auth = { jwt = jwt } } }
end

describe("the policy with a secret", function()
    local t
    before_each(function() t = assert(test.try "policy.lua") end)
    after_each(test.close)

    it("admits a valid token in the header", function()
        local client = t.user { sub = "u1", tenant = "t1", exp = now + 60, topics = { "news", "a/b" } }
        assert.equal(101, client.status)
        assert.equal("u1", client.user)
        assert.equal("t1", client.tenant)
        assert.equal(now + 60, client.expires)
        assert.same({ "news", "a/b" }, client.topics)
    end)

    it("admits it in the query and in the cookie", function()
        local token = test.jwt { sub = "u1" }
        assert.equal("u1", t.connect({ query = "token=" .. token }).user)
        assert.equal("u1", t.connect({ headers = { Cookie = "x=1; token=" .. token } }).user)
    end)

    it("ignores the case of the scheme", function()
        local token = test.jwt { sub = "u1" }
        assert.equal("u1", t.connect({ headers = { authorization = "bearer " .. token } }).user)
    end)

    it("accepts integers as ids", function()
        local client = t.user { sub = 42, tenant = 7 }
        assert.equal("42", client.user)
        assert.equal("7", client.tenant)
    end)

    it("delivers to the user and to the topics of the token", function()
        local client = t.user { sub = "u1", topics = { "news" } }
        t.publish { user = "u1", data = "hello" }
        t.publish { topic = "news", data = "extra" }
        t.publish { user = "u2", data = "not mine" }
        assert.same({ "hello", "extra" }, client.sent)
    end)

    it("does not judge claims that it does not read", function()
        for _, value in ipairs {
            "18446744073709551615", '"half \\ud83d"', '"\\u0000"', '{"\\udc00":1}', "1e400", "-0.1e-999", ("9"):rep(1200),
            ("["):rep(500) .. ("]"):rep(500),
        } do
            local token = test.jwt(('{"sub":"u1","x":%s}'):format(value))
            assert.equal("u1", t.connect({ query = "token=" .. token }).user)
        end
    end)

    it("has users of any number of digits", function()
        local client = t.connect { query = "token=" .. test.jwt '{"sub":18446744073709551615}' }
        t.publish { user = "18446744073709551615", data = "hello" }
        assert.same({ "hello" }, client.sent)
    end)

    it("refuses a connection without a token, and says how to send one", function()
        local client = t.connect()
        assert.equal(401, client.status)
        assert.equal("unauthorized", client.json.error.code)
        assert.matches("Authorization: Bearer", client.json.error.message, nil, true)
    end)

    it("accepts no messages from clients", function()
        local client = t.user { sub = "u1" }
        client:recv "hello"
        assert.equal(1008, client.closed)
    end)

    it("ignores ids in the query", function()
        assert.equal(401, t.connect({ query = "user=u1" }).status)
    end)

    local function refused(what, claims, secret)
        it("refuses " .. what, function()
            local token = test.jwt(claims, secret)
            local client = t.connect { headers = { Authorization = "Bearer " .. token } }
            assert.equal(401, client.status)
            assert.equal("unauthorized", client.json.error.code)
            assert.is_nil(client.body:find(token, 1, true))
            assert.is_nil(client.body:find("secret-claim", 1, true))
        end)
    end
    refused("another secret", { sub = "u1" }, ("x"):rep(32))
    refused("an expired token", { sub = "u1", exp = now - 5 })
    refused("a token of the future", { sub = "u1", iat = now + 5.5 })
    refused("an expiry in milliseconds", { sub = "u1", exp = (now + 60) * 1000 })
    refused("an expiry beyond all times", { sub = "u1", exp = 1e300 })
    refused("an expiry that is a string", { sub = "u1", exp = tostring(now + 60) })

    it("names the reason when times are in milliseconds", function()
        local client = t.user { sub = "u1", exp = (now + 60) * 1000 }
        assert.matches("in Unix seconds, not in milliseconds", client.json.error.message, nil, true)
    end)

    it("accepts fractions of a second", function()
        local client = t.user { sub = "u1", iat = now + 0.25, nbf = now + 0.999, exp = now + 60.25 }
        assert.equal(101, client.status)
        assert.equal(now + 61, client.expires)
    end)

    it("allows five seconds of difference between clocks", function()
        assert.equal(101, t.user({ sub = "u1", iat = now + 5, nbf = now + 5 }).status)
        local client = t.user { sub = "u1", exp = now - 3 }
        assert.equal(101, client.status)
        assert.is_nil(client.closed)
        t.advance(2)
        assert.equal(4401, client.closed)
    end)
    refused("a token without user", { tenant = "t1" })
    refused("a user that is not an id", { sub = "secret-claim x" })
    refused("a user with half a surrogate pair", '{"sub":"a\\ud83d"}')
    refused("a topic with half a surrogate pair", '{"sub":"u1","topics":["a\\udc00"]}')
    refused("the user broadcast", { sub = "broadcast" })
    refused("a user that is a float", { sub = 1.5 })
    refused("a user that is a table", { sub = { "u1" } })
    refused("a long user", { sub = ("u"):rep(129) })
    refused("an empty user", { sub = "" })
    refused("a tenant that is not an id", { sub = "u1", tenant = "secret-claim x" })
    refused("topics that are not a list", { sub = "u1", topics = "news" })
    refused("a topic that is not an id", { sub = "u1", topics = { "secret-claim x" } })

    it("refuses an invalid token", function()
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
    after_each(test.close)

    it("check issuer and audience", function()
        local t = test.try("policy.lua",
            config { secret = test.secret, issuer = "me", audience = "us" })
        assert.equal(401, t.user({ sub = "u1" }).status)
        assert.equal(401, t.user({ sub = "u1", iss = "me", aud = "them" }).status)
        assert.equal(101, t.user({ sub = "u1", iss = "me", aud = { "x", "us" } }).status)
    end)

    it("set the names of claims and cookie", function()
        local t = test.try("policy.lua", config {
            secret = test.secret, user_claim = "uid", tenant_claim = "org", cookie = "session",
        })
        local client = t.connect {
            headers = { Cookie = "session=" .. test.jwt { uid = "u1", org = "o1", sub = "no" } },
        }
        assert.equal("u1", client.user)
        assert.equal("o1", client.tenant)
    end)

    it("set the leeway", function()
        local t = test.try("policy.lua", config { secret = test.secret, leeway = 30 })
        assert.equal(101, t.user({ sub = "u1", exp = now - 10 }).status)
        assert.equal(401, t.user({ sub = "u1", exp = now - 40 }).status)
    end)

    it("refuse a secret that is shorter than the hash", function()
        for alg, least in pairs { HS256 = 32, HS384 = 48, HS512 = 64 } do
            local t, why = test.try("policy.lua", config { secret = ("k"):rep(least - 1), algorithms = { alg } })
            assert.is_nil(t)
            assert.matches(("the secret has %d bytes; %s needs at least %d"):format(least - 1, alg, least), why, nil, true)
        end
    end)

    it("accept several algorithms, each with its kind of key", function()
        local t = test.try("policy.lua",
            config { secret = test.secret, algorithms = { "HS256", "HS512", "RS256" } })
        assert.equal(101, t.user({ sub = "u1" }).status)
    end)

    it("without a key refuse connections with 503", function()
        local t = test.try("policy.lua", config { secret = "" })
        assert.equal(503, t.connect().status)
        assert.equal(401, t.user({ sub = "u1" }).status)
    end)

    it("with an invalid key prevent the start", function()
        local t, why = test.try("policy.lua", config { algorithms = { "ES256" }, public_key = "x" })
        assert.is_nil(t)
        assert.matches("auth.jwt", why, nil, true)
    end)
end)

-- Tokens of u1 in t1, signed once; the private keys were not kept.
local rsa_modulus =
    "ttNeSLp-L2GO4H5PKz8rDjvWXcyW5ubf4zfMU7s226bgXxfUWLXZ5LutqKSgnp5ItqN5IWzLWfP5mjd8uYqWMI8rHE" ..
    "d50Y4aNxOCOeZ0biTbi--JOdNetErSl4rOcR0oNCy5cBJ-uDRsuJbzKd5lmC8Iwg33OQ4tkqzdro8L5HW0ABrIA_Q1" ..
    "d8OQGBBMiIAONy8C8bf7WjrbNSG_vj-usv6lKScyTF6Oz6vqB3uk5J129RzxlMO8QmGvgr9FhHKTy_hiuUzVX77BEa" ..
    "IRS0h7x2zr9GOeBFNsVoHp_E08seGr41fHe1u-BPxcQgtNpc-Qg5krqzsUZw6TzQ9fBpZOrw"
local signed = {
    RS256 =
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IjIwMjQtcnNhIn0.eyJzdWIiOiJ1MSIsInRlbmFudCI6InQxIn0.hIUqWxx9V2" ..
        "-kWJa3m1NCnH42kBK1sbNUUOgRNLe53uE1QgxX0GvQsiHlbz2wlajTAvRinO3O5F6xyoA3E7kUt9AHF154_zejOo7o" ..
        "tU8rGADl7XSDnSQXvtWllw2rHeC6STZQ371p_g_NM8apkw0I1XtZgGyZduwK7PTbo-fxPIWUwtxNwWf2axGGNpd141" ..
        "0--02qAPWPNCt6dtrCv_VCI08nyOCmaeT40FoblyF9h9cJJctxPxVWhKVVnngaOoS-Xj_7UGu-9E6mq4gm7O4QNLk1" ..
        "SDxafpKg3xaDJEHsgf8xy8dONQbELFLHv1sJ1Pz_xVDZ4zvncuS8r1UIfH8GFw",
    PS256 =
        "eyJhbGciOiJQUzI1NiIsImtpZCI6IjIwMjQtcnNhIn0.eyJzdWIiOiJ1MSIsInRlbmFudCI6InQxIn0.b169kLAm0N" ..
        "6_suIBkNU8WxuHdIlB0RdghgK1peJQATOEPWTJo9KUUvnjpnZYL4Mg0ix1JQNx2iiN_gllohjnvH490q7xfKTvWYN2" ..
        "6DTKTKOIgVcNDjcNt9-wXCAflAcQjWigvFYrOaGEDHrI_iSIrtTpbJoI_zINqou5fWvwslwBrZL0tb3CDi_9Eg_cZ4" ..
        "vP-4qBVzQfz0vrgRN4Z5M_3usNbKtQ7ZkVaewKUK5j-0oNA0V1VE2MUBkSB_hryed-_dOEL_3Ml39-8vICuXeFw5qj" ..
        "gyTpWQTL___RbAYeC2d0adljRYCRMOdm9qAtaQAZlEnbbYMt_Aglg7g0iX-Ctw",
    EdDSA =
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1MSIsInRlbmFudCI6InQxIn0.Xe2oQX6fws2F4eWv6W2ZE4gGER8eTT0t2" ..
        "k98E45m06CZomBiTcVB4SOXbzTgzD35th10WGdyys6DWum9lUkdCw",
}
local rsa_key = { kty = "RSA", kid = "2024-rsa", use = "sig", n = rsa_modulus, e = "AQAB" }
local ed25519_key = { kty = "OKP", crv = "Ed25519", x = "OF5Bl0L5ZwP_nsrgUVxZrZyr1DwOYf9uiUmT3eWgxMM" }

describe("the policy with a key set", function()
    local path
    before_each(function() path = os.tmpname() end)
    after_each(function()
        test.close()
        os.remove(path)
    end)

    local function write(keys)
        local file = assert(io.open(path, "w"))
        file:write(test.encode { keys = keys })
        file:close()
    end

    local function load(more)
        local jwt = { jwks = path, algorithms = { "HS256", "RS256", "PS256", "EdDSA" } }
        for name, value in pairs(more or {}) do jwt[name] = value end
        return test.try("policy.lua", config(jwt))
    end

    local function status(t, token) return t.connect({ query = "token=" .. token }).status end

    for _, alg in ipairs { "RS256", "PS256", "EdDSA" } do
        it("admits a token signed with " .. alg, function()
            write { rsa_key, ed25519_key }
            local t = assert(load())
            local client = t.connect { headers = { Authorization = "Bearer " .. signed[alg] } }
            assert.equal(101, client.status)
            assert.equal("u1", client.user)
            assert.equal("t1", client.tenant)
            assert.equal(401, status(t, (signed[alg]:gsub("^(.-%.)(.)", "%1Z"))))
        end)
    end

    it("accepts only the configured algorithms", function()
        write { rsa_key, ed25519_key }
        local t = assert(load { algorithms = { "RS256" } })
        assert.equal(101, status(t, signed.RS256))
        assert.equal(401, status(t, signed.PS256))
        assert.equal(401, status(t, signed.EdDSA))
        local default = assert(test.try("policy.lua", config { jwks = path }))
        assert.equal(401, status(default, signed.RS256))
    end)

    it("selects the key by its id", function()
        write { { kty = "RSA", kid = "2023-rsa", n = rsa_modulus, e = "AQAB" } }
        assert.equal(401, status(assert(load()), signed.RS256))
    end)

    it("accepts a secret beside the key set", function()
        write { rsa_key }
        local t = assert(load { secret = test.secret })
        assert.equal(101, status(t, signed.RS256))
        assert.equal(101, t.user({ sub = "u1" }).status)
        assert.equal(401, t.user({ sub = "u1" }, ("x"):rep(32)).status)
    end)

    it("reads the file again when it changes", function()
        write { ed25519_key }
        local t = assert(load())
        assert.equal(401, status(t, signed.RS256))
        write { rsa_key }
        t.advance(1)
        assert.equal(101, status(t, signed.RS256))
        assert.equal(401, status(t, signed.EdDSA))
    end)

    it("does not start without the file", function()
        os.remove(path)
        local t, why = load()
        assert.is_nil(t)
        assert.matches("auth.jwt: option jwks: " .. path, why, nil, true)
    end)
end)

describe("the policy in development", function()
    local t
    before_each(function() t = assert(test.try("policy.lua", config({}, true))) end)
    after_each(test.close)

    it("takes the ids from the query", function()
        local client = t.connect { query = "user=42&tenant=7&topic=news&topic=a%2Fb" }
        assert.equal(101, client.status)
        assert.equal("42", client.user)
        assert.equal("7", client.tenant)
        assert.same({ "news", "a/b" }, client.topics)
    end)

    it("admits anonymous connections, which get broadcasts only", function()
        local client = t.connect()
        assert.equal(101, client.status)
        assert.is_nil(client.user)
        t.publish { all = true, data = "to all" }
        t.publish { user = "u1", data = "to one" }
        assert.same({ "to all" }, client.sent)
    end)

    it("refuses invalid ids", function()
        for _, query in ipairs { "user=a%20b", "user=broadcast", "tenant=a%20b", "topic=a%20b" } do
            local client = t.connect { query = query }
            assert.equal(400, client.status)
            assert.equal("bad_request", client.json.error.code)
        end
    end)

    it("takes tags from the query", function()
        local ios = t.connect { query = "user=42&tag=platform:ios&tag=beta%3Atrue&tag=url:a:b&tag=none:" }
        local web = t.connect { query = "user=42&tag=platform:web" }
        assert.same({ platform = "ios", beta = "true", url = "a:b", none = "" }, ios.tags)
        assert.same({ platform = "web" }, web.tags)
        for _, query in ipairs { "tag=platform", "tag=:ios", "tag=", "tag=a:b&tag=c" } do
            local client = t.connect { query = query }
            assert.equal(400, client.status)
            assert.matches("name:value", client.json.error.message, nil, true)
        end
    end)

    it("sends back what clients send", function()
        local client = t.connect { query = "user=42" }
        client:recv "hello"
        client:recv ""
        assert.same({ "hello", "" }, client.sent)
        assert.is_nil(client.closed)
    end)

    it("checks a token that is sent", function()
        assert.equal(401, t.connect({ query = "user=u1&token=x" }).status)
    end)
end)
