local bellhop = require "bellhop.test"

local config = { history = { { topic = "user:*" }, { topic = "topic:news", size = 2, ttl = 60 } } }

describe("a client that resumes", function()
    local t
    before_each(function() t = bellhop.load("policy.lua", { config = config }) end)

    local function connect(since)
        return t.connect { query = "token=" .. t.jwt { sub = "42" }, resume = true, since = since }
    end

    it("gets what it missed of its user and its topic", function()
        local client = connect()
        t.publish { user = 42, data = "one" }
        client:close()
        t.publish { user = 42, data = "two" }
        t.publish { topic = "news", data = "three" }
        t.publish { user = 43, data = "for another" }
        local again = connect(client.position)
        local missed = again.sent
        table.sort(missed)
        assert.same({ true, { "three", "two" } }, { again.recovered, missed })
        assert.same({}, again.gaps)
        t.publish { user = 42, data = "four" }
        assert.equal("four", again.sent[3])
    end)

    it("is told what is not kept any more", function()
        local client = connect()
        client:close()
        for n = 1, 3 do t.publish { topic = "news", data = tostring(n) } end
        local again = connect(client.position)
        assert.is_false(again.recovered)
        assert.same({ { topic = "topic:news", reason = "expired" } }, again.gaps)
        again:close()
        t.publish { topic = "news", data = "4" }
        t.advance(61)
        assert.equal("topic:news", connect(again.position).gaps[1].topic)
    end)

    it("needs a token", function()
        assert.same({ 101, "42", { "news" } }, { connect().status, connect().user, connect().topics })
        assert.equal(401, t.connect({ query = "token=nonsense" }).status)
    end)

    it("is told by the policy when it is a raw one", function()
        local client = t.connect { query = "token=" .. t.jwt { sub = "42" } }
        client:gap("user:42", "lost")
        assert.same({ type = "reload", topic = "user:42", reason = "lost" }, bellhop.decode(client.sent[1]))
    end)
end)
