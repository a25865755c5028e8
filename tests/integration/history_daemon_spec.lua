-- Histories in Redis through the daemon: rights, links that are cut while messages are published,
-- functions that are flushed, a Redis that is full.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local redis = require "redis"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts {BELLHOP_REDIS_PUBLISH_QUEUE = "1000"}
local CONFIG = 'return { history = { { topic = "user:*", size = 1000, ttl = 3600 } } }'
local LOG, META, user -- of each test its own

-- Plain backends append by functions.
local it_7 = redis.version() >= 7 and it or pending

local server

local function start(name, url)
    local file = process.write_file(process.temp_dir() .. "/bellhop.conf.lua", CONFIG)
    return daemon.start {
        redis = url or server:url(), env = ENV, args = {"--config", file, "--instance", name}, wait = url and "alive" or nil,
    }
end

local function finish()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function publish(d, text, query)
    return d:request("POST", "/api/users/" .. user .. "/messages" .. (query and "?" .. query or ""), {body = text})
end

local users = 0
local function next_user()
    users = users + 1
    user = "user-" .. users
    LOG, META = ("{notification:%s}:log"):format(user), ("{notification:%s}:m"):format(user)
end

local function connect(d) return ws.connect(d.port, "/ws?user=" .. user) end

local function length() return server:call("LLEN", LOG) end

-- The payloads of the log: each begins behind a head of 48 bytes, origin and id.
local function log_payloads()
    local found = {}
    for i, entry in ipairs(server:call("LRANGE", LOG, "0", "-1")) do
        found[i] = entry:sub(49 + entry:byte(8) + entry:byte(9))
    end
    return found
end

describe("a history in Redis", function()
    local a, b

    setup(function()
        server = redis.start()
        a, b = start "node-a", start "node-b"
    end)
    teardown(finish)
    before_each(next_user)
    after_each(ws.drop_all)

    it("has each message once, in order, and delivers it on all instances", function()
        local here, there = connect(a), connect(b)
        for i = 1, 5 do assert.are.equal(200, publish(i % 2 == 0 and a or b, "m" .. i).status) end
        for i = 1, 5 do
            check.next(here, "m" .. i)
            check.next(there, "m" .. i)
        end
        assert.are.same({"m1", "m2", "m3", "m4", "m5"}, log_payloads())
    end)

    it("knows an id on another instance", function()
        assert.are.equal(200, publish(a, "once", "id=the-id").status)
        local again = publish(b, "once", "id=the-id")
        assert.are.equal(200, again.status)
        assert.is_truthy(again.body:find('"duplicate":true', 1, true), again.body)
        assert.are.equal(1, length())
    end)

    it("loses and doubles nothing while links are cut", function()
        local ids = 0
        for round = 1, 6 do
            local session = assert(http.open(a.port))
            for _ = 1, 50 do
                ids = ids + 1
                session:send(http.format("POST", "/api/users/" .. user .. "/messages?id=cut-" .. ids, {body = "c" .. ids}))
            end
            server:call("CLIENT", "KILL", "TYPE", round % 2 == 0 and "pubsub" or "normal")
            for i = 1, 50 do
                local answer = assert(session:response("POST", 20))
                assert.are.equal(200, answer.status, "round " .. round .. ", message " .. i .. ": " .. answer.body)
            end
            session:close()
            a:wait_ready()
        end
        local seen = {}
        for _, payload in ipairs(log_payloads()) do
            assert.is_nil(seen[payload], payload .. " is there twice")
            seen[payload] = true
        end
        assert.are.equal(ids, length())
    end)

    it_7("brings what others appended while nothing was received", function()
        local sockets = {connect(a), connect(a), connect(b)}
        assert.are.equal(200, publish(a, "first").status)
        for _, socket in ipairs(sockets) do check.next(socket, "first") end
        server:call("CLIENT", "KILL", "TYPE", "pubsub")
        for i = 1, 3 do server:call("FCALL", "bellhop_publish", "2", LOG, META, "from a backend " .. i) end
        for _, socket in ipairs(sockets) do
            for i = 1, 3 do check.next(socket, "from a backend " .. i) end
        end
        assert.are.equal(200, publish(b, "last").status)
        for _, socket in ipairs(sockets) do check.next(socket, "last") end
    end)

    it("goes on in a Redis that comes back without its data", function()
        local socket = connect(b)
        assert.are.equal(200, publish(a, "before").status)
        check.next(socket, "before")
        server:kill()
        server:restart()
        a:wait_ready()
        b:wait_ready()
        assert.are.equal(200, publish(a, "after").status)
        check.next(socket, "after")
        assert.are.same({"after"}, log_payloads())
    end)

    it("goes on when functions are flushed", function()
        for i = 1, 3 do
            server:call("FUNCTION", "FLUSH")
            assert.are.equal(200, publish(a, "f" .. i).status)
        end
        assert.are.equal(3, length())
    end)

    it("refuses messages while Redis is full, and takes them afterwards", function()
        assert.are.equal(200, publish(a, "first").status)
        server:call("CONFIG", "SET", "maxmemory", "1")
        assert.are_not.equal(200, publish(a, "no room").status)
        server:call("CONFIG", "SET", "maxmemory", "0")
        assert.are.equal(200, publish(a, "room").status)
        assert.are.same({"first", "room"}, log_payloads())
    end)
end)

describe("the rights of a Redis user for a history", function()
    local a

    setup(function() server = redis.start() end)
    teardown(finish)
    before_each(next_user)

    local function rights(pattern)
        local file = assert(io.open "docs/scaling.md")
        local words = {}
        for word in assert(file:read "a":match("\nACL SETUSER bellhop " .. pattern)):gmatch "%S+" do words[#words + 1] = word end
        file:close()
        assert.are.equal("OK", server:call("ACL", "SETUSER", "bellhop", table.unpack(words)))
    end

    it("are asked for every command that the library calls", function()
        local text = ""
        for name in process.run({"ls", "lua/redis/history", "lua/redis/history/head"}):gmatch "%l+%.lua" do
            local file = io.open("lua/redis/history/" .. name) or assert(io.open("lua/redis/history/head/" .. name))
            text = text .. file:read "a"
            file:close()
        end
        local commands = assert(text:match 'local commands = "([^"]+)"') .. " "
        for command in text:gmatch 'call%("(%u+)"' do
            assert.is_truthy(commands:find(command .. " ", 1, true), command .. " is missing in check.lua")
        end
    end)

    it("are told by readiness, and those of docs/scaling.md are enough", function()
        rights "(on >secret resetchannels ~ws:%* &notification:%* &bellhop:probe:%* %-@all [^\n]+)"
        a = start("node-a", server:url "bellhop:secret")
        wait.till(function()
            local answer = a:request("GET", "/readyz")
            return answer.status == 503 and answer.body:find("ACL SETUSER bellhop ~{notification:*", 1, true)
        end, 10)
        assert.are_not.equal(200, publish(a, "refused").status)
        rights "(~{notification:%*[^\n]+)"
        a:wait_ready()
        assert.are.equal(200, publish(a, "accepted").status)
        assert.are.same({"accepted"}, log_payloads())
    end)
end)
