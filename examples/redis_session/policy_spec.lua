local bellhop = require "bellhop.test"

local SID = ("0123456789abcdef"):rep(2)
local KEY = "session:" .. SID
local config = { app = { session = { ttl = 900, recheck = 60, logout_key = "log-out-key" } } }

local function cookie(sid) return { headers = { Cookie = "a=b; sid=" .. sid } } end

local function log_out(t, key, body)
    return t.request {
        method = "POST",
        path = "/sessions/logout",
        headers = { Authorization = "Bearer " .. key },
        body = bellhop.encode(body),
    }
end

describe("sessions in Redis", function()
    local t
    before_each(function()
        t = bellhop.load("policy.lua", { config = config })
        t.redis("HSET", KEY, "user", "42", "tenant", "7")
        t.redis("EXPIRE", KEY, "300")
    end)

    it("finds the session by the cookie and extends it", function()
        local client = t.connect(cookie(SID))
        assert.same({ 101, "42", "7" }, { client.status, client.user, client.tenant })
        assert.equal(900, t.redis("TTL", KEY))
    end)

    it("refuses connections without a session", function()
        assert.equal(401, t.connect().status)
        assert.equal(401, t.connect(cookie(("f"):rep(32))).status)
        assert.equal("unauthorized", t.connect(cookie(("f"):rep(32))).json.error.code)
    end)

    it("does not look up invalid session ids", function()
        for _, sid in ipairs { "short", ("x"):rep(129), ("x"):rep(32) .. ":tenant" } do
            t.redis("HSET", "session:" .. sid, "user", "42")
            assert.equal(401, t.connect(cookie(sid)).status)
        end
    end)

    it("extends the session while the client sends messages", function()
        local client = t.connect(cookie(SID))
        for _ = 1, 40 do
            client:recv "ping"
            t.advance(60)
        end
        assert.is_nil(client.closed)
        assert.equal("pong", client.sent[40])
    end)

    it("lets a session without messages expire", function()
        local client = t.connect(cookie(SID))
        t.advance(880)
        assert.is_nil(client.closed)
        t.advance(100)
        assert.equal(4401, client.closed)
        assert.equal(401, t.connect(cookie(SID)).status)
    end)

    it("closes the connection when the session is deleted or has another user", function()
        local client = t.connect(cookie(SID))
        t.redis("DEL", KEY)
        t.advance(61)
        assert.equal(4401, client.closed)
        t.redis("HSET", KEY, "user", "42")
        client = t.connect(cookie(SID))
        t.redis("HSET", KEY, "user", "43")
        t.advance(61)
        assert.equal(4401, client.closed)
    end)

    it("logs out when the backend asks for it", function()
        t.redis("HSET", "session:" .. ("b"):rep(32), "user", "43")
        local client, other = t.connect(cookie(SID)), t.connect(cookie(("b"):rep(32)))
        assert.equal(204, log_out(t, "log-out-key", { session = SID }).status)
        assert.same({ 4001, "logged out" }, { client.closed, client.reason })
        assert.is_nil(other.closed)
        assert.equal(401, t.connect(cookie(SID)).status)
        assert.equal(404, log_out(t, "log-out-key", { session = SID }).status)
    end)

    it("accepts a log-out with the key only", function()
        local client = t.connect(cookie(SID))
        assert.equal(401, log_out(t, "guessed", { session = SID }).status)
        assert.equal(400, log_out(t, "log-out-key", { session = 42 }).status)
        assert.equal(400, log_out(t, "log-out-key", { 42 }).status)
        assert.is_nil(client.closed)
        t = bellhop.load "policy.lua"
        assert.equal(401, log_out(t, "", { session = SID }).status)
    end)
end)

describe("while Redis is unavailable", function()
    local away, t
    before_each(function()
        away = false
        t = bellhop.load("policy.lua", {
            config = config,
            redis = function(command)
                if away then return false end
                return command == "HGETALL" and { "user", "42" } or 1
            end,
        })
    end)

    it("answers 503", function()
        away = true
        local client = t.connect(cookie(SID))
        assert.same({ 503, "unavailable" }, { client.status, client.json.error.code })
        assert.equal(503, log_out(t, "log-out-key", { session = SID }).status)
    end)

    it("keeps connections for one failed check", function()
        local client = t.connect(cookie(SID))
        away = true
        t.advance(61)
        away = false
        t.advance(60)
        away = true
        t.advance(60)
        assert.is_nil(client.closed)
        t.advance(60)
        assert.equal(4401, client.closed)
    end)
end)

describe("the policy", function()
    it("does not start with a key of two lines", function()
        local t, why = bellhop.try("policy.lua", { config = { app = { session = { logout_key = "log-out\nkey" } } } })
        assert.is_nil(t)
        assert.matches("app.session.logout_key has a control character", why, 1, true)
    end)
end)
