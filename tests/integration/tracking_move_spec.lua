-- From tracking on the first of several Redis, which key_prefix = "ws:" keeps, to 16 parts on all of them,
-- and back, one instance after the other: what docs/scaling.md says about it.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local wait = require "wait"
local ws = require "ws"

local USERS = 40
local ENV = {
    BELLHOP_TRACKING_LEASE = "2",
    BELLHOP_TRACKING_DEBOUNCE = "0.2",
    BELLHOP_WEBSOCKET_CLOSE_TIMEOUT = "1",
    BELLHOP_SERVER_DRAIN_TIMEOUT = "2",
}
local ONE, PARTS = {BELLHOP_TRACKING_KEY_PREFIX = "ws:"}, {}

-- The two blocks of docs/scaling.md.
local function documented()
    local file = assert(io.open "docs/scaling.md")
    local text = file:read("a"):match "### From one prefix to 16 parts, and back\n(.-)\n### "
    file:close()
    local blocks = {}
    for block in text:gmatch "```sh\n(.-)```" do blocks[#blocks + 1] = block end
    assert(#blocks == 2)
    return blocks[1], blocks[2]
end
local REMOVE_ONE, REMOVE_PARTS = documented()

local nodes, instances

local function start(name, how)
    local urls = {}
    for i, node in ipairs(nodes) do urls[i] = node:url() end
    local env = daemon.short_timeouts(ENV)
    for key, value in pairs(how) do env[key] = value end
    local d = daemon.start {redis = table.concat(urls, ","), env = env, args = {"--instance", name}}
    d.name = name
    return d
end

-- The users of an instance: odd numbers are those of the first, even ones of the second.
local function connect(i)
    for n = i, USERS, 2 do ws.connect(instances[i].port, "/ws?tenant=7&user=u" .. n) end
end

local function finds(d, n)
    return d:request("GET", "/api/users/u" .. n).body:find('"instance":"' .. instances[2 - n % 2].name, 1, true)
end

local function wait_all_found(by, users)
    for _, d in ipairs(by) do
        for _, n in ipairs(users) do
            wait.till(function() return finds(d, n) end, 10, function() return d.name .. " to find u" .. n end)
        end
    end
end

local function numbers(first)
    local list = {}
    for n = first, USERS, first and 2 or 1 do list[#list + 1] = n end
    return list
end
local ODD, EVEN = numbers(1), numbers(2)

local function keys(pattern)
    local count = 0
    for _, node in ipairs(nodes) do count = count + #node:call("KEYS", pattern) end
    return count
end

local function remove(line)
    for _, node in ipairs(nodes) do
        local output, status = process.run({"sh", "-c", line}, {NODE = node:url()})
        assert.are.equal(0, status, output)
    end
end

local function start_both(how)
    nodes = {redis.start(), redis.start()}
    instances = {start("node-a", how), start("node-b", how)}
    connect(1)
    connect(2)
    wait_all_found(instances, ODD)
    wait_all_found(instances, EVEN)
end

-- One after the other; `crash`: the second one is killed.
local function move(how, crash)
    instances[1]:stop()
    instances[1] = start("node-a", how)
    connect(1)
    -- Each kind of instance knows the connections of its own kind.
    wait_all_found({instances[1]}, ODD)
    wait_all_found({instances[2]}, EVEN)
    for n = 1, USERS do assert.is_falsy(finds(instances[1 + n % 2], n), "u" .. n) end
    if crash then instances[2].process:stop "KILL" end
    instances[2]:stop(crash and 137 or 0)
    instances[2] = start("node-b", how)
    connect(2)
    wait_all_found(instances, ODD)
    wait_all_found(instances, EVEN)
    wait.till(function()
        local body = instances[1]:request("GET", "/api/tenants/7").body
        return body:find('"connections":' .. USERS, 1, true) and not body:find("partial", 1, true)
    end, 5, "all connections of the tenant")
end

-- All instances end; then nothing is left but the ends of their leases.
local function stop_both(kept)
    ws.drop_all()
    for _, pattern in ipairs {"*connections:*", "*tenant:*", "*instance:*", "*presence", "*leaving"} do
        wait.till(function() return keys(pattern) == 0 end, 10, function() return "no key " .. pattern end)
    end
    for _, d in ipairs(instances) do d:stop() end
    assert.are.equal(keys("*"), keys(kept .. "instances") + keys(kept .. "pulse") + keys(kept .. "reaped"))
end

describe("tracking moves", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)

    it("from one prefix to 16 parts", function()
        start_both(ONE)
        assert.are.equal(0, keys "{ws*}:*")
        assert.are.equal(USERS, #nodes[1]:call("KEYS", "ws:connections:*"))
        move(PARTS)
        assert.are.equal(0, keys "ws:connections:*" + keys "ws:instance:*") -- both ended cleanly
        nodes[1]:call("SET", "ws:timer:mine", "of a script")
        remove(REMOVE_ONE)
        assert.are.equal(1, keys "ws:*")
        assert.are.equal("of a script", nodes[1]:call("GET", "ws:timer:mine"))
        nodes[1]:call("DEL", "ws:timer:mine")
        for _, node in ipairs(nodes) do assert.are.equal(8, #node:call("KEYS", "{ws*}:instances")) end
        assert.are.equal(USERS, keys "{ws*}:connections:*")
        stop_both "{ws*}:"
    end)

    it("from 16 parts to one prefix", function()
        start_both(PARTS)
        assert.are.equal(0, keys "ws:*")
        move(ONE)
        assert.are.equal(0, keys "{ws*}:connections:*" + keys "{ws*}:instance:*")
        remove(REMOVE_PARTS)
        assert.are.equal(0, keys "{ws*}:*")
        assert.are.equal(USERS, #nodes[1]:call("KEYS", "ws:connections:*"))
        assert.are.equal(0, nodes[2]:call "DBSIZE")
        stop_both "ws:"
    end)

    it("though the last instance of the old kind dies", function()
        start_both(ONE)
        move(PARTS, true)
        assert.is_true(keys "ws:connections:*" >= #EVEN) -- nobody removes them
        remove(REMOVE_ONE)
        assert.are.equal(0, keys "ws:*")
        start("node-c", ONE):stop()
        remove(REMOVE_ONE)
        wait_all_found(instances, EVEN)
        stop_both "{ws*}:"
    end)
end)
