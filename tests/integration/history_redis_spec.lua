-- The functions of the history inside a real Redis, by FCALL and by EVAL: what is appended, read, kept, removed,
-- and what is answered when Redis or a key has lost something.
package.path = "tests/support/?.lua;" .. package.path
local history = require "history"
local languages = require "languages"
local process = require "process"
local redis = require "redis"
local wait = require "wait"

local count = 0
local function unique(name)
    count = count + 1
    return ("notification:%s.%d"):format(name, count)
end

local function micros(server)
    local time = server:call "TIME"
    return math.tointeger(time[1]) * 1000000 + math.tointeger(time[2])
end

-- Until so many ms of Redis' time are over.
local function pass(server, ms)
    local from = micros(server)
    wait.till(function() return micros(server) - from > ms * 1000 end, 10, "Redis' time to pass")
end

for _, how in ipairs(history.WAYS) do
    describe("the history in Redis by " .. how, function()
        local server, client

        lazy_setup(function()
            server = redis.start()
            client = server:client()
            history.load(client)
        end)
        lazy_teardown(redis.stop_all)

        local function open(name) return history.stream(client, unique(name), how) end

        local function appended(s, payloads, options)
            local reply
            for _, payload in ipairs(payloads) do reply = assert(s:append(payload, options)) end
            return reply
        end

        it("numbers messages and gives those behind a position", function()
            local s = open "numbers"
            local reply = appended(s, {"a", "b", "c"})
            local epoch = reply[2]
            assert.are.same({3, epoch, 0, 0}, reply)
            assert.are.same({epoch, 3}, {s:tops()})
            local found = s:read(epoch, 1)
            assert.are.same({"ok", 3, 1, {"b", "c"}}, {found.status, found.top, found.since, found.payloads})
            assert.are.same({2, 3}, {found[1].offset, found[2].offset})
            assert.is_true(math.abs(found.now - found[2].at) < 10000)
            assert.are.same({"ok", {}}, {s:read(epoch, 3).status, s:read(epoch, 3).payloads})
            assert.are.same({"new", 3}, {s:read(0, 0).status, s:read(0, 0).since})
            assert.are.equal("gap", s:read(epoch, 4).status)
            assert.are.equal("gap", s:read(epoch + 1, 1).status)
            assert.are.equal("gap", s:read(epoch, 0, 2).status)
            assert.are.equal("gap", s:read(epoch, 0, 3, 150).status)
            assert.are.equal("ok", s:read(epoch, 1, 3, 150).status)
        end)

        it("publishes the bytes of the entry", function()
            local s = open "publish"
            local listener = server:client("SUBSCRIBE", s.channel)
            local reply = s:append("hello", {id = "x1", message_ttl = 5000})
            assert.are.equal(1, reply[3])
            local bytes = listener:read()[3]
            assert.are.equal(bytes, client:call("LINDEX", s.log, 0))
            local entry = history.parse(bytes)
            assert.are.same({1, "x1", 5000, "hello", 1, reply[2]},
                {entry.offset, entry.id, entry.ttl, entry.payload, entry.opcode, entry.epoch})
            listener:close()
        end)

        it("keeps size, and the bytes of a rule", function()
            local s = open "size"
            local options = {size = 3}
            local reply = appended(s, {"a", "b", "c", "d", "e"}, options)
            assert.are.equal("gap", s:read(reply[2], 1).status)
            assert.are.same({"c", "d", "e"}, s:read(reply[2], 2).payloads)
            local big = ("x"):rep(300)
            reply = appended(s, {big, "f", "g"}, {size = 100, bytes = 500})
            assert.are.same({big, "f", "g"}, s:read(reply[2], 5).payloads)
            assert.are.equal("gap", s:read(reply[2], 4).status)
            appended(s, {("y"):rep(1000)}, {size = 100, bytes = 500}) -- the last one stays
            assert.are.same({("y"):rep(1000)}, s:read(reply[2], 8).payloads)
            appended(s, {"h", "i"}, {size = 1}) -- mode latest
            assert.are.same({"i"}, s:page("asc").payloads)
            assert.are.equal(1, client:call("LLEN", s.log))
        end)

        it("removes many at once when a rule gets smaller, and not all in one call", function()
            local s = open "shrink"
            for i = 1, 2500 do assert(s:append(("%d"):format(i), {size = 5000})) end
            local reply = appended(s, {"a"}, {size = 2})
            assert.are.equal(1501, client:call("LLEN", s.log))
            assert.are.same({"2500", "a"}, s:page("asc").payloads)
            assert.are.equal("gap", s:read(reply[2], 2498).status)
            appended(s, {"b", "c"}, {size = 2})
            assert.are.equal(2, client:call("LLEN", s.log))
        end)

        it("answers an id again without appending, until its time is over", function()
            local s = open "ids"
            local first = s:append("a", {id = "one"})
            assert.are.same({1, first[2], 0, 1}, s:append("a", {id = "one"}))
            assert.are.same({2, first[2], 0, 0}, s:append("b", {id = "two"}))
            assert.are.same({1, first[2], 0, 1}, s:append("a", {id = "one"}))
            pass(server, 20)
            assert.are.same({3, first[2], 0, 0}, s:append("a", {id = "one", id_ttl = 20}))
            assert.are.same({"a", "b", "a"}, s:page("asc").payloads)
        end)

        it("forgets ids and collapse keys that are over as appends go on", function()
            local s = open "sweep"
            for i = 1, 600 do
                assert(s:append("x", {id = "id" .. i, collapse = "key" .. i, size = 10, id_ttl = 1}))
                if i % 64 == 0 then pass(server, 1) end
            end
            assert.is_true(client:call("HLEN", s.m) < 400)
        end)

        it("replaces by a collapse key and tells it", function()
            local s = open "collapse"
            local listener = server:client("SUBSCRIBE", s.channel)
            appended(s, {"a1", "b"}, {collapse = "k"})
            local reply = appended(s, {"c", "a2"})
            s:append("a3", {collapse = "k"})
            assert.are.same({"-", "-", "c", "a2", "a3"}, s:read(reply[2], 0).payloads)
            assert.are.same({"c", "a2", "a3"}, s:page("asc").payloads)
            local seen = {}
            for i = 1, 7 do
                local m = history.parse(listener:read()[3])
                seen[i] = m.kind == history.PURGE and "purge " .. m.payload .. " at " .. m.offset or m.payload
            end
            assert.are.same({"a1", "b", "purge 1 at 2", "c", "a2", "a3", "purge 2 at 5"}, seen)
            listener:close()
        end)

        it("counts the bytes of what was replaced, removed and trimmed", function()
            local s = open "bytes"
            local function total() return (string.unpack(">I5", client:call("HGET", s.m, "s"), 25)) end
            local function actual()
                local sum = 0
                for _, entry in ipairs(client:call("LRANGE", s.log, 0, -1)) do sum = sum + #entry end
                return sum
            end
            for i = 1, 60 do
                local options = {size = 20, id = i % 3 == 0 and "i" .. i or nil, collapse = i % 2 == 0 and "k" .. i % 10 or nil}
                s:append(("x"):rep(i * 7 % 90), options)
                if i % 5 == 0 then s:remove(("%d"):format(math.max(1, i - i % 7))) end
                assert.are.equal(actual(), total())
            end
        end)

        it("removes one and leaves its number", function()
            local s = open "remove"
            local listener = server:client("SUBSCRIBE", s.channel)
            local reply = appended(s, {"a", "b", "c"})
            assert.are.equal(1, s:remove(2, reply[2]))
            assert.are.equal(0, s:remove(2))
            assert.are.equal(0, s:remove(9))
            assert.are.equal(0, s:remove(1, reply[2] + 1))
            assert.are.same({"a", "-", "c"}, s:read(reply[2], 0).payloads)
            for _ = 1, 3 do listener:read() end
            local purge = history.parse(listener:read()[3])
            assert.are.same({history.PURGE, "2", 3, reply[2]}, {purge.kind, purge.payload, purge.offset, purge.epoch})
            listener:close()
        end)

        it("removes all, so that nobody misses anything up to there", function()
            local s = open "floor"
            local reply = appended(s, {"a", "b", "c"})
            assert.are.equal(3, s:remove "all")
            local found = s:read(reply[2], 1)
            assert.are.same({"ok", 3, 3}, {found.status, found.since, found.top})
            appended(s, {"d"})
            assert.are.same({"d"}, s:read(reply[2], 1).payloads)
            assert.are.equal(0, open "nothing":remove "all")
        end)

        it("turns pages in both orders, without tombstones and what is over", function()
            local s = open "pages"
            local reply = appended(s, {"1", "2", "3", "4", "5", "6"})
            local epoch = reply[2]
            s:remove(3)
            s:append("7", {message_ttl = 1})
            pass(server, 2)
            local function page(...)
                local found = s:page(...)
                return {found.status, table.concat(found.payloads), found.more}
            end
            assert.are.same({"ok", "12", 1}, page("asc", 0, 0, 2))
            assert.are.same({"ok", "45", 1}, page("asc", epoch, 2, 2))
            assert.are.same({"ok", "6", 0}, page("asc", epoch, 5, 2))
            assert.are.same({"ok", "65", 1}, page("desc", 0, 0, 2))
            assert.are.same({"ok", "421", 0}, page("desc", epoch, 5, 3))
            assert.are.same({"ok", "6", 1}, page("desc", 0, 0, 3, 1))
            assert.are.same({"gap", "12", 1}, page("asc", 5, 2, 2))
            assert.are.same({"absent", "", 0}, {open "none":page("asc").status, "", 0})
            for i = 1, 200 do s:append(("%03d"):format(i), {size = 200}) end
            local all, at = {}, 0
            repeat
                local found = s:page("asc", at > 0 and epoch or 0, at, 70)
                for i, payload in ipairs(found.payloads) do all[#all + 1], at = payload, found[i].offset end
            until found.more == 0
            assert.are.same({200, "001", "200"}, {#all, all[1], all[200]})
            assert.are.equal("gap", s:page("asc", epoch, 1, 5).status)
        end)

        it("gives a stream without keys an epoch when asked", function()
            local s = open "begin"
            assert.are.equal("absent", s:read(0, 0).status)
            assert.are.equal("absent", s:read(7, 7).status)
            assert.is_nil(s:tops())
            local begun = assert(s:begin())
            assert.are.same({begun[1], 0}, {s:tops()})
            assert.are.same(begun, s:begin {revision = 5})
            assert.are.equal("gap", s:read(7, 7).status)
            assert.are.same({"ok", {}}, {s:read(begun[1], 0).status, s:read(begun[1], 0).payloads})
            assert.are.same({1, begun[1], 0, 0}, s:append "a")
            assert.are.same({"a"}, s:read(begun[1], 0).payloads)
            assert.is_true(client:call("PTTL", s.m) > 2592000000)
        end)

        it("goes on when the log is gone, and when the meta is", function()
            local s = open "gone"
            local epoch = appended(s, {"a", "b"})[2]
            client:call("DEL", s.log)
            assert.are.equal("ok", s:read(epoch, 2).status)
            assert.are.equal("gap", s:read(epoch, 1).status)
            assert.are.same({3, epoch, 0, 0}, s:append "c")
            assert.are.same({"c"}, s:read(epoch, 2).payloads)

            client:call("DEL", s.m)
            assert.are.same({"ok", 3}, {s:read(epoch, 2).status, s:read(epoch, 2).top})
            assert.are.equal("new", s:read(0, 0).status)
            local reply = s:append "d"
            assert.are.equal(4, reply[1])
            assert.are_not.equal(epoch, reply[2])
            assert.are.same({"c", "d"}, s:read(epoch, 2).payloads)
            assert.are.equal("gap", s:read(epoch - 1, 2).status)

            client:call("DEL", s.m)
            assert.are.same({s:begin()[2]}, {4})
            assert.are.same({"c", "d"}, s:page("asc").payloads)
            client:call("DEL", s.m)
            assert.are.equal(2, s:remove "all")
            assert.are.equal(4, (select(2, s:tops())))

            client:call("DEL", s.m, s.log)
            assert.are.equal("absent", s:read(reply[2], 4).status)
            assert.are.equal(1, s:append "e"[1])
            assert.are.equal("gap", s:read(reply[2], 4).status)
        end)

        it("does not give what is older than ttl, before and after Redis has removed it", function()
            local s = open "ttl"
            local options = {ttl = 300, position_ttl = 100000}
            local epoch = appended(s, {"a", "b"}, options)[2]
            assert.are.same({"a", "b"}, s:read(epoch, 0).payloads)
            assert.is_true(client:call("PTTL", s.log) > 300)
            wait.till(function() return s:read(epoch, 0).status == "gap" end, 10, "the entries to be too old")
            assert.are.same({}, s:page("asc").payloads)
            assert.are.equal("ok", s:read(epoch, 2).status)
            wait.till(function() return client:call("EXISTS", s.log) == 0 end, 10, "the log to expire")
            assert.are.equal("gap", s:read(epoch, 0).status)
            assert.are.same({3, epoch, 0, 0}, s:append("c", options))
            assert.are.same({"c"}, s:read(epoch, 2).payloads)
            -- An append to a log that is too old but still there begins with an empty one.
            client:call("PERSIST", s.log)
            pass(server, 301)
            s:append("d", options)
            assert.are.same({"d"}, s:page("asc").payloads)
            assert.is_true(client:call("PTTL", s.log) > 300)
        end)

        it("sets the expiry of keys again only when a tenth of the ttl has gone", function()
            local s = open "expire"
            s:append("a", {ttl = 100000, position_ttl = 300000})
            client:call("PEXPIRE", s.log, 5000)
            client:call("PEXPIRE", s.m, 5000)
            repeat -- the tenths are counted from 1970
                local same = micros(server) // 10000000
                s:append("b", {ttl = 100000, position_ttl = 300000})
            until micros(server) // 10000000 == same
            local is_same = client:call("PTTL", s.log) <= 5000
            local state = client:call("HGET", s.m, "s")
            client:call("HSET", s.m, "s", state:sub(1, 16) .. (">I8"):pack((">I8"):unpack(state, 17) - 10000) .. state:sub(25))
            s:append("c", {ttl = 100000, position_ttl = 300000})
            assert.is_true(client:call("PTTL", s.log) > 100000)
            assert.is_true(client:call("PTTL", s.m) > 300000)
            assert.is_boolean(is_same)
        end)

        it("begins an epoch without parents at another revision", function()
            local s = open "revision"
            local first = appended(s, {"a", "b"})
            local second = s:append("c", {revision = 2})
            assert.are.equal(3, second[1])
            assert.are_not.equal(first[2], second[2])
            assert.are.equal("gap", s:read(first[2], 2).status)
            assert.are.same({4, second[2], 0, 0}, s:append("d", {revision = 2}))
        end)

        it("keeps eight epochs", function()
            local s = open "epochs"
            local epochs = {}
            for i = 1, 10 do
                epochs[i] = s:append(("%d"):format(i))[2]
                local state = client:call("HGET", s.m, "s") -- as if Redis had another mark
                client:call("HSET", s.m, "s", state:sub(1, 35) .. ("%06d"):format(i) .. state:sub(42))
            end
            assert.are.equal("gap", s:read(epochs[2], 2).status)
            assert.are.same({"4", "5", "6", "7", "8", "9", "10"}, s:read(epochs[3], 3).payloads)
            assert.are.same({"9", "10"}, s:read(epochs[8], 17).payloads)
        end)

        it("ends with an error before numbers get inexact", function()
            local s = open "end"
            local epoch = s:append "a"[2]
            local last = (1 << 53) - 1
            local state = client:call("HGET", s.m, "s")
            client:call("HSET", s.m, "t", ("%d"):format(last - 1), "s", (">I8"):pack(last - 1) .. state:sub(9))
            assert.are.same({last, epoch, 0, 0}, s:append("b", {id = "last"}))
            local before = s:dump()
            local reply, why = s:append("c", {id = "more"})
            assert.is_nil(reply)
            assert.matches("^HISTORYOFFSET ", why)
            assert.are.equal(before, s:dump())
            assert.are.same({last, epoch, 0, 1}, s:append("b", {id = "last"}))
            assert.are.same({"b"}, s:read(epoch, last - 1).payloads)
        end)

        it("refuses wrong arguments and keys of another type, and changes nothing", function()
            local s = open "wrong"
            for _, rule in ipairs {{size = 0}, {ttl = 0}, {position_ttl = 5}, {size = 1 << 40}} do
                local reply, why = s:append("a", rule)
                assert.is_nil(reply)
                assert.matches("^ERR the rule is", why)
            end
            assert.matches("ERR", select(2, s:run("append", "short", "", "", history.rule(), "PUBLISH")))
            local head, rest = history.envelope "a"
            assert.matches("ERR publish", select(2, s:run("append", head, rest, "", history.rule(), "FLUSHALL")))
            assert.matches("ERR", select(2, s:run("append")))
            assert.matches("ERR", select(2, s:run("read", "x", "1", "1", "1")))
            assert.matches("ERR", select(2, s:run "read"))
            assert.matches("ERR", select(2, s:run("page", "up", "1", "1", "1", "1")))
            assert.matches("ERR", select(2, s:run("remove", "-1", "PUBLISH")))
            assert.matches("ERR", select(2, s:run("remove", "1", "DEL")))
            assert.matches("ERR", select(2, s:run("begin", "1 2")))
            assert.are.equal("|", s:dump())
            client:call("SET", s.log, "text")
            assert.matches("WRONGTYPE", select(2, s:append "a"))
            client:call("DEL", s.log)
            s:append "a"
            client:call("DEL", s.log)
            client:call("SET", s.log, "text")
            local before = s:dump()
            assert.matches("WRONGTYPE", select(2, s:append("b", {id = "x"})))
            assert.are.equal(before, s:dump())
            client:call("DEL", s.log, s.m)
            client:call("RPUSH", s.log, "other")
            assert.matches("is not a log of bellhop", select(2, s:append "a"))
            client:call("DEL", s.log)
            client:call("SET", s.m, "text")
            assert.matches("WRONGTYPE", select(2, s:append "a"))
            client:call("DEL", s.m)
        end)

        it("writes nothing when Redis is out of memory, and reads and removes", function()
            local s = open "oom"
            local epoch = appended(s, {"a", "b"})[2]
            local before = s:dump()
            client:call("CONFIG", "SET", "maxmemory", "1")
            local _, why = s:append("c", {id = "c", collapse = "k"})
            local found = s:read(epoch, 0)
            local removed = how == "FCALL" and s:remove(1) or 1 -- EVAL cannot say that it may
            client:call("CONFIG", "SET", "maxmemory", "0")
            assert.matches("OOM", why)
            if how == "EVAL" then assert.are.equal(before, s:dump()) end
            assert.are.same({"a", "b"}, found.payloads)
            assert.are.equal(1, removed)
            assert.are.same({3, epoch, 0, 0}, s:append("c", {id = "c", collapse = "k"}))
        end)

        it("never gives other messages when keys were evicted", function()
            local list, heads = {}, {}
            client:call("CONFIG", "SET", "maxmemory-policy", "volatile-random")
            client:call("CONFIG", "SET", "maxmemory", ("%d"):format(
                tonumber(client:call("INFO", "memory"):match "used_memory:(%d+)") + 1000000))
            for i = 1, 300 do
                list[i] = open "evict"
                for k = 1, 8 do
                    local reply = list[i]:append("m" .. i .. "." .. k .. ("x"):rep(500))
                    heads[i] = heads[i] or reply
                end
            end
            local evicted = tonumber(client:call("INFO", "stats"):match "evicted_keys:(%d+)")
            client:call("CONFIG", "SET", "maxmemory", "0")
            client:call("CONFIG", "SET", "maxmemory-policy", "noeviction")
            for i, s in ipairs(list) do
                if heads[i] then
                    local found = s:read(heads[i][2], heads[i][1])
                    if found.status == "ok" then
                        for k, entry in ipairs(found) do assert.are.equal(heads[i][1] + k, entry.offset) end
                    end
                    local reply = assert(s:append "next")
                    local after = s:read(heads[i][2], heads[i][1])
                    if after.status == "ok" then assert.are.equal("next", after.payloads[#after]) end
                    assert.are.equal("next", s:page("desc", 0, 0, 1).payloads[1])
                    assert.is_true(reply[2] == heads[i][2] or reply[2] > heads[i][2])
                end
            end
            assert.is_true(evicted > 0)
        end)
    end)
end

-- Redis 7 and later have functions.
local is_7 = redis.version() >= 7
local it_7, describe_7 = is_7 and it or pending, is_7 and describe or pending

describe("the library of the history", function()
    lazy_teardown(redis.stop_all)

    it("is one text that luacheck accepts, and is in the program", function()
        local text = history.library()
        local binary = os.getenv "BELLHOP_BIN" and io.open(os.getenv "BELLHOP_BIN", "rb")
        if binary then
            local all = binary:read "a"
            binary:close()
            -- Sections of the program that are not used yet are not linked into it.
            if all:find("#!lua name=bellhop", 1, true) then assert.is_truthy(all:find(text, 1, true)) end
        end
        local dir = process.temp_dir()
        local path = process.write_file(dir .. "/library.lua", text)
        local output, status = process.run {"luacheck", "--quiet", "--no-color", "--std", "lua51", "--globals", "redis",
            "struct", "--max-line-length", "130", path}
        os.execute("rm -rf " .. process.quote(dir))
        if status ~= 127 then assert.are.equal("", (output:gsub("Total: 0 warnings.*", ""))) end
    end)

    it_7("is loaded again after SCRIPT FLUSH and FUNCTION FLUSH, and the stream goes on", function()
        local server = redis.start()
        local client = server:client()
        history.load(client)
        local s = history.stream(client, unique "flush")
        local epoch = s:append "a"[2]
        client:call("SCRIPT", "FLUSH")
        client:call("FUNCTION", "FLUSH")
        assert.matches("Function not found", select(2, s:append "b"))
        history.load(client)
        assert.are.same({2, epoch, 0, 0}, s:append "b")
        assert.are.equal(2, client:call("FCALL", "bellhop_version", 0))
    end)

    it_7("works beside that of another release on the same streams", function()
        local server = redis.start()
        local client = server:client()
        history.load(client)
        local other = history.library():gsub("name=bellhop\n", "name=bellhop2\n"):gsub('"bellhop_', '"bellhop2_')
        assert(client:call("FUNCTION", "LOAD", other))
        local s = history.stream(client, unique "releases")
        local epoch = s:append("a", {id = "1"})[2]
        local head, rest = history.envelope("b", "2")
        assert.are.same({2, epoch, 0, 0},
            client:call("FCALL", "bellhop2_append", 2, s.log, s.m, head, rest, "2", history.rule(), "PUBLISH"))
        assert.are.same({2, epoch, 0, 1}, s:append("b", {id = "2"}))
        s.how = "EVAL"
        assert.are.same({3, epoch, 0, 0}, s:append("c", {id = "3"}))
        assert.are.same({"a", "b", "c"}, s:read(epoch, 0).payloads)
        -- An older instance finds a newer library, which answers its calls.
        assert(client:call("FUNCTION", "LOAD", "REPLACE", (history.library():gsub("VERSION = 2", "VERSION = 3"))))
        s.how = "FCALL"
        assert.are.equal(3, client:call("FCALL", "bellhop_version", 0))
        assert.are.same({4, epoch, 0, 0}, s:append("d", {id = "4"}))
    end)

    it_7("serves plain backends", function()
        local server = redis.start()
        local client = server:client()
        history.load(client)
        local s = history.stream(client, unique "plain")
        local listener = server:client("SUBSCRIBE", s.channel)
        local epoch = s:publish '{"n":1}'[2]
        assert.are.same({2, epoch, 1, 0}, s:publish('{"n":2}', "ID", "n2", "EXPIRES", "60"))
        assert.are.same({2, epoch, 0, 1}, s:publish('{"n":2}', "id", "n2"))
        s:publish("c1", "COLLAPSE", "c")
        s:publish("c2", "COLLAPSE", "c", "SIZE", 3, "TTL", 60)
        local found = s:read(epoch, 1)
        assert.are.same({'{"n":2}', "-", "c2"}, found.payloads)
        assert.are.same({true, 2, "n2", 60000}, {found[1].raw, found[1].opcode, found[1].id, found[1].ttl})
        assert.are.equal("gap", s:read(epoch, 0).status)
        assert.is_true(client:call("PTTL", s.log) <= 66000)
        assert.are.equal('{"n":1}', history.parse(listener:read()[3]).payload)
        s:publish "d" -- what the stream has counts
        assert.are.same({"-", "c2", "d"}, s:read(epoch, 2).payloads)
        -- The first rule of an instance brings its revision, which is no other one.
        assert.are.same({6, epoch, 1, 0}, s:append("e", {revision = 7}))
        assert.are.same({7, epoch, 1, 0}, s:publish "f")
        for _, words in ipairs {{"x", "ID"}, {"x", "ID", "white space"}, {"x", "SIZE", "0"}, {"x", "TTL", "1.5"},
            {"x", "WHAT", "1"}, {"x", "COLLAPSE", ""}, {"x", "EXPIRES", "5000000"}, {}} do
            local reply, why = s:publish(table.unpack(words))
            assert.is_nil(reply)
            assert.matches("^ERR ", why)
        end
        for _, keys in ipairs {{s.m, s.log}, {"a:log", "a:m"}, {"{a}:log", "{b}:m"}, {"{a}b}:log", "{a}b}:m"}} do
            assert.matches("ERR the keys are", select(2, client:call("FCALL", "bellhop_publish", 2, keys[1], keys[2], "x")))
        end
        listener:close()
    end)

    describe_7("called by examples/streams", function()
        local server, client

        lazy_setup(function()
            server = redis.start()
            client = server:client()
            history.load(client)
        end)

        for _, suffix in ipairs(languages.suffixes) do
            it("publish." .. suffix, function()
                local words, why = languages.command("examples/streams", suffix, server.dir)
                if not words then return pending(why) end
                local s = history.stream(client, "notification:42")
                local _, top = s:tops()
                top = top or 0
                local env = {REDIS_PORT = tostring(server.port)}
                for known = 0, 1 do
                    local output, code = process.run(words, env)
                    assert.are.equal(0, code, output)
                    local epoch = s:tops()
                    assert.are.equal(("%d\n%d\n0\n%d\n"):format(top + 1, epoch, known), output)
                end
                assert.matches('^{"text":"from ', s:page("desc", 0, 0, 1).payloads[1])
            end)
        end
    end)

    it_7("needs no more rights than docs/streams.md lists", function()
        local server = redis.start()
        history.load(server:client())
        local line = history.RIGHTS
        local words = {}
        for word in line:gmatch "%S+" do words[#words + 1] = word end
        assert(server:call("ACL", "SETUSER", "bellhop", "on", ">secret", "~{notification:*", "&notification:*", "-@all",
            table.unpack(words)))
        local client = server:client("AUTH", "bellhop", "secret")
        history.load(client)
        for _, how in ipairs {"FCALL", "EVAL"} do
            local s = history.stream(client, unique "rights", how)
            local epoch = assert(s:begin())[1]
            for i = 1, 200 do
                assert(s:append("x", {id = "i" .. i, collapse = "k" .. i % 50, size = i < 100 and 50 or 5, id_ttl = 1,
                    revision = i > 150 and 2 or 1}))
            end
            assert(s:read(epoch, 0))
            assert(s:page("asc"))
            assert(s:remove(199))
            assert(s:remove "all")
        end
        -- Without one of them the number of the refused message is given to the next one.
        for i, missing in ipairs {"-hset", "-ltrim", "-lset", "-rpush", "-hdel"} do
            local s = history.stream(client, unique "half")
            local full = history.stream(server:client(), s.channel)
            for k = 1, 40 do full:append("x", {size = 40, id = "i" .. k, collapse = k > 39 and "k" or nil, id_ttl = 1}) end
            server:call("ACL", "SETUSER", "bellhop", missing)
            local options = {size = 1, collapse = "k", revision = i}
            for _ = 1, 3 do s:append("refused", options) end
            server:call("ACL", "SETUSER", "bellhop", (missing:gsub("-", "+")))
            local reply = full:append("y", {size = 40})
            local entries = client:call("LRANGE", s.log, 0, -1)
            for k, entry in ipairs(entries) do
                assert.are.equal(reply[1] - #entries + k, history.parse(entry).offset, missing)
            end
        end
        -- Without the channel nothing is written.
        server:call("ACL", "SETUSER", "bellhop", "resetchannels", "&other")
        client = server:client("AUTH", "bellhop", "secret")
        local s = history.stream(client, unique "channel")
        local reply, why = s:append "x"
        assert.is_nil(reply)
        assert.matches("^NOPERM this user may not publish to the channel notification:", why)
        assert.are.equal(0, server:call("EXISTS", s.log, s.m))
    end)
end)
