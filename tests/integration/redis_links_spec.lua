-- Links to Redis: a host name with several addresses, links that swallow bytes, and a Redis that is busy
-- for a moment.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local process = require "process"
local proxy = require "proxy"
local redis = require "redis"
local socket = require "socket"
local traffic = require "traffic"
local wait = require "wait"
local ws = require "ws"

local function stop_all()
    ws.drop_all()
    daemon.stop_all()
    proxy.stop_all()
    redis.stop_all()
end

-- libnss_wrapper fills a table of libc on its first lookup without a lock, and links look up at the same time;
-- a sanitizer ends the process for that. There the unit tests of link/addresses have to do.
local SANITIZED = daemon.BIN:find "asan" or daemon.BIN:find "tsan"

if not SANITIZED then describe("a host name with several addresses", function()
    local dir, server, listener

    before_each(function() dir, server = process.temp_dir(), redis.start() end)
    after_each(function()
        stop_all()
        if listener then listener:close() end
        listener = nil
        os.execute("rm -rf " .. process.quote(dir))
    end)

    -- Options of a sanitizer for a preloaded library that it does not know.
    local function tolerant(name, options) return (os.getenv(name) or "") .. ":" .. options end

    -- An instance for which several.test has these addresses.
    local function start(...)
        local lines = {}
        for i, address in ipairs {...} do lines[i] = address .. " several.test\n" end
        return daemon.start {
            redis = ("redis://several.test:%d"):format(server.port), workers = 1,
            env = daemon.short_timeouts {
                LD_PRELOAD = "libnss_wrapper.so",
                NSS_WRAPPER_DISABLE_DEEPBIND = "1",
                NSS_WRAPPER_HOSTS = process.write_file(dir .. "/hosts", table.concat(lines)),
                ASAN_OPTIONS = tolerant("ASAN_OPTIONS", "verify_asan_link_order=0"),
                TSAN_OPTIONS = tolerant("TSAN_OPTIONS", "report_mutex_bugs=0:suppressions=" ..
                    process.write_file(dir .. "/suppressions", "called_from_lib:libnss_wrapper.so\n")),
            },
        }
    end

    local function check_delivery(d)
        local client = ws.connect(d.port, "/ws?user=42")
        d:publish("users/42", "here", "strategy=redis")
        assert.are.equal("here", (client:recv()))
        client:close()
    end

    it("is reached at the second one", function() check_delivery(start("127.0.0.9", "127.0.0.1")) end)

    it("is reached over IPv4 when nobody listens on IPv6", function() check_delivery(start("127.0.0.1", "::1")) end)

    it("is reached when the first one does not answer", function()
        listener = assert(socket.tcp4())
        assert(listener:bind("127.0.0.9", server.port))
        assert(listener:listen(64))
        check_delivery(start("127.0.0.9", "127.0.0.1"))
    end)

    it("is found again after a restart", function()
        local d = start("127.0.0.9", "127.0.0.1")
        server:kill()
        d:wait_ready(503)
        server:restart()
        d:wait_ready(200)
        check_delivery(d)
    end)
end) end

describe("a link that swallows bytes", function()
    local server, link, a, b, flow

    before_each(function()
        server = redis.start(redis.with_debug())
        link = proxy.start(server.port)
        local env = {BELLHOP_REDIS_PROBE_INTERVAL = "0.5"}
        a = daemon.start {redis = link:url(), env = env, args = {"--instance", "node-a"}}
        b = daemon.start {redis = server:url(), env = env, args = {"--instance", "node-b"}}
        flow = traffic.new {
            instances = {a, b}, server = server, timeout = 12,
            targets = {
                {path = "users/42", channel = "notification:42", reaches = {"phone", "tablet"}},
                {path = "topics/x", channel = "notification:topic:x", reaches = {"phone"}},
            },
            clients = {
                phone = ws.connect(a.port, "/ws?user=42&topic=x"), tablet = ws.connect(b.port, "/ws?user=42"),
            },
        }
        flow:run(0.5)
    end)
    after_each(stop_all)

    local function is(d, status)
        return function() return d:ready() == status end
    end

    it("is replaced, though it stays open: that of the subscriptions", function()
        local drops = a:metric "bellhop_redis_drops_total"
        flow:fault_begins()
        link:mute()
        flow:run(is(a, 503), 5, "/readyz 503")
        flow:run(is(a, 200), 5, "/readyz 200")
        flow:fault_ended()
        local late = ws.connect(a.port, "/ws?user=late")
        a:publish("users/late", "here", "strategy=redis")
        assert.are.equal("here", (late:recv()))
        flow:run(0.5)
        flow:check()
        assert.are.equal(1, a:metric "bellhop_redis_takeovers_total")
        assert.are.equal(drops, a:metric "bellhop_redis_drops_total")
        wait.till(function() return server:subscribers "bellhop:probe:node-a" == 1 end, 10, "the old link to be closed")
    end)

    it("is replaced, though it stays open: all of an instance", function()
        flow:fault_begins()
        link:swallow()
        flow:run(is(a, 503), 5, "/readyz 503")
        flow:run(is(a, 200), 15, "/readyz 200")
        flow:fault_ended()
        flow:run(0.5)
        flow:check()
        assert.are.equal(3, a:metric "bellhop_redis_takeovers_total") -- two workers
    end)

    it("is replaced again when its replacement does the same", function()
        for i = 1, 3 do
            flow:fault_begins()
            link:mute()
            flow:run(function() return a:metric "bellhop_redis_takeovers_total" == i end, 5, "a takeover")
            flow:run(is(a, 200), 5, "/readyz 200")
            flow:fault_ended()
        end
        flow:run(0.5)
        flow:check()
    end)

    it("is not a Redis that is busy for two seconds, which loses nothing", function()
        local sleeper = server:client()
        sleeper:write("DEBUG", "SLEEP", "2")
        flow:run(is(a, 503), 2, "/readyz 503")
        flow:run(is(a, 200), 5, "/readyz 200")
        assert.are.equal("OK", sleeper:read())
        flow:run(1)
        flow:check()
        assert.are.equal(0, flow.refused)
        assert.are.equal(0, a:metric "bellhop_redis_takeovers_total")
        sleeper:close()
    end)
end)
