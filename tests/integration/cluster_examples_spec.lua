-- The programs of examples/cluster against a real cluster: each begins at a server that does not have the key.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "redis_cluster"
local history = require "history"
local languages = require "languages"
local process = require "process"

local CHANNEL, STREAM = "notification:topic:news", "{notification:42}:log"

describe("examples/cluster", function()
    local c, foreign

    lazy_setup(function()
        c = cluster.start(3)
        for _, master in ipairs(c:masters()) do history.load(master:client()) end
        local owner, other = c:node_of(CHANNEL), c:node_of(STREAM)
        for _, master in ipairs(c:masters()) do
            if master ~= owner and master ~= other then foreign = master end
        end
    end)

    lazy_teardown(cluster.stop_all)

    -- A plain subscriber of the topic, and what publish.* has to print for the stream.
    local function subscribe()
        local client = c:node_of(CHANNEL):client()
        assert(client:call("SSUBSCRIBE", CHANNEL))
        return client
    end

    for _, suffix in ipairs(languages.suffixes) do
        it("publish." .. suffix .. " publishes with SPUBLISH and FCALL", function()
            local words, why = languages.command("examples/cluster", suffix, c.nodes[1].dir)
            if not words then return pending(why) end
            local subscriber = subscribe()
            local s = history.stream(c:node_of(STREAM):client(), "notification:42")
            local _, top = s:tops()
            top = top or 0
            for known = 0, 1 do
                local output, status = process.run(words, {REDIS_PORT = tostring(foreign.port)})
                assert.are.equal(0, status, output)
                assert.are.equal(("1\n%d\n%d\n0\n%d\n"):format(top + 1, s:tops(), known), output)
                local message = assert(subscriber:read(10))
                assert.are.equal("smessage", message[1])
                assert.matches('^{"text":"from ', message[3])
            end
            subscriber:close()
        end)
    end
end)
