local bellhop = require "bellhop.test"

local function chat(options)
    local t = bellhop.load("policy.lua", options)
    local function enter(user) return t.connect { query = "token=" .. t.jwt { sub = user } } end
    local function join(user, room)
        return enter(user):recv { type = "join", room = room or "lobby" }
    end
    return t, enter, join
end

local function say(text, room) return { type = "say", room = room or "lobby", text = text } end

-- The values of a field in all messages sent to a client.
local function all(client, field)
    local list = {}
    for i, text in ipairs(client.sent) do list[i] = bellhop.decode(text)[field] or false end
    return list
end

describe("chat rooms", function()
    local t, enter, join
    before_each(function() t, enter, join = chat() end)

    it("sends messages to everybody in the room", function()
        local ann, bob, eve = join "ann", join "bob", join("eve", "other")
        ann:clear() bob:clear() eve:clear()
        ann:recv(say 'he said "hi"')
        local line = { type = "said", room = "lobby", user = "ann", text = 'he said "hi"', at = bellhop.now }
        assert.same(line, bob:last())
        assert.same(line, ann:last())
        assert.same({}, eve.sent)
    end)

    it("announces who joins, leaves and disconnects", function()
        local ann, bob = join "ann", join "bob"
        assert.same({ type = "came", room = "lobby", user = "bob" }, ann:last())
        bob:recv { type = "leave", room = "lobby" }
        assert.same({ type = "went", room = "lobby", user = "bob" }, ann:last())
        assert.same({ type = "left", room = "lobby" }, bob:last())
        bob:recv { type = "join", room = "lobby" }
        ann:clear()
        bob:close()
        assert.same({ "went" }, all(ann, "type"))
    end)

    it("sends typing events to the others, with a rate limit", function()
        local ann, bob = join "ann", join "bob"
        ann:clear() bob:clear()
        for _ = 1, 9 do ann:recv { type = "typing", room = "lobby" } end
        assert.same({ "typing", "typing" }, all(bob, "type"))
        assert.same({}, ann.sent)
    end)

    it("limits the rate of messages", function()
        local ann = join "ann"
        ann:clear()
        for i = 1, 6 do ann:recv(say("line " .. i)) end
        assert.same({ false, false, false, false, false, "too_fast" }, all(ann, "code"))
        t.advance(1)
        ann:recv(say "more")
        assert.equal("said", ann:last().type)
    end)

    it("requires clients to be in the room", function()
        local ann, eve = join "ann", enter "eve"
        ann:clear()
        eve:recv(say "psst"):recv { type = "typing", room = "lobby" }
        assert.same({ "not_in", "not_in" }, all(eve, "code"))
        join("x"):close()
        eve:recv { type = "join", room = "lobby" }
        eve:recv { type = "leave", room = "lobby" }
        eve:recv(say "psst")
        assert.equal("not_in", eve:last().code)
        for _, text in ipairs(ann.sent) do assert.is_nil(text:find "psst") end
    end)

    it("answers invalid messages with an error, and stays open", function()
        local ann = join "ann"
        ann:clear()
        for _, data in ipairs {
            "no JSON", "[]", '{"type":"shout"}', '{"type":{}}', '{"type":"say"}', '{"type":"say","room":"a/b"}',
            say "", { type = "say", room = "lobby", text = 1 }, say(("x"):rep(2001)), { type = "join", room = "lobby" },
        } do ann:recv(data) end
        assert.same({ "bad_type", "bad_type", "bad_type", "bad_type", "bad_room", "bad_room",
            "bad_text", "bad_text", "bad_text", "already" }, all(ann, "code"))
        assert.is_nil(ann.closed)
    end)

    it("limits the rooms of one connection", function()
        local ann = enter "ann"
        for i = 1, 21 do
            ann:recv { type = "join", room = "r" .. i }
            t.advance(1)
        end
        assert.equal("too_many", ann:last().code)
    end)

    it("refuses connections without a valid token", function()
        assert.equal(401, t.connect().status)
        assert.equal("unauthorized", t.connect().json.code)
        assert.equal(401, t.connect({ query = "token=" .. t.jwt({ sub = "ann" }, ("x"):rep(32)) }).status)
        assert.equal(401, t.connect({ query = "token=" .. t.jwt {} }).status)
    end)
end)

for name, options in pairs {
    ["bh.shared"] = { redis = false, config = { app = { chat = { history = 3 } } } },
    Redis = { config = { app = { chat = { history = 3 } }, redis = { url = { "redis://fake" } } } },
} do
    describe("the history in " .. name, function()
        local function texts(joined)
            local list = {}
            for i, line in ipairs(joined.history) do list[i] = line.text end
            return list
        end

        it("has the last lines of the room, and expires after a day", function()
            local t, _, join = chat(options)
            local ann = join "ann"
            assert.same({}, texts(bellhop.decode(ann.sent[1])))
            for i = 1, 5 do ann:recv(say("line " .. i)) end
            assert.same({ "line 3", "line 4", "line 5" }, texts(bellhop.decode(join("bob").sent[1])))
            assert.same({}, texts(bellhop.decode(join("eve", "other").sent[1])))
            t.advance(86401)
            assert.same({}, texts(bellhop.decode(join("cat").sent[1])))
        end)
    end)
end

it("works without a history while Redis is unavailable", function()
    local _, _, join = chat { redis = function() return false end, config = { redis = { url = { "redis://fake" } } } }
    local ann = join "ann"
    assert.same({ type = "joined", room = "lobby", history = {} }, bellhop.decode(ann.sent[1]))
    ann:recv(say "hello")
    assert.equal("hello", ann:last().text)
end)
