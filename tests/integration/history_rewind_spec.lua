-- Streams when Redis comes back older, is replaced by a replica, or has a clock that is behind: no message is lost
-- silently. And a model of the log under random appends, reads, removals and rewinds.
package.path = "tests/support/?.lua;" .. package.path
local history = require "history"
local redis = require "redis"
local wait = require "wait"

local function micros(server)
    local time = server:call "TIME"
    return math.tointeger(time[1]) * 1000000 + math.tointeger(time[2])
end

-- The library may know a mark for 100 ms.
local function pass_mark(server)
    local from = micros(server)
    wait.till(function() return micros(server) - from > 110000 end, 10, "Redis' time to pass")
end

-- A client that connects again after a restart.
local function reconnecting(server)
    local self = {}
    function self.call(_, ...)
        if not self.client then self.client = assert(server:client()) end
        return self.client:call(...)
    end
    function self.drop()
        if self.client then self.client:close() end
        self.client = nil
    end
    return self
end

local function rewind(server, client)
    client.drop()
    server:kill()
    server:restart()
end

local function start_pair()
    local args = {"--repl-diskless-sync-delay", "0"}
    return redis.start(args), redis.start(args)
end

local function wait_replica(replica, master)
    assert(replica:call("REPLICAOF", "127.0.0.1", master.port))
    wait.till(function() return replica:call("INFO", "replication"):find "master_link_status:up" end, 20, "the replica")
end

-- All that was written there is here, too.
local function wait_synced(replica, master)
    local function offset(server) return server:call("INFO", "replication"):match "master_repl_offset:(%d+)" end
    wait.till(function() return offset(replica) == offset(master) end, 10, "the replica to have all")
end

for _, how in ipairs(history.WAYS) do
    describe("streams of a Redis that loses data, by " .. how, function()
        after_each(redis.stop_all)

        local function append(s, ...)
            local reply
            for _, payload in ipairs {...} do reply = assert(s:append(payload)) end
            return reply
        end

        it("give all that is new to who had seen more than the snapshot has", function()
            local server = redis.start()
            local client = reconnecting(server)
            history.load(client)
            local s = history.stream(client, "notification:snap", how)
            local epoch = append(s, "1", "2", "3", "4", "5")[2]
            client:call "SAVE"
            append(s, "6", "7", "8")
            rewind(server, client)
            -- Nothing was appended since: all up to the top is there, in the epoch that is there.
            local found = s:read(epoch, 8)
            assert.are.same({"ok", 5, 5, epoch, {}}, {found.status, found.since, found.top, found.epoch, found.payloads})
            local now = append(s, "new6", "new7", "new8", "new9")
            assert.are.equal(9, now[1])
            assert.are_not.equal(epoch, now[2])
            found = s:read(epoch, 8)
            assert.are.same({"ok", 5, {"new6", "new7", "new8", "new9"}}, {found.status, found.since, found.payloads})
            assert.are.same({"4", "5", "new6", "new7", "new8", "new9"}, s:read(epoch, 3).payloads)
            assert.are.same({"new9"}, s:read(now[2], 8).payloads)
            assert.are.equal(0, s:remove(7, epoch)) -- there it was another message
            assert.are.equal(1, s:remove(5, epoch))
        end)

        it("have an epoch of their own after each rewind to one snapshot, with a clock that is behind", function()
            local server = redis.start()
            local client = reconnecting(server)
            history.load(client)
            local s = history.stream(client, "notification:clock", how)
            local future = (1 << 52) + 7
            append(s, "1", "2")
            local state = client:call("HGET", s.m, "s")
            client:call("HSET", s.m, "s", state:sub(1, 8) .. (">I8"):pack(future) .. state:sub(17), "e",
                ("%d"):format(future), "p0", ("%d 0"):format(future))
            client:call "SAVE"
            local epochs = {}
            for i = 1, 3 do
                append(s, "lost3")
                rewind(server, client)
                epochs[i] = append(s, "3", "4")[2]
                assert.is_true(epochs[i] > future and epochs[i] < future + 65538)
                assert.are.same({"3", "4"}, s:read(future, 3).payloads)
                if i > 1 then assert.are.equal("gap", s:read(epochs[i - 1], 3).status) end
                rewind(server, client)
            end
            assert.are_not.equal(epochs[1], epochs[2])
            assert.are_not.equal(epochs[2], epochs[3])
        end)

        it("go on in a new epoch on a replica that is promoted, and back", function()
            local a, b = start_pair()
            history.load(a:client())
            wait_replica(b, a)
            local on_a = history.stream(a:client(), "notification:ha", how)
            local on_b = history.stream(b:client(), "notification:ha", how)
            local first = append(on_a, "1", "2", "3", "4", "5")[2]
            wait_synced(b, a)
            assert.are.equal("gap", on_b:read(first, 8).status) -- a replica asks for the mark of its master
            b:call("REPLICAOF", "NO", "ONE")
            append(on_a, "lost6", "lost7", "lost8")
            local second = append(on_b, "6")[2] -- and has not kept it
            assert.are_not.equal(first, second)
            local found = on_b:read(first, 8)
            assert.are.same({"ok", 5, {"6"}}, {found.status, found.since, found.payloads})

            wait_replica(a, b)
            append(on_b, "7")
            wait_synced(a, b)
            pass_mark(a)
            a:call("REPLICAOF", "NO", "ONE")
            append(on_b, "lost8 in b")
            local third = append(on_a, "8", "9")[2]
            assert.is_true(third ~= second and third ~= first)
            assert.are.same({"8", "9"}, on_a:read(second, 8).payloads)
            assert.are.same({"6", "7", "8", "9"}, on_a:read(first, 8).payloads)
            assert.are.equal("gap", on_a:read(third, 11).status)
        end)

        it("take a mark that changed without a loss for harmless", function()
            local a, b = start_pair()
            history.load(a:client())
            local s = history.stream(a:client(), "notification:attach", how)
            local first = append(s, "1", "2")[2]
            wait_replica(b, a)
            pass_mark(a)
            append(s, "3")
            local found = s:read(first, 2)
            assert.are.same({"ok", 2, {"3"}}, {found.status, found.since, found.payloads})
        end)

        it("can be read while Redis refuses writes", function()
            local a, b = start_pair()
            history.load(a:client())
            wait_replica(b, a)
            local s = history.stream(a:client(), "notification:refuse", how)
            local epoch = append(s, "1", "2")[2]
            a:call("CONFIG", "SET", "min-replicas-to-write", "2")
            local _, why = s:append "3"
            assert.matches("NOREPLICAS", why)
            assert.are.same({"2"}, s:read(epoch, 1).payloads)
            assert.are.same({"2", "1"}, s:page("desc").payloads)
            a:call("CONFIG", "SET", "min-replicas-to-write", "0")
            wait_synced(b, a)
            local on_b = history.stream(b:client(), "notification:refuse", how)
            assert.are.same({"2"}, on_b:read(epoch, 1).payloads)
            assert.matches("READONLY", select(2, on_b:append "x"))
        end)
    end)

    -- --- the model ---

    -- One stream as it must be: a list of entries {offset, payload, gone, size, collapse}, the first of which may be
    -- hidden, because it is trimmed lazily.
    local function new_model() return {top = 0, entries = {}, ids = {}, keys = {}} end

    local function copy(value)
        if type(value) ~= "table" then return value end
        local new = {}
        for k, v in pairs(value) do new[k] = copy(v) end
        return new
    end

    local TOMBSTONE_SIZE = 48

    local function model_append(m, payload, options)
        m.top = m.top + 1
        local entry = {offset = m.top, payload = payload, size = 48 + 4 + #(options.id or "") + #payload}
        if options.collapse then
            for _, one in ipairs(m.entries) do
                if one.offset == m.keys[options.collapse] then one.gone, one.size = true, TOMBSTONE_SIZE end
            end
            m.keys[options.collapse] = m.top
        end
        if options.id then m.ids[options.id] = m.top end
        m.entries[#m.entries + 1] = entry
        m.size = options.size
        local total = 0
        for _, one in ipairs(m.entries) do total = total + one.size end
        local slack = m.size < 128 and m.size // 8 or 16
        if #m.entries > m.size + slack or total > options.bytes then
            while #m.entries > 1 and (#m.entries > m.size or total > options.bytes) do
                total = total - table.remove(m.entries, 1).size
            end
        end
    end

    local function visible(m)
        local list = {}
        for i = math.max(1, #m.entries - (m.size or 100) + 1), #m.entries do list[#list + 1] = m.entries[i] end
        return list
    end

    local function model_remove(m, offset)
        for _, one in ipairs(visible(m)) do
            if one.offset == offset and not one.gone then
                one.gone, one.size = true, TOMBSTONE_SIZE
                return 1
            end
        end
        return 0
    end

    describe("a model of a stream, by " .. how, function()
        local server, client, s, m, saved, epoch, payloads, clients

        lazy_setup(function()
            server = redis.start()
            client = reconnecting(server)
            history.load(client)
        end)
        lazy_teardown(redis.stop_all)

        -- What a client has: its position, and each payload that it was given. What was appended before it was told of a
        -- gap is excused; payloads begin with a number.
        local function new_client() return {epoch = 0, offset = 0, seen = {}, excused = 0} end

        local function live()
            local list = {}
            for _, one in ipairs(visible(m)) do
                if not one.gone then list[#list + 1] = one.payload end
            end
            return list
        end

        local function read(c)
            local found = assert(s:read(c.epoch, c.offset))
            if found.status == "absent" then
                s:begin()
                m.top = 0
                return read(c)
            end
            if found.status == "ok" then
                local is_rewound = found.since < c.offset
                for i, entry in ipairs(found) do
                    assert.are.equal(found.since + i, entry.offset)
                    if entry.kind == history.DATA then
                        assert.is_true(is_rewound or not c.seen[entry.payload], entry.payload .. " came twice")
                        c.seen[entry.payload] = true
                    end
                end
                assert.are.equal(found.top, found.since + #found)
            else
                c.excused = payloads
            end
            c.epoch, c.offset = found.epoch, found.top
            for _, payload in ipairs(live()) do
                local is_told = c.seen[payload] or tonumber(payload:match "%d+") <= c.excused
                assert.is_true(is_told, payload .. " is missing")
            end
            return found
        end

        local function append(random)
            payloads = payloads + 1
            local options = {size = random(20) == 1 and random(30) or m.size or 10, bytes = random(20) == 1 and 400 or 3000}
            if random(3) == 1 then options.id = "id" .. random(payloads) end
            if random(4) == 1 then options.collapse = "key" .. random(4) end
            local payload = payloads .. ("x"):rep(random(80))
            local reply = assert(s:append(payload, options))
            local known = options.id and m.ids[options.id]
            if known then
                assert.are.same({known, 1}, {reply[1], reply[4]})
                return
            end
            model_append(m, payload, options)
            assert.are.same({m.top, 0}, {reply[1], reply[4]})
            epoch = reply[2]
        end

        local function check_log()
            assert.are.same(live(), s:page("asc").payloads)
            local _, top = s:tops()
            if top then assert.are.equal(m.top, top) end
        end

        local function remove(random)
            if random(10) == 1 then
                assert.are.equal(#live(), s:remove "all")
                m.entries = {}
            else
                local offset = random(m.top + 1)
                assert.are.equal(model_remove(m, offset), s:remove(offset))
            end
        end

        local steps = {
            append, append, append, append, append, append,
            function(random) read(clients[random(#clients)]) end,
            function(random) read(clients[random(#clients)]) end,
            function(random) if random(4) == 1 then remove(random) end end,
            function(random)
                if random(20) == 1 then
                    client:call "SAVE"
                    saved = copy(m)
                end
            end,
            function(random)
                if saved and random(20) == 1 then
                    rewind(server, client)
                    m = copy(saved)
                end
            end,
            function(random)
                if random(60) > 1 then return end
                local kind = random(3)
                if kind < 3 then client:call("DEL", kind == 1 and s.log or s.m) end
                if kind == 1 then
                    m.entries = {}
                elseif kind == 2 then
                    m.ids, m.keys = {}, {}
                    if #m.entries == 0 then m.top, m.size = 0, nil end
                    m.size = m.size and 1000 -- nothing is known of it before the next append
                else
                    client:call("DEL", s.log, s.m)
                    m = new_model()
                end
            end,
            check_log,
        }

        it("is what Redis has, and no client misses anything that it is not told", function()
            for seed = 1, 12 do
                math.randomseed(seed)
                local random = math.random
                s = history.stream(client, "notification:model" .. seed, how)
                m, saved, payloads, clients = new_model(), nil, 0, {}
                for i = 1, 4 do clients[i] = new_client() end
                for step = 1, 400 do
                    local ok, why = pcall(steps[random(#steps)], random)
                    if not ok then
                        error(("seed %d, step %d: %s"):format(seed, step, type(why) == "table" and why.message or tostring(why)))
                    end
                end
                assert.is_truthy(epoch)
            end
        end)
    end)
end
