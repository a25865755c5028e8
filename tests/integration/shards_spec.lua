-- Topics spread over three independent Redis nodes: each on the node of the documented hash; the failure
-- of a node affects only its topics.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local topology = require "topology"
local traffic = require "traffic"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts()

-- The part of a user, as include/bellhop/backend/redis.h says: CRC16/XMODEM of the id, mod 16.
local function part_of(user)
    local crc = 0
    for c in user:gmatch "." do
        crc = crc ~ c:byte() << 8
        for _ = 1, 8 do crc = (crc & 0x8000 ~= 0 and crc << 1 ~ 0x1021 or crc << 1) & 0xffff end
    end
    return crc % 16
end

local PARTS = 16
local nodes, a, b

local function node_of(topic) return topology.shard_of(nodes, topic) end

-- The node of each part: the parts in their order, each on the best of the nodes that are not full.
local function nodes_of_parts()
    local list, used = {}, {}
    for part = 0, PARTS - 1 do
        local best, greatest
        for _, node in ipairs(nodes) do
            local w = topology.weight(("127.0.0.1:%d/0"):format(node.port), ("{ws%d}:"):format(part))
            local full = (used[node] or 0) >= math.ceil(PARTS / #nodes)
            if not full and (not best or math.ult(greatest, w)) then best, greatest = node, w end
        end
        list[part] = best
        used[best] = (used[best] or 0) + 1
    end
    return list
end

-- A user whose topic is on this node.
local function user_on(node, prefix)
    for i = 1, 1000 do
        local user = (prefix or "u") .. i
        if node_of("user:" .. user) == node then return user end
    end
end

local function both_are(status)
    return function() return a:ready() == status and b:ready() == status end
end

local function urls()
    local list = {}
    for i, node in ipairs(nodes) do list[i] = node:url() end
    return list
end

describe("several Redis", function()
    setup(function()
        nodes = {redis.start(), redis.start(), redis.start()}
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/bellhop.conf.lua",
            ('return { redis = { url = { "%s" } } }'):format(table.concat(urls(), '", "')))
        a = daemon.start {redis = table.concat(urls(), ","), env = ENV, args = {"--instance", "node-a"}}
        b = daemon.start {env = ENV, args = {"-c", file, "--instance", "node-b"}}
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
        redis.stop_all()
    end)
    after_each(ws.drop_all)

    it("share topics by their names, not by how channels encode them", function()
        for _, node in ipairs(nodes) do
            local user = user_on(node, "us:{%}/")
            local client = ws.connect(a.port, "/ws?user=" .. user:gsub("%%", "%%25"))
            local channel = "notification:" .. user:gsub("us:{%%}/", "us%%3A%%7B%%25%%7D%%2F")
            assert.are.equal(1, node:call("PUBLISH", channel, "by Redis"), channel)
            check.next(client, "by Redis")
            b:publish("users/" .. user:gsub("%W", function(c) return ("%%%02X"):format(c:byte()) end), "by the API")
            check.next(client, "by the API")
        end
    end)

    it("share the topics as documented", function()
        for i, node in ipairs(nodes) do
            local user = user_on(node)
            local here, there = ws.connect(a.port, "/ws?user=" .. user), ws.connect(b.port, "/ws?user=" .. user)
            for _, other in ipairs(nodes) do
                assert.are.equal(other == node and 2 or 0, other:subscribers("notification:" .. user))
            end
            a:publish("users/" .. user, "by the API")
            check.next(here, "by the API")
            check.next(there, "by the API")
            assert.are.equal(2, node:call("PUBLISH", "notification:" .. user, "by Redis " .. i))
            check.next(here, "by Redis " .. i)
            check.next(there, "by Redis " .. i)
        end
        assert.are.equal(2, node_of("all"):subscribers "notification:broadcast")
        local reader = ws.connect(b.port, "/ws?topic=news&tenant=7")
        a:publish("topics/news", "for readers")
        check.next(reader, "for readers")
        a:publish("tenants/7", "for the tenant")
        check.next(reader, "for the tenant")
    end)

    it("track connections, also of topics on other nodes", function()
        for _, node in ipairs(nodes) do
            local user = user_on(node)
            ws.connect(b.port, "/ws?user=" .. user)
            wait.till(function()
                return a:request("GET", "/api/users/" .. user).body:find '"instance":"node%-b"'
            end, 2, "node-b in the answer")
        end
    end)

    it("fail independently", function()
        local dead
        for i = 2, 3 do
            if node_of "all" ~= nodes[i] then dead = nodes[i] end
        end
        local lost, kept = user_on(dead), user_on(nodes[1])
        local clients = {}
        for _, user in ipairs {lost, kept} do clients[user] = ws.connect(b.port, "/ws?user=" .. user) end
        dead:kill()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        assert.is_truthy(a:request("GET", "/readyz").body:find("a Redis node is down", 1, true))
        a:wait_metric("bellhop_redis_shards_down", 1, 5)
        a:wait_log("node=127.0.0.1:" .. dead.port .. "/0", 5)
        local answer = a:request("POST", "/api/users/" .. lost .. "/messages", {body = "x"})
        check.error(answer, 503, "broker_unavailable")
        assert.is_truthy(answer.body:find("the Redis node of this topic is down", 1, true), answer.body)
        a:publish("users/" .. kept, "still here")
        check.next(clients[kept], "still here")
        local late = ws.connect(a.port, "/ws?user=" .. lost) -- keeps nobody out
        dead:restart()
        for _, d in ipairs {a, b} do d:wait_ready() end
        a:publish("users/" .. lost, "back")
        check.next(clients[lost], "back")
        check.next(late, "back")
        a:wait_metric("bellhop_redis_shards_down", 0, 5)
    end)

    it("may lose one under traffic, without duplicates and without an effect on the others", function()
        local dead = node_of "all" == nodes[3] and nodes[2] or nodes[3]
        local clients, targets, kept = {}, {}, {}
        for i, node in ipairs(nodes) do
            local user = user_on(node)
            local both = {"a" .. i, "b" .. i}
            clients[both[1]] = ws.connect(a.port, "/ws?user=" .. user)
            clients[both[2]] = ws.connect(b.port, "/ws?user=" .. user)
            targets[i] = {path = "users/" .. user, reaches = both}
            if node ~= dead then kept[#kept + 1] = targets[i] end
        end
        local flow = traffic.new {instances = {a, b}, targets = targets, clients = clients}
        flow:run(0.4)
        flow:fault_begins()
        dead:kill()
        flow:run(both_are(503), 5, "/readyz 503")
        flow:run(function() return flow.refused > 0 end, 3, "a refusal")
        for _, target in ipairs(kept) do
            for _, d in ipairs {a, b} do d:publish(target.path, "on a node that lives", "strategy=redis") end
        end
        dead:restart()
        flow:run(both_are(200), 15, "/readyz 200")
        flow:fault_ended()
        flow:run(0.6)
        flow:check()
    end)

    it("spread the tracking as documented, and one that is down takes only its users along", function()
        local of_part, users = nodes_of_parts(), {}
        for part = 0, PARTS - 1 do
            local n = 0
            repeat n = n + 1 until part_of("t" .. n) == part
            users[part] = "t" .. n
            ws.connect(b.port, "/ws?tenant=7&user=" .. users[part])
        end
        local function is_found(part)
            return a:request("GET", "/api/users/" .. users[part]).body:find('"instance":"node-b"', 1, true)
        end
        local function tenants() return a:request("GET", "/api/tenants/7") end
        for part = 0, PARTS - 1 do
            wait.till(function() return is_found(part) end, 5, users[part])
            assert.are.equal(1, of_part[part]:call("EXISTS", ("{ws%d}:connections:%s"):format(part, users[part])))
        end
        for _, node in ipairs(nodes) do assert.are.same({}, node:call("KEYS", "ws:*")) end
        wait.till(function() return tenants().body:find '"connections":16' end, 5, "16 connections of the tenant")
        local dead = nodes[2]
        dead:kill()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        for part = 0, PARTS - 1 do
            if of_part[part] == dead then
                check.error(a:request("GET", "/api/users/" .. users[part]), 503, "tracker_unavailable")
            else
                assert.is_truthy(is_found(part), users[part])
            end
        end
        check.error(tenants(), 503, "tracker_unavailable")
        dead:restart()
        for _, d in ipairs {a, b} do d:wait_ready() end
        for part = 0, PARTS - 1 do wait.till(function() return is_found(part) end, 10, users[part]) end
        wait.till(function() return tenants().body:find '"connections":16' end, 10, "16 connections of the tenant")
    end)

    it("report errors for each item of a batch; broadcasts have a node, too", function()
        local dead, lives = node_of "all", nil
        for _, node in ipairs(nodes) do
            if node ~= dead then lives = node end
        end
        local lost, kept = user_on(dead), user_on(lives)
        local client = ws.connect(b.port, "/ws?user=" .. kept)
        dead:kill()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        local down = "the Redis node of this topic is down"
        check.error(a:request("POST", "/api/broadcast?strategy=redis", {body = "x"}), 503, "broker_unavailable", down)
        local answer = a:request("POST", "/api/publish", {body =
            ('[{"user":"%s","data":1,"strategy":"redis"},{"user":"%s","data":2,"strategy":"redis"}]'):format(lost, kept)})
        local first, second = answer.body:match "^%[(.*),\n(.*)%]\n$"
        assert.is_truthy(first:find('"code":"broker_unavailable"', 1, true) and first:find(down, 1, true), first)
        assert.is_truthy(second:find('"status":"published"', 1, true), second)
        check.next(client, "2")
        dead:restart()
        for _, d in ipairs {a, b} do d:wait_ready() end
        check.quiet(a, client)
    end)

    it("are refused if duplicate or invalid", function()
        local function refusal(url)
            local output, status = process.run({daemon.BIN, "check"}, {BELLHOP_REDIS_URL = url})
            assert.are.equal(1, status, output)
            return output
        end
        assert.is_truthy(refusal("redis://x:1,redis://y:1,redis://x:1"):find("URLs 1 and 3 are the same node", 1, true))
        assert.is_truthy(refusal("redis://x:1,redis://:secret@y:none"):find("URL 2 of 2", 1, true))
        assert.is_falsy(refusal("redis://x:1,redis://:secret@y:none"):find("secret", 1, true))
        -- The same node in other words: default port, database, case of the scheme.
        assert.is_truthy(refusal("redis://x,redis://y,REDIS://x:6379/0"):find("URLs 1 and 3 are the same node", 1, true))
    end)

    it("are checked in the configuration file, too", function()
        local dir = process.temp_dir()
        for list, text in pairs {
            ['"redis://x:1", "redis://y:1", "redis://y:1"'] = "URLs 2 and 3 are the same node",
            ['"redis://x:1", "http://y:1"'] = "URL 2 of 2",
            ['"redis://x:1", 7'] = "a URL, or a list of URLs",
        } do
            local file = process.write_file(dir .. "/bellhop.conf.lua", ("return { redis = { url = { %s } } }"):format(list))
            local output, status = process.run {daemon.BIN, "check", "-c", file}
            assert.are.equal(1, status, output)
            assert.is_truthy(output:find(text, 1, true), output)
        end
        os.execute("rm -rf " .. process.quote(dir))
    end)
end)
