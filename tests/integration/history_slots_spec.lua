-- The functions of the history in a Redis Cluster: channels of several slots, and a slot that migrates key by key.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "redis_cluster"
local history = require "history"
local redis = require "redis"

-- Without shard channels there is no way to publish in a slot.
local describe_7 = redis.version() >= 7 and describe or pending

for _, how in ipairs(history.WAYS) do
    describe_7("the history in a Redis Cluster by " .. how, function()
        local nodes, count = nil, 0

        lazy_setup(function()
            nodes = cluster.start(3)
            for _, node in ipairs(nodes.nodes) do history.load(node) end
        end)
        lazy_teardown(cluster.stop_all)

        local function on(node, channel)
            local s = history.stream(node:client(), channel, how)
            s.publish_command = "SPUBLISH"
            return s
        end

        -- A channel of the first node, its stream there, and the slot.
        local function of_first_node()
            while true do
                count = count + 1
                local channel = "notification:move" .. count
                local node, slot = nodes:node_of(channel)
                if node == nodes.nodes[1] then return channel, on(node, channel), slot end
            end
        end

        -- The stream at the target of a migration, each call behind ASKING.
        local function asking(node, channel)
            local s = on(node, channel)
            local client = s.client
            s.client = {call = function(_, ...)
                assert(client:call "ASKING" == "OK")
                return client:call(...)
            end}
            return s
        end

        it("works for channels of every node", function()
            local used = {}
            for i = 1, 12 do
                local channel = "notification:user" .. i
                local node = nodes:node_of(channel)
                used[node] = true
                local listener = node:client("SSUBSCRIBE", channel)
                local s = on(node, channel)
                local epoch = assert(s:begin())[1]
                assert.are.same({1, epoch, 1, 0}, s:append("a", {id = "1", collapse = "k"}))
                assert.are.same({2, epoch, 1, 0}, s:append("b", {collapse = "k"}))
                assert.are.same({"-", "b"}, s:read(epoch, 0).payloads)
                assert.are.same({"b"}, s:page("asc").payloads)
                assert.are.equal(1, s:remove(2))
                assert.are.equal(0, s:remove "all")
                local seen = {}
                for k = 1, 5 do
                    local m = listener:read()
                    assert.are.same({"smessage", channel}, {m[1], m[2]})
                    seen[k] = history.parse(m[3]).payload
                end
                assert.are.same({"a", "b", "1", "2", "all"}, seen)
                for _, other in ipairs(nodes.nodes) do
                    if other ~= node then assert.matches("^MOVED ", select(2, on(other, channel):append "x")) end
                end
                listener:close()
            end
            for _, node in ipairs(nodes.nodes) do assert.is_true(used[node]) end
        end)

        if how == "FCALL" then
            it("publishes messages of plain backends to the subscribers of the slot", function()
                local channel, s = of_first_node()
                local listener = nodes.nodes[1]:client("SSUBSCRIBE", channel)
                assert.are.equal(1, s:publish "hello"[3])
                assert.are.equal("hello", history.parse(listener:read()[3]).payload)
                listener:close()
            end)
        end

        it("writes one log while a slot migrates key by key", function()
            local from, to = nodes.nodes[1], nodes.nodes[2]
            local channel, source, slot = of_first_node()
            local target = asking(to, channel)
            local epoch = source:append("a", {id = "1"})[2]
            source:append "b"
            cluster.start_migration(slot, from, to)

            -- Both keys are at the source, which goes on.
            assert.are.same({3, epoch, 0, 0}, source:append "c")
            assert.are.same({"b", "c"}, source:read(epoch, 1).payloads)

            -- One key has moved: nobody can answer, and nobody writes.
            cluster.move(source.log, from, to)
            local log = to:client()
            log:call "ASKING"
            local before = log:call("DUMP", source.log)
            for _, s in ipairs {source, target} do
                for _, reply in ipairs {table.pack(s:append("d", {id = "4"})), table.pack(s:read(epoch, 1)),
                    table.pack(s:remove "all"), table.pack(s:begin()), table.pack(s:page "asc")} do
                    assert.is_nil(reply[1])
                    assert.matches("^TRYAGAIN ", reply[2])
                end
            end
            log:call "ASKING"
            assert.are.equal(before, log:call("DUMP", source.log))

            -- Both have moved.
            cluster.move(source.m, from, to)
            assert.matches("^ASK " .. slot, select(2, source:append("d", {id = "4"})))
            assert.matches("^ASK " .. slot, select(2, source:read(epoch, 1)))
            local reply = assert(target:append("d", {id = "4"}))
            assert.are.same({4, 0}, {reply[1], reply[4]})
            assert.are_not.equal(epoch, reply[2]) -- another data set, another mark
            assert.are.same({"b", "c", "d"}, target:read(epoch, 1).payloads)
            assert.are.same({1, epoch, 0, 1}, target:append("a", {id = "1"}))

            cluster.finish_migration(slot, from, to)
            assert.matches("^MOVED ", select(2, source:append "e"))
            local moved = on(to, channel)
            assert.are.same({5, reply[2], 0, 0}, moved:append "e")
            assert.are.same({"a", "b", "c", "d", "e"}, moved:read(epoch, 0).payloads)
            assert.are.equal(0, from:call("CLUSTER", "COUNTKEYSINSLOT", slot))
            cluster.start_migration(slot, to, from) -- back, for the next one
            cluster.move(source.log, to, from)
            cluster.move(source.m, to, from)
            cluster.finish_migration(slot, to, from)
        end)

        it("does not begin a stream that has no keys yet, or lacks one, while its slot migrates", function()
            local from, to = nodes.nodes[1], nodes.nodes[2]
            local channel, source, slot = of_first_node()
            local target = asking(to, channel)
            cluster.start_migration(slot, from, to)
            assert.matches("^ASK ", select(2, source:append "a"))
            assert.matches("^TRYAGAIN ", select(2, target:append "a"))
            assert.matches("^ASK ", select(2, source:begin()))
            assert.matches("^TRYAGAIN ", select(2, target:begin()))
            for _, node in ipairs {from, to} do assert.are.equal(0, node:call("CLUSTER", "COUNTKEYSINSLOT", slot)) end
            cluster.finish_migration(slot, from, to)
            assert.are.equal(1, on(to, channel):append "a"[1])
        end)
    end)
end
