-- The promise of streams while instances and the network fail, under traffic; as streams_redis_spec.lua.
package.path = "tests/support/?.lua;" .. package.path
local cluster = require "streams.cluster"
local streams = require "streams"
local topology = require "topology"

-- Proxies stand between an instance and one Redis.
local it_single = topology.KIND == "single" and it or pending

local net, flow

local function start(options, traffic)
    net = cluster.start(options)
    traffic = traffic or {}
    traffic.instances, traffic.server = net.instances, net.server
    flow = streams.new(traffic)
    flow:settle()
    flow:accept(60)
end

local function finish()
    flow:run(net:are(200), 15, "/readyz 200")
    flow:accept(60)
    flow:finish {gaps = 0, rewinds = 0, again = 0, lost = 0}
end

-- What its clients and publishers see of an instance that ends.
local function gone(d) d.gone = true end

describe("under traffic, clients of streams get everything, once and in order, though an instance", function()
    after_each(cluster.stop_all)

    it("is killed", function()
        start()
        local c = net.instances[3]
        c.process:signal "KILL"
        gone(c)
        assert.are.equal(137, c.process:wait())
        c:stop(137)
        finish()
    end)

    it("is stopped for good", function()
        start()
        local c = net.instances[3]
        c.process:signal "TERM"
        gone(c)
        flow:run(function() return c.process:status() end, 15, "the end of the instance")
        c:stop()
        finish()
    end)

    it("is suspended", function()
        start()
        net.instances[2].process:signal "STOP"
        flow:run(3)
        net.instances[2].process:signal "CONT"
        finish()
    end)

    it("is replaced, one after the other", function()
        start()
        for i = 1, 3 do
            local old = net.instances[i]
            net:add("next-" .. i):wait_ready()
            old.process:signal "TERM"
            gone(old)
            flow:run(function() return old.process:status() end, 15, "the end of the instance")
            old:stop()
        end
        finish()
    end)
end)

describe("under traffic, clients of streams get everything, once and in order, though one instance", function()
    after_each(cluster.stop_all)

    local function others_are_ready()
        return net.instances[1]:ready() == 200 and net.instances[3]:ready() == 200
    end

    local function is(status)
        return function() return net.instances[2]:ready() == status end
    end

    it_single("is cut off from Redis", function()
        start({proxies = true})
        net.proxies[2]:cut()
        flow:run(is(503), 8, "/readyz 503")
        flow:accept(40)
        assert.is_true(others_are_ready())
        net.proxies[2]:resume()
        finish()
    end)

    it_single("hears nothing from Redis", function()
        start({proxies = true})
        net.proxies[2]:pause()
        flow:run(is(503), 8, "/readyz 503")
        flow:accept(40)
        net.proxies[2]:resume()
        finish()
    end)

    it_single("loses what Redis sends, while the links stay", function()
        start({proxies = true})
        local before = net:subscriber_links()
        net.proxies[2]:mute()
        flow:accept(40)
        flow:run(function()
            for id in pairs(net:subscriber_links()) do
                if not before[id] then return true end
            end
            return false
        end, 10, "a new link")
        finish()
    end)

    it_single("has lost the last messages before it was quiet, while the links stay", function()
        start({proxies = true})
        net.proxies[2]:mute()
        flow:accept(20)
        flow:finish({gaps = 0, rewinds = 0, again = 0, lost = 0}, 80)
    end)

    it_single("has its links reset, again and again", function()
        start({proxies = true})
        for _ = 1, 3 do
            local before = net:subscriber_links()
            for _, p in ipairs(net.proxies) do p:drop() end
            flow:run(net:links_renewed(before), 10, "new links")
            flow:accept(20)
        end
        finish()
    end)

    it_single("is far from Redis", function()
        start({proxies = true})
        net.proxies[2]:delay(200)
        flow:accept(60)
        net.proxies[2]:delay(0)
        finish()
    end)
end)
