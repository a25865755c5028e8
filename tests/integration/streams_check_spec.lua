-- The checker of the promise of streams (tests/support/streams/check.lua): it must fail on everything
-- that would break the promise, and on nothing else.
package.path = "tests/support/?.lua;" .. package.path
local check = require "streams.check"
local resume = require "streams.resume"

local A, B, C = 100, 200, 300 -- epochs
local USER, NEWS = "user:42", "topic:news"

local log

local function accept(topic, epoch, offset, more)
    local record = {n = #log + 1, topic = topic, tries = 1, position = offset and {epoch = epoch, offset = offset}}
    record.payload = ('{"n":%d}'):format(record.n)
    for name, value in pairs(more or {}) do record[name] = value end
    log[record.n] = record
    return record
end

local function fill(topic, epoch, from, to)
    local made = {}
    for offset = from, to do made[offset] = accept(topic, epoch, offset) end
    return made
end

-- An id: topic, epoch, offset, ...
local function id(...)
    local words, positions = {...}, {}
    for i = 1, #words, 3 do positions[words[i]] = {epoch = words[i + 1], offset = words[i + 2]} end
    return resume.format(positions)
end

local function at(epoch, offset) return id(USER, epoch, offset) end

local function got(record, epoch, offset)
    return {kind = "message", topic = record.topic, data = record.payload,
        id = id(record.topic, epoch or record.position.epoch, offset or record.position.offset)}
end

local function first(text, recovered) return {kind = "first", id = text, recovered = recovered or false} end

local function gap(text, topic) return {kind = "gap", topic = topic or USER, id = text} end

local function rewound(topic) return {kind = "rewound", topic = topic or USER} end

local function opened(since) return {kind = "open", since = since} end

local function run(events, options)
    options = options or {}
    local one = {
        name = "one", streams = options.streams or {USER}, events = events, wanted = true, tags = options.tags,
        protocol = options.protocol,
    }
    return check.run(log, {one, options.other}, options.tops, options.histories, options.lossy)
end

local function passes(...)
    local report = run(...)
    assert.are.equal("", table.concat(report.errors, "\n"))
    return report
end

local function fails(text, ...)
    local report = run(...)
    assert.is_true(report.count > 0, "no error was found")
    assert.matches(text, table.concat(report.errors, "\n"))
end

describe("the checker of streams", function()
    before_each(function() log = {} end)

    describe("in one epoch", function()
        local m
        before_each(function() m = fill(USER, A, 1, 5) end)

        it("accepts everything in order", function()
            local report = passes({opened(), first(at(A, 0)), got(m[1]), got(m[2]), got(m[3]), got(m[4]), got(m[5])},
                {tops = {[USER] = {epoch = A, offset = 5}}})
            assert.are.equal(5, report.delivered)
        end)

        it("accepts a client that comes in the middle, and one that comes back", function()
            passes({opened(), first(at(A, 2)), got(m[3]), opened(at(A, 3)), first(at(A, 3), true), got(m[4]), got(m[5])},
                {tops = {[USER] = {epoch = A, offset = 5}}})
        end)

        it("finds a message that was lost", function()
            fails("lost: it misses message 2 at 100%-2", {opened(), first(at(A, 0)), got(m[1]), got(m[3])})
        end)

        it("finds a message that was lost between two connections", function()
            fails("misses message 2", {opened(), first(at(A, 1)), opened(at(A, 1)), first(at(A, 1), true), got(m[3])})
            fails("misses message 2", {opened(), first(at(A, 1)), opened(at(A, 1)), first(at(A, 2), true), got(m[3])})
        end)

        it("finds a lost end", function()
            fails("misses message 5", {opened(), first(at(A, 3)), got(m[4])}, {tops = {[USER] = {epoch = A, offset = 5}}})
        end)

        it("finds a message that comes twice, or late", function()
            fails("comes twice", {opened(), first(at(A, 0)), got(m[1]), got(m[1])})
            fails("goes back", {opened(), first(at(A, 0)), got(m[1]), got(m[1])})
            fails("misses message 1", {opened(), first(at(A, 0)), got(m[2]), got(m[1])})
            fails("goes back", {opened(), first(at(A, 0)), got(m[2]), got(m[1])})
        end)

        it("finds a message that comes twice at two positions", function()
            fails("message 1 comes at 100%-2", {opened(), first(at(A, 0)), got(m[1]), got(m[1], A, 2)})
        end)

        it("finds an id that says more than what came", function()
            fails("misses message 2", {opened(), first(at(A, 0)), got(m[1]), {kind = "id", id = at(A, 3)}})
            fails("misses message 2", {opened(), first(at(A, 0)), got(m[1]), {kind = "id", id = at(A, 2)}})
        end)

        it("finds an id that goes back", function()
            fails("goes back", {opened(), first(at(A, 0)), got(m[1]), {kind = "id", id = at(A, 0)}})
        end)

        it("accepts a gap that was told first, and finds one that was told later", function()
            local report = passes {opened(), first(at(A, 0)), got(m[1]), gap(at(A, 3)), got(m[4])}
            assert.are.equal(1, report.gaps)
            fails("misses message 2", {opened(), first(at(A, 0)), got(m[1]), got(m[4]), gap(at(A, 4))})
        end)

        it("takes a gap for one hole only", function()
            fails("misses message 4", {opened(), first(at(A, 0)), got(m[1]), gap(at(A, 2)), got(m[3]), got(m[5])})
        end)

        it("finds a gap that goes back", function()
            fails("goes back", {opened(), first(at(A, 0)), got(m[1]), got(m[2]), gap(at(A, 1))})
        end)

        it("finds that a client was told of nothing, though it is not complete", function()
            fails("no gap was told", {opened(at(A, 1)), first(at(A, 1), false), got(m[2])})
        end)

        it("finds two messages at one position", function()
            accept(USER, A, 3)
            fails("where message", {opened(), first(at(A, 0))})
        end)

        it("finds what nobody published", function()
            fails("a strange message", {opened(), first(at(A, 0)), {kind = "message", id = at(A, 1), data = '{"n":99}'}})
            fails("which nobody published", {opened(), first(at(A, 5)), {kind = "id", id = at(A, 7)}})
        end)

        it("finds a message without a position", function()
            fails("without a position", {opened(), first(at(A, 0)), {kind = "message", topic = USER, data = m[1].payload}})
        end)

        it("finds damage", function()
            fails("is damaged", {opened(), first(at(A, 0)), {kind = "message", id = at(A, 1), data = m[1].payload .. " "}})
        end)

        it("finds an id without a position", function()
            fails("has no position", {opened(), first "1.", got(m[1])})
            fails("has no position", {opened(), first "1.", opened "1."})
            fails("has no position", {opened(), first(at(A, 0)), {kind = "id", id = "1."}})
            fails("of other topics", {opened(), first(id(USER, A, 0, NEWS, A, 0))})
        end)
    end)

    describe("of several topics", function()
        local m, x
        before_each(function() m, x = fill(USER, A, 1, 3), fill(NEWS, A, 1, 3) end)
        local both = {streams = {USER, NEWS}}

        local function with(record, user, news)
            return {kind = "message", topic = record.topic, data = record.payload, id = id(USER, A, user, NEWS, A, news)}
        end

        it("accepts each in its own order", function()
            passes({opened(), first(id(USER, A, 0, NEWS, A, 0)), with(x[1], 0, 1), with(m[1], 1, 1), with(x[2], 1, 2)}, both)
        end)

        it("finds an id that says more of another topic than what came", function()
            fails("topic:news was lost", {opened(), first(id(USER, A, 0, NEWS, A, 0)), with(m[1], 1, 1)}, both)
        end)

        it("finds a gap that hides a hole in another topic", function()
            fails("topic:news was lost", {opened(), first(id(USER, A, 0, NEWS, A, 0)),
                gap(id(USER, A, 2, NEWS, A, 2))}, both)
        end)

        it("finds a message of another topic", function()
            fails("which is of topic:news", {opened(), first(at(A, 0)), got(x[1])})
        end)
    end)

    describe("with a filter", function()
        it("knows who skips a message", function()
            local m = fill(USER, A, 1, 3)
            m[2].filter = {platform = "ios"}
            passes {opened(), first(at(A, 0)), got(m[1]), got(m[3])}
            passes {opened(), first(at(A, 0)), got(m[1]), {kind = "id", id = at(A, 2)}, got(m[3])}
            fails("misses message 2", {opened(), first(at(A, 0)), got(m[1]), got(m[3])}, {tags = {platform = "ios"}})
            fails("not for it", {opened(), first(at(A, 0)), got(m[1]), got(m[2])})
        end)
    end)

    describe("over epochs", function()
        local m, x
        -- Redis came back with the first 5 of 8 messages; then 4 more.
        before_each(function() m, x = fill(USER, A, 1, 8), fill(USER, B, 6, 9) end)
        local tops = {tops = {[USER] = {epoch = B, offset = 9}}}

        it("accepts the new epoch from its beginning, and `rewound` where more was seen", function()
            passes({opened(), first(at(A, 3)), got(m[4]), got(m[5]), got(x[6]), got(x[7]), got(x[8]), got(x[9])}, tops)
            passes({opened(), first(at(A, 7)), got(m[8]), rewound(), got(x[6]), got(x[7]), got(x[8]), got(x[9])}, tops)
            passes({opened(), first(at(A, 8)), opened(at(A, 8)), first(at(A, 8), true), rewound(), got(x[6]), got(x[7]),
                got(x[8]), got(x[9])}, tops)
        end)

        it("accepts old messages with positions of the new epoch", function()
            passes({opened(), first(at(A, 3)), got(m[4], B, 4), got(m[5], B, 5), got(x[6]), got(x[7]), got(x[8]), got(x[9])},
                tops)
        end)

        it("finds that `rewound` is missing", function()
            fails("without `rewound`", {opened(), first(at(A, 7)), got(m[8]), got(x[6]), got(x[7])})
            fails("without `rewound`", {opened(), first(at(A, 8)), {kind = "id", id = at(B, 5)}, rewound(), got(x[6])})
        end)

        it("finds new messages that took old numbers, and were not sent", function()
            fails("misses message 9", {opened(), first(at(A, 8)), opened(at(A, 8)), first(at(A, 8), true), got(x[9])})
            fails("misses message 9", {opened(), first(at(A, 8)), rewound(), got(x[9])})
            fails("misses message 5", {opened(), first(at(A, 4)), got(x[6])})
        end)

        it("finds the loss of the new epoch at the end", function()
            fails("misses message 9", {opened(), first(at(A, 8))}, tops)
        end)

        it("accepts a gap instead, whose id is in the new epoch", function()
            passes({opened(), first(at(A, 8)), gap(at(B, 7)), got(x[8]), got(x[9])}, tops)
            fails("misses message 11", {opened(), first(at(A, 8)), gap(at(B, 7)), got(x[9])})
        end)

        it("accepts a second change", function()
            local y = fill(USER, C, 10, 11)
            passes({opened(), first(at(A, 8)), rewound(), got(x[6]), got(x[7]), got(x[8]), got(x[9]), got(y[10]),
                got(y[11])}, {tops = {[USER] = {epoch = C, offset = 11}}})
            fails("misses message 12", {opened(), first(at(A, 5)), got(x[6]), got(x[7]), got(x[8]), got(y[10])})
        end)

        it("accepts a message that was sent again, because Redis had lost it", function()
            local again = accept(USER, B, 10, {tries = 2})
            passes {opened(), first(at(A, 8)), got(again, A, 9), rewound(), got(x[6]), got(x[7]), got(x[8]), got(x[9]),
                got(again)}
            again.tries = 1
            fails("comes at 100%-9", {opened(), first(at(A, 8)), got(again, A, 9)})
        end)
    end)

    it("knows what may be missing, because it was replaced, removed or expired", function()
        local m = fill(USER, A, 1, 3)
        m[2].optional = true
        passes {opened(), first(at(A, 0)), got(m[1]), got(m[3])}
        passes {opened(), first(at(A, 0)), got(m[1]), got(m[2]), got(m[3])}
        fails("comes twice", {opened(), first(at(A, 0)), got(m[1]), got(m[2]), got(m[2])})
    end)

    it("knows what has no history", function()
        local m = fill(USER, A, 1, 2)
        local live = accept(USER, nil, nil, {live = true})
        local event = {kind = "message", topic = USER, data = live.payload}
        passes {opened(), first(at(A, 0)), got(m[1]), event, got(m[2])}
        passes {opened(), first(at(A, 0)), got(m[1]), event, opened(at(A, 1)), first(at(A, 1), true), event, got(m[2])}
        fails("comes twice", {opened(), first(at(A, 0)), event, event})
        fails("has the id", {opened(), first(at(A, 0)), got(live, A, 1)})
    end)

    it("knows raw WebSockets", function()
        local m = fill(USER, A, 1, 4)
        local function raw(record) return {kind = "message", data = record.payload} end
        local options = {protocol = "raw", tops = {[USER] = {epoch = A, offset = 4}}}
        passes({opened(), raw(m[1]), raw(m[2]), raw(m[3]), raw(m[4])}, options)
        passes({opened(), raw(m[1]), opened(), raw(m[3]), raw(m[4])}, options)
        fails("misses message 2", {opened(), raw(m[1]), raw(m[3]), raw(m[4])}, options)
        fails("misses message 4", {opened(), raw(m[1]), raw(m[2]), raw(m[3])}, options)
        fails("comes twice", {opened(), raw(m[1]), raw(m[1])}, options)
        fails("goes back", {opened(), raw(m[2]), raw(m[1])}, options)
        options.lossy = true
        passes({opened(), raw(m[1]), raw(m[3])}, options)
    end)

    it("compares what clients have seen", function()
        local m = fill(USER, A, 1, 2)
        local lost = accept(USER, nil, nil, {tries = 2})
        local other = {name = "other", streams = {USER}, wanted = true,
            events = {opened(), first(at(A, 1)), got(lost, A, 2)}}
        fails("where message", {opened(), first(at(A, 0)), got(m[1]), got(m[2])}, {other = other})
    end)

    it("compares the histories with what was accepted", function()
        local m = fill(USER, A, 1, 3)
        local x = fill(NEWS, A, 1, 1)
        local function history(...)
            local list = {}
            for i, record in ipairs {...} do list[i] = {n = record.n, position = record.position} end
            return {histories = {[USER] = list}}
        end
        passes({opened(), first(at(A, 3))}, history(m[1], m[2], m[3]))
        fails("3 behind 1", {opened(), first(at(A, 3))}, history(m[1], m[3]))
        fails("which nobody published there", {opened(), first(at(A, 3))}, history(m[1], x[1]))
        fails("holds message 1 at 100%-2", {opened(), first(at(A, 3))},
            {histories = {[USER] = {{n = 1, position = {epoch = A, offset = 2}}}}})
    end)

    it("knows the hash of a topic", function()
        assert.are.equal("1.:7-8", (resume.format({["user:42"] = {epoch = 7, offset = 8}}):gsub("%.[%w_-]+:", ".:")))
        assert.are.equal(11, #resume.hash "user:42")
        assert.is_nil((resume.parse "1.abc:1-2"))
    end)
end)
