local bellhop = require "bellhop.test"

local tenants = { acme = { connections = 2, messages = 3 }, globex = { connections = 2, messages = 3 } }

local function start(app)
    return bellhop.try("policy.lua", { config = { app = app } })
end

describe("quotas of tenants", function()
    local t
    before_each(function() t = assert(start { tenants = tenants }) end)

    local function connect(tenant, user)
        return t.connect { query = "token=" .. t.jwt { sub = user or "1", tenant = tenant } }
    end

    it("limit the connections of a tenant", function()
        local ann, bob, cat = connect "acme", connect "acme", connect "acme"
        assert.same({ 101, "acme.1", "acme" }, { ann.status, ann.user, ann.tenant })
        assert.equal(101, bob.status)
        assert.same({ 429, "too_many_connections" }, { cat.status, cat.json.error.code })
        assert.equal("30", cat.headers["Retry-After"])
        assert.equal(101, connect("globex").status)
        ann:close()
        assert.equal(101, connect("acme").status)
        assert.equal(429, connect("acme").status)
    end)

    it("survive a reload", function()
        local ann = connect "acme"
        connect "acme"
        assert.is_true(t.reload())
        assert.equal(429, connect("acme").status)
        ann:close()
        assert.equal(101, connect("acme").status)
        assert.equal(429, connect("acme").status)
    end)

    it("limit messages per minute, of all publishers", function()
        local ann = connect "acme"
        assert.is_table(t.publish { user = "acme.1", data = "1" })
        assert.is_table(t.publish { tenant = "acme", data = "2" })
        assert.is_table(t.publish { topic = "acme/chat", data = "3" })
        local result, why = t.publish { user = "acme.1", data = "4" }
        assert.is_nil(result)
        assert.equal("the quota of 3 messages a minute is used up", why)
        assert.same({ "1", "2", "3" }, ann.sent)
        assert.is_table(t.publish { user = "globex.1", data = "5" })
        t.advance(60)
        assert.is_table(t.publish { user = "acme.1", data = "6" })
    end)

    it("tell a client that the quota is used up", function()
        local ann, bob, eve = connect("acme", "ann"), connect("acme", "bob"), connect("globex", "eve")
        for i = 1, 4 do ann:recv("hello " .. i) end
        assert.same({ "hello 1", "hello 2", "hello 3" }, bob.sent)
        assert.same({}, eve.sent)
        assert.equal(1, #ann.sent)
        assert.equal("refused", ann:last().error.code)
    end)

    it("do not apply to broadcasts and ids without a tenant", function()
        connect "acme"
        for _ = 1, 5 do
            assert.is_table(t.publish { all = true, data = "x" })
            assert.is_table(t.publish { user = "somebody", data = "x" })
            assert.is_table(t.publish { topic = "initech/x", data = "x" })
        end
    end)

    it("refuse unknown tenants", function()
        local stranger = connect "initech"
        assert.same({ 403, "forbidden" }, { stranger.status, stranger.json.error.code })
        assert.equal(403, t.connect({ query = "token=" .. t.jwt { sub = "1" } }).status)
        assert.equal(403, t.connect({ query = "token=" .. t.jwt { tenant = "acme" } }).status)
        assert.equal(401, t.connect().status)
    end)

    it("require limits", function()
        for text, app in pairs {
            ["app.tenants is missing"] = {},
            ["needs `connections`"] = { tenants = { acme = { messages = 1 } } },
            ["letters, digits"] = { tenants = { ["a.b"] = tenants.acme } },
        } do
            local env, why = start(app)
            assert.is_nil(env)
            assert.matches(text, why, 1, true)
        end
    end)
end)

-- A second policy changes the count, as a crash would, or another worker between a handshake and its on_open.
local spoiler = [[
    local bh = require "bellhop"
    local function spoil(by) bh.shared.quota_connections:incr("acme", by) end
    return {
        on_open = function(conn) if conn.user == "acme.late" then spoil(1) end end,
        http = { ["POST /spoil/:by"] = function(req)
            spoil(tonumber(req.params.by))
            return 204
        end },
    }]]

describe("the correction of the count", function()
    local t, path
    before_each(function()
        path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write(spoiler)
        file:close()
        t = bellhop.load({ path, "policy.lua" }, { config = { app = { tenants = tenants, quotas = { repair = 10 } } } })
    end)
    after_each(function() os.remove(path) end)

    local function connect(user)
        return t.connect { query = "token=" .. t.jwt { sub = user or "1", tenant = "acme" } }
    end

    it("admits connections after a count that was too high", function()
        connect()
        t.request { method = "POST", path = "/spoil/5" }
        assert.equal(429, connect().status)
        t.advance(11)
        assert.equal(101, connect().status)
        assert.equal(429, connect().status)
    end)

    it("refuses connections after a count that was too low", function()
        connect()
        connect()
        t.request { method = "POST", path = "/spoil/-2" }
        t.advance(11)
        assert.equal(429, connect().status)
    end)

    it("is not needed for two handshakes at the same time: on_open decides", function()
        connect()
        local late = connect "late"
        assert.same({ 101, 4429 }, { late.status, late.closed })
        late:close()
        t.request { method = "POST", path = "/spoil/-1" }
        assert.equal(101, connect().status)
        assert.equal(429, connect().status)
    end)
end)
