local bellhop = require "bellhop.test"

local config = { app = { webhook = { url = "http://hook.test/offline", secret = "a secret of 16+ bytes" } } }

-- Computes the signature as a receiver does. It is a second policy, because only policies have bh.crypto.
local signer = [[
    local bh = require "bellhop"
    return { http = { ["POST /sign"] = function(req)
        return 200, nil, bh.crypto.hex(bh.crypto.hmac("sha256", "a secret of 16+ bytes", req.body))
    end } }]]

describe("a webhook for offline users", function()
    local t, calls, respond, path
    before_each(function()
        calls = {}
        respond = function() return { status = 204, headers = {}, body = "" } end
        path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write(signer)
        file:close()
        t = bellhop.load({ "policy.lua", path }, { config = config, http = function(request)
            calls[#calls + 1] = request
            return respond(request)
        end })
    end)
    after_each(function() os.remove(path) end)

    local function status(n, headers)
        return function() return { status = n, headers = headers or {}, body = "" } end
    end

    local function header(request, wanted)
        for name, value in pairs(request.headers) do
            if name:lower() == wanted then return value end
        end
    end

    it("gets the signed message", function()
        assert.equal("offline", t.publish({ user = "42", data = "hello", id = "m-1" }).status)
        t.advance(0)
        assert.equal(1, #calls)
        local call = calls[1]
        assert.same({ "POST", "http://hook.test/offline" }, { call.method, call.url })
        assert.same({ id = "m-1", user = "42", data = "hello", attempt = 1 }, bellhop.decode(call.body))
        assert.equal("m-1", header(call, "idempotency-key"))
        local stamp = header(call, "x-bellhop-timestamp")
        assert.equal(tostring(bellhop.now), stamp)
        local signature = t.request({ method = "POST", path = "/sign", body = stamp .. "." .. call.body }).body
        assert.equal("sha256=" .. signature, header(call, "x-bellhop-signature"))
        t.advance(600)
        assert.equal(1, #calls)
    end)

    it("gets binary data as base64", function()
        t.publish { user = "42", data = "\1\2\xff", opcode = "binary" }
        t.advance(0)
        local body = bellhop.decode(calls[1].body)
        assert.same({ "AQL/", true }, { body.data, body.base64 })
    end)

    it("is not called for online users, topics, tenants and broadcasts", function()
        local client = t.connect { query = "token=" .. t.jwt { sub = "42" } }
        t.publish { user = "42", data = "hello" }
        t.publish { topic = "news", data = "x" }
        t.publish { tenant = "7", data = "x" }
        t.publish { all = true, data = "x" }
        t.advance(60)
        assert.equal(0, #calls)
        assert.same({ "hello", "x" }, client.sent)
    end)

    it("is retried with a back-off, 10 times at most", function()
        respond = function() return nil, "timed out" end
        t.publish { user = "42", data = "hello" }
        local function calls_after(seconds)
            t.advance(seconds)
            return #calls
        end
        -- The second after 1.5 to 2.5 s, the third 3 to 5 s later.
        assert.equal(1, calls_after(1.4))
        assert.equal(2, calls_after(1.3))
        assert.equal(2, calls_after(1.7))
        assert.equal(3, calls_after(3.2))
        t.advance(3600)
        assert.equal(10, #calls)
        assert.equal(10, bellhop.decode(calls[10].body).attempt)
        assert.equal(bellhop.decode(calls[1].body).id, bellhop.decode(calls[10].body).id)
    end)

    it("is retried after a failure, until it succeeds", function()
        respond = status(500)
        t.publish { user = "42", data = "hello" }
        t.advance(0)
        respond = status(200)
        t.advance(3)
        assert.equal(2, #calls)
        t.advance(600)
        assert.equal(2, #calls)
    end)

    it("may delay the next attempt by Retry-After", function()
        respond = status(429, { ["retry-after"] = "100" })
        t.publish { user = "42", data = "hello" }
        t.advance(99)
        assert.equal(1, #calls)
        t.advance(2)
        assert.equal(2, #calls)
    end)

    it("is not retried after a refusal", function()
        respond = status(410)
        t.publish { user = "42", data = "hello" }
        t.advance(600)
        assert.equal(1, #calls)
    end)

    it("is not called when the user is back", function()
        respond = status(503)
        t.publish { user = "42", data = "hello" }
        t.advance(0)
        local client = t.connect { query = "token=" .. t.jwt { sub = "42" } }
        t.advance(3)
        assert.same({ "hello" }, client.sent)
        assert.equal(1, #calls)
    end)
end)

describe("the policy of the webhook", function()
    it("does not start without a URL and a secret", function()
        local env, why = bellhop.try "policy.lua"
        assert.is_nil(env)
        assert.matches("app.webhook.url", why, 1, true)
        env, why = bellhop.try("policy.lua", { config = { app = { webhook = { url = "http://x/", secret = "short" } } } })
        assert.is_nil(env)
        assert.matches("app.webhook.secret", why, 1, true)
        local webhook = { url = "http://x/", secret = "a secret of 16+ bytes\n" }
        env, why = bellhop.try("policy.lua", { config = { app = { webhook = webhook } } })
        assert.is_nil(env)
        assert.matches("app.webhook.secret has a control character", why, 1, true)
    end)

    it("refuses connections without a token", function()
        local t = bellhop.load("policy.lua", { config = config })
        local stranger = t.connect()
        assert.same({ 401, "unauthorized" }, { stranger.status, stranger.json.error.code })
        assert.equal("the token has no user", t.connect({ query = "token=" .. t.jwt { tenant = "t" } }).json.error.message)
    end)
end)
