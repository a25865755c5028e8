-- Clients of streams that are slow, that are many, and that ask again and again.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "streams.cluster"
local pool = require "streams.pool"
local resume = require "streams.resume"
local wait = require "wait"

local PROTOCOLS = {"sse", "json"}

local RULES = [[ [
    {"topic": "topic:news", "size": 10}, {"topic": "topic:big", "size": 1000, "bytes": 67108864}
] ]]

local clients

local function start(options)
    options.history = RULES
    local net = cluster.start(options)
    clients = pool.new()
    return table.unpack(net.instances)
end

local function stop()
    if clients then clients:close() end
    clients = nil
    cluster.stop_all()
end

local function each_protocol(what, fn)
    for _, protocol in ipairs(PROTOCOLS) do
        it(what .. ", over " .. protocol, function() fn(protocol) end)
    end
end

describe("a client that is slow", function()
    after_each(stop)

    local function with(on_slow)
        return {count = 1, env = {BELLHOP_WEBSOCKET_QUEUE_BYTES = "262144", BELLHOP_WEBSOCKET_ON_SLOW = on_slow}}
    end

    for _, on_slow in ipairs {"drop_oldest", "drop_newest"} do
        each_protocol("is told what " .. on_slow .. " drops", function(protocol)
            local a = start(with(on_slow))
            local one = clients:open(a, protocol, "topic=big&user=slow", {receive_buffer = 4096}):wait_open()
            a:publish("topics/big", '{"n":0}')
            one:next "message"
            one.deaf = true
            local n, deadline = 0, wait.now() + 20
            repeat
                n = n + 1
                a:publish("topics/big", ('{"n":%d,"pad":"%s"}'):format(n, ("x"):rep(30000)))
                assert(wait.now() < deadline, "nothing was dropped")
            until n % 10 == 0 and a:metric "bellhop_edge_messages_dropped_total" > 3
            one.deaf = false
            a:publish("topics/big", '"end"')
            clients:till(function() return one:count "gap" > 0 end, 10, "a gap")
            clients:till(function()
                a:publish("topics/big", '"marker"')
                return one:data()[#one:data()] == '"marker"'
            end, 10, "the messages behind it")
            -- Each hole is behind a gap: numbers are contiguous, or a gap came between.
            local last, told = 0, false
            for _, event in ipairs(one.events) do
                local got = event.kind == "message" and tonumber(event.data:match '"n":(%d+)')
                told = told or event.kind == "gap"
                if got and got > 0 then
                    assert.is_true(got == last + 1 or told and got > last, ("%d behind %d"):format(got, last))
                    last, told = got, false
                end
            end
            assert.are.equal(0, #one.errors)
        end)
    end

    each_protocol("is told a gap, and is not closed again and again, when it misses more than its queue", function(protocol)
        local a = start(with "close")
        local one = clients:open(a, protocol, "topic=big&user=far"):wait_open()
        a:publish("topics/big", '"first"')
        one:next "message"
        one:leave "fin"
        local witness = clients:open(a, "json", "topic=big&user=near"):wait_open()
        for n = 1, 100 do
            local data = ('{"n":%d,"pad":"%s"}'):format(n, ("x"):rep(100000))
            a:publish("topics/big", data)
            witness:until_message(data)
        end
        one:reopen(a)
        one:next "gap"
        a:publish("topics/big", '"live"')
        assert.are.same({'"first"', '"live"'}, one:until_message '"live"')
        assert.is_truthy(one.sock)
        assert.are.equal(0, a:metric "bellhop_edge_slow_consumers_total")
    end)
end)

describe("many clients that come back", function()
    after_each(stop)

    it("share the reads of one topic", function()
        local a = start {count = 1, env = {BELLHOP_HISTORY_WINDOW_BYTES = "0"}}
        local first = clients:open(a, "json", "topic=news&user=1"):wait_open()
        local since = first.last_id:gsub("1%.[^,]*,?(.*)$", "%0")
        for n = 1, 5 do a:publish("topics/news", tostring(n)) end
        first:until_message "5"
        local before = a:metric "bellhop_core_stream_reads_total"
        local list = {}
        local news = since:match(resume.hash "topic:news" .. ":%d+%-%d+")
        for n = 1, 200 do
            list[n] = clients:open(a, PROTOCOLS[n % 2 + 1], "topic=news&user=1", {since = "1." .. news})
        end
        for _, one in ipairs(list) do
            assert.are.same({"1", "2", "3", "4", "5"}, one:until_message "5")
            assert.are.equal(0, one:count "gap")
        end
        -- Each comes in a moment of its own; a read that is under way serves all who ask meanwhile.
        local reads = a:metric "bellhop_core_stream_reads_total" - before
        assert.is_true(reads <= 100, reads .. " reads")
    end)

    it("cost none at all within the window", function()
        local a = start {count = 1}
        local first = clients:open(a, "json", "topic=news&user=1"):wait_open()
        local news = first.last_id:match(resume.hash "topic:news" .. ":%d+%-%d+")
        for n = 1, 5 do a:publish("topics/news", tostring(n)) end
        first:until_message "5"
        local before = a:metric "bellhop_core_stream_reads_total"
        local list = {}
        for n = 1, 200 do
            list[n] = clients:open(a, PROTOCOLS[n % 2 + 1], "topic=news&user=1", {since = "1." .. news})
        end
        for _, one in ipairs(list) do assert.are.same({"1", "2", "3", "4", "5"}, one:until_message "5") end
        assert.are.equal(before, a:metric "bellhop_core_stream_reads_total")
    end)
end)

describe("a client that asks for the same gap again and again", function()
    after_each(stop)

    each_protocol("costs Redis nothing", function(protocol)
        local a = start {count = 1, env = {BELLHOP_HISTORY_WINDOW_BYTES = "0"}}
        local witness = clients:open(a, "json", "topic=news&user=1"):wait_open()
        local since = "1." .. witness.last_id:match(resume.hash "topic:news" .. ":%d+%-%d+")
        for n = 1, 30 do a:publish("topics/news", tostring(n)) end
        witness:until_message "30"
        clients:open(a, protocol, "topic=news&user=1", {since = since}):next "gap"
        local before = a:metric "bellhop_core_stream_reads_total"
        for _ = 1, 50 do
            local one = clients:open(a, protocol, "topic=news&user=1", {since = since})
            one:next "gap"
            one:leave "reset"
        end
        assert.are.equal(before, a:metric "bellhop_core_stream_reads_total")
    end)
end)
