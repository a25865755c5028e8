local bellhop = require "bellhop.test"

local KiB, MiB = 1024, 1024 * 1024

describe("priorities on delivery", function()
    local t, client
    before_each(function()
        t = bellhop.load "policy.lua"
        client = t.connect { query = "token=" .. t.jwt { sub = "42" } }
    end)

    -- The priorities that are delivered to a client with so many queued bytes.
    local function delivered(queued)
        client:slow(queued)
        client:clear()
        for _, priority in ipairs { "low", "normal", "high" } do
            t.publish { user = "42", data = { priority = priority } }
        end
        t.publish { user = "42", data = "no JSON" }
        local list = {}
        for i, data in ipairs(client.sent) do
            local json = bellhop.decode(data)
            list[i] = json and json.priority or data
        end
        return list
    end

    it("delivers everything to a client that keeps up", function()
        assert.same({ "low", "normal", "high", "no JSON" }, delivered(0))
        assert.same({ "low", "normal", "high", "no JSON" }, delivered(64 * KiB))
    end)

    it("skips low first, then normal, never high", function()
        assert.same({ "normal", "high", "no JSON" }, delivered(64 * KiB + 1))
        assert.same({ "high" }, delivered(1 * MiB + 1))
        assert.same({ "low", "normal", "high", "no JSON" }, delivered(0))
    end)

    it("treats binary messages as normal", function()
        client:slow(100 * KiB)
        t.publish { user = "42", data = '{"priority":"low"}', opcode = "binary" }
        assert.equal(1, #client.sent)
    end)

    it("drops the oldest message of a dashboard, and closes other clients", function()
        assert.equal("close", client:slow(5 * MiB))
        local dashboard = t.connect { query = "kind=dashboard&token=" .. t.jwt { sub = "42" } }
        assert.equal("drop_oldest", dashboard:slow(5 * MiB))
        assert.equal("close", t.connect({ query = "kind=x&token=" .. t.jwt { sub = "42" } }):slow(5 * MiB))
    end)

    it("refuses an unknown priority", function()
        for _, data in ipairs { '{"priority":"urgent"}', '{"priority":3}', '{"priority":null}' } do
            local result, why = t.publish { user = "42", data = data }
            assert.is_nil(result)
            assert.equal("`priority` must be high, normal or low", why)
        end
        assert.same({}, client.sent)
    end)

    it("refuses connections without a token", function()
        local stranger = t.connect()
        assert.same({ 401, "unauthorized" }, { stranger.status, stranger.json.error.code })
        assert.equal("the token has no user", t.connect({ query = "token=" .. t.jwt { tenant = "t" } }).json.error.message)
    end)
end)

-- Wraps the policy, and replaces the payload by what on_publish has decided.
local probe = [[
    local bh = require "bellhop"
    local policy = require "policy"
    return {
        on_handshake = policy.on_handshake,
        on_publish = function(msg)
            local strategy, why = policy.on_publish(msg)
            msg.data = bh.json.encode { strategy = strategy, ttl = msg.ttl }
            return strategy, why
        end,
    }]]

describe("priorities on publish", function()
    local t, client, path
    before_each(function()
        path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write(probe)
        file:close()
        t = bellhop.load { path, "policy.lua" }
        client = t.connect { query = "token=" .. t.jwt { sub = "42" } }
    end)
    after_each(function() os.remove(path) end)

    local function decided(message)
        message.user = "42"
        t.publish(message)
        local last = client:last()
        return last.strategy .. " " .. last.ttl
    end

    it("are read from the payload", function()
        assert.equal("both 0", decided { data = '{"priority":"high"}' })
        assert.equal("local_first 60", decided { data = '{"priority":"normal"}' })
        assert.equal("local_first 60", decided { data = "no JSON" })
        assert.equal("local_first 5", decided { data = '{"priority":"low"}' })
    end)

    it("are read from the option when the payload has none", function()
        assert.equal("both 0", decided { data = "x", priority = 200 })
        assert.equal("local_first 60", decided { data = "x", priority = 100 })
        assert.equal("local_first 5", decided { data = "x", priority = 1 })
        assert.equal("local_first 5", decided { data = '{"priority":"low"}', priority = 255 })
    end)

    it("shorten the TTL of a publisher, and never extend it", function()
        assert.equal("local_first 3", decided { data = '{"priority":"low"}', ttl = 3 })
        assert.equal("local_first 5", decided { data = '{"priority":"low"}', ttl = 300 })
        assert.equal("both 300", decided { data = '{"priority":"high"}', ttl = 300 })
    end)
end)
