-- Histories in bellhop.test: what is stored, pages, the clock, clients that resume, gaps; and the same of a policy, by
-- bh.history, msg and on_gap.
local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
package.path = here .. "?.lua;" .. package.path
local temporary = require "temporary"
local test = require "bellhop.test"

local HEAD = [[local bh = require "bellhop"
return { on_handshake = function(req)
    return { user = req:arg "user" or "42", tags = { os = req:arg "os" }, topics = { "news" } }
end,
]]

local RULES = { { topic = "user:*", size = 3, ttl = 60 }, { topic = "topic:news", size = 3, ttl = 60 } }

local function load(policy, rules)
    return test.load(temporary.write(HEAD .. (policy or "") .. "}"), { config = { history = rules or RULES } })
end

local function data_of(page)
    local list = {}
    for i, message in ipairs(page.messages) do list[i] = message.data end
    return table.concat(list, " ")
end

local function refuses(call, ...)
    local ok, why = pcall(call)
    assert.is_false(ok)
    for _, text in ipairs { ... } do assert.matches(text, tostring(why), nil, true) end
end

local function remove_all()
    test.close()
    temporary.remove_all()
end

describe("a history", function()
    after_each(remove_all)

    it("has what was published, and the result its position", function()
        local t = load()
        local first = t.publish { user = 42, data = "1", id = "a" }
        assert.equal("stored", first.status)
        assert.equal("durable", first.strategy)
        assert.matches("^%d+%-1$", first.position)
        local second = t.publish { user = 42, data = "\xff", binary = true, filter = { os = "ios" } }
        local page = t.history { user = 42 }
        assert.equal(2, #page.messages)
        assert.same({ second.position, "\xff", "binary", "ios" },
            { page.messages[1].position, page.messages[1].data, page.messages[1].opcode, page.messages[1].filter.os })
        assert.same({ "a", first.position, "1", "text" },
            { page.messages[2].id, page.messages[2].position, page.messages[2].data, page.messages[2].opcode })
        assert.equal(test.now, math.floor(page.messages[2].time))
        assert.equal(second.position, page.position)
        assert.is_false(page.more)
        assert.is_false(page.gap)
    end)

    it("answers a repetition with the first position", function()
        local t = load()
        local first = t.publish { user = 42, data = "1", id = "a" }
        t.publish { user = 42, data = "2" }
        local again = t.publish { user = 42, data = "1", id = "a" }
        assert.is_true(again.duplicate)
        assert.equal(first.position, again.position)
        assert.equal("2 1", data_of(t.history { user = 42 }))
    end)

    it("is read in pages, in both orders", function()
        local t = load()
        local at = {}
        for i = 1, 4 do at[i] = t.publish({ user = 42, data = tostring(i) }).position end
        assert.equal("4 3 2", data_of(t.history { user = 42 }))
        assert.equal("2 3 4", data_of(t.history { user = 42, order = "asc" }))
        local page = t.history { user = 42, limit = 2 }
        assert.equal("4 3", data_of(page))
        assert.is_true(page.more)
        assert.equal("2", data_of(t.history { user = 42, order = "desc", since = page.messages[2].position }))
        assert.equal("4", data_of(t.history { user = 42, since = at[3] }))
        page = t.history { user = 42, since = at[1]:gsub("%d+$", "0") }
        assert.is_true(page.gap)
        assert.equal("2 3 4", data_of(page))
    end)

    it("forgets by the clock", function()
        local t = load()
        t.publish { user = 42, data = "short", ttl = 10 }
        t.publish { user = 42, data = "long" }
        t.advance(11)
        assert.equal("long", data_of(t.history { user = 42 }))
        t.advance(60)
        local page = t.history { user = 42 }
        assert.equal("", data_of(page))
        assert.matches("%-2$", page.position)
    end)

    it("replaces by a key, and stores only what is to be stored", function()
        local t = load()
        t.publish { user = 42, data = "1", collapse = "k" }
        t.publish { user = 42, data = "2", collapse = "k" }
        local result = t.publish { user = 42, data = "3", history = false }
        assert.equal("offline", result.status)
        assert.is_nil(result.position)
        assert.equal("2", data_of(t.history { user = 42 }))
    end)

    it("is only where the configuration says so", function()
        local t = load()
        assert.is_nil(t.publish({ topic = "x", data = "1" }).position)
        for _, wrong in ipairs { { history = true }, { collapse = "k" }, { strategy = "durable" } } do
            wrong.topic, wrong.data = "x", "1"
            local result, why = t.publish(wrong)
            assert.is_nil(result)
            assert.matches("history", why)
        end
        local result, why = t.publish { user = 42, data = "1", history = false, collapse = "k" }
        assert.is_nil(result)
        assert.matches("collapse", why)
        local page
        page, why = t.history { topic = "x" }
        assert.is_nil(page)
        assert.matches("topic:x has no history", why, nil, true)
        refuses(function() t.history {} end, "exactly one")
        refuses(function() t.history { usr = 42 } end, "history_spec.lua:", 'did you mean "user"')
        refuses(function() t.history { user = 42, limit = "1" } end, "history_spec.lua:", "limit must be an integer")
    end)
end)

describe("a policy", function()
    after_each(remove_all)

    it("reads and removes", function()
        local t = load [[on_message = function(conn, data)
            if data == "read" then
                local page = assert(bh.history.read { user = conn.user, order = "asc" })
                local list = {}
                for i, m in ipairs(page.messages) do list[i] = m.data end
                return table.concat(list, " ") .. " " .. tostring(page.more)
            end
            return tostring(bh.history.remove { user = conn.user, position = data ~= "all" and data or nil })
        end]]
        local client = t.connect()
        local at = t.publish({ user = 42, data = "1" }).position
        t.publish { user = 42, data = "2" }
        client:clear()
        client:recv "read"
        client:recv(at)
        client:recv(at)
        client:recv "read"
        client:recv "all"
        client:recv "read"
        assert.same({ "1 2 false", "1", "0", "2 false", "1", " false" }, client.sent)
    end)

    it("decides in on_publish what is stored, and sees positions", function()
        local t = load [[on_publish = function(msg)
                if msg.data == "typing" then msg.history = false end
                if msg.data == "state" then msg.collapse = "state" end
            end,
            on_deliver = function(conn, msg) return msg.data .. " " .. tostring(msg.position) end]]
        local client = t.connect()
        t.publish { user = 42, data = "typing" }
        local first = t.publish { user = 42, data = "state" }
        local second = t.publish { user = 42, data = "state" }
        assert.same({ "typing nil", "state " .. first.position, "state " .. second.position }, client.sent)
        assert.equal(1, #t.history({ user = 42 }).messages)
    end)

    it("is asked once when a stored message reached nobody", function()
        local t = load [[on_offline = function(msg, attempt)
            bh.publish { user = "watcher", data = msg.data .. " " .. attempt .. " " .. tostring(msg.position) }
            return attempt < 2 and { retry = 1 } or true
        end]]
        local watcher = t.connect { query = "user=watcher" }
        local result = t.publish { user = 43, data = "x" }
        assert.equal("stored", result.status)
        t.advance(5)
        assert.same({ "x 1 " .. result.position, "x 2 " .. result.position }, watcher.sent)
        assert.equal("x", data_of(t.history { user = 43 }))
    end)

    it("is told of a gap", function()
        local t = load [[on_gap = function(conn, topic, reason) conn:send(topic .. " " .. reason) end]]
        local client = t.connect()
        client:gap("user:42"):gap("topic:news", "lost")
        assert.same({ "user:42 expired", "topic:news lost" }, client.sent)
        assert.same({}, client.gaps)
        refuses(function() client:gap "42" end, "the name of a topic")
        refuses(function() client:gap("all", "because") end, "invalid option")
    end)
end)

describe("a client that resumes", function()
    after_each(remove_all)

    it("gets what it missed, in order and once", function()
        local t = load()
        local first = t.connect { resume = true }
        assert.is_false(first.recovered)
        local one = t.publish { user = 42, data = "1" }
        assert.same({ "1" }, first.sent)
        assert.same({ one.position }, first.positions)
        first:close(1006)
        local two, three = t.publish { user = 42, data = "2" }, t.publish { topic = "news", data = "3" }
        local second = t.connect { since = first.position }
        assert.is_true(second.recovered)
        assert.same({}, second.gaps)
        local got = {}
        for i, data in ipairs(second.sent) do got[data] = second.positions[i] end
        assert.same({ ["2"] = two.position, ["3"] = three.position }, got)
        t.publish { user = 42, data = "4" }
        assert.equal("4", second.sent[3])
        assert.is_true(first.position ~= second.position)
        assert.same({}, t.connect({ since = second.position }).sent)
    end)

    it("is told of a gap", function()
        local t = load()
        local first = t.connect { resume = true }
        first:close()
        for i = 1, 4 do t.publish { user = 42, data = tostring(i) } end
        local second = t.connect { since = first.position }
        assert.is_false(second.recovered)
        assert.same({ { topic = "user:42", reason = "expired" } }, second.gaps)
        assert.same({}, second.sent)
        t.publish { user = 42, data = "5" }
        assert.same({ "5" }, second.sent)
        second:gap("topic:news", "slow")
        assert.same({ topic = "topic:news", reason = "slow" }, second.gaps[2])
    end)

    it("gets what its filter, on_deliver and the clock allow", function()
        local t = load [[on_deliver = function(conn, msg) if msg.data == "hidden" then return false end end]]
        local first = t.connect { resume = true, query = "os=ios" }
        first:close()
        t.publish { user = 42, data = "hidden" }
        t.publish { user = 42, data = "web", filter = { os = "web" } }
        t.publish { topic = "news", data = "short", ttl = 5 }
        t.publish { topic = "news", data = "ios", filter = { os = "ios" } }
        t.advance(6)
        local second = t.connect { since = first.position, query = "os=ios" }
        assert.is_true(second.recovered)
        assert.same({ "ios" }, second.sent)
    end)

    it("has its position in conn", function()
        local t = load [[on_message = function(conn) return tostring(conn.position) end]]
        local client, plain = t.connect { resume = true }, t.connect()
        t.publish { user = 42, data = "1" }
        client:recv "x"
        assert.equal(client.position, client.sent[2])
        plain:recv "x"
        assert.equal("nil", plain.sent[2])
        assert.is_nil(plain.position)
        assert.is_nil(plain.recovered)
    end)

    it("is one whose identity says so", function()
        local t = test.load(temporary.write 'return { on_handshake = function() return { user = "42", format = "json" } end }',
            { config = { history = RULES } })
        local first = t.connect()
        first:close()
        t.publish { user = 42, data = "1" }
        assert.same({ "1" }, t.connect({ since = first.position }).sent)
    end)

    it("says where it was, or raises an error", function()
        local t = load()
        refuses(function() t.connect { since = "17-3" } end, "not an id that this server sends")
        refuses(function() t.connect { resume = 1 } end, "history_spec.lua:", "resume must be true or false")
        refuses(function() t.api { since = "1." } end, "history_spec.lua:", 'unknown key "since"')
        assert.is_false(t.connect({ since = "1." }).recovered)
    end)
end)
