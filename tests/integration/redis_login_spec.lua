-- Authentication at Redis: permissions that are revoked at runtime, wrong passwords that are corrected,
-- sockets, databases and certificates. /readyz, publishers and the log get the reason; after the
-- correction all continues without a restart.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local cluster = require "redis_cluster"
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.short_timeouts()

local server, a, b

local function start(url, how, env)
    a = daemon.start {redis = url, env = env or ENV, args = {"--instance", "node-a"}, wait = how}
    b = daemon.start {redis = url, env = env or ENV, args = {"--instance", "node-b"}, wait = how}
end

local function finish()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function wait_known(user, count) check.known({a, b}, user, count) end

-- Messages in both directions, and each instance lists the connections of the other.
local function works(user)
    for _, d in ipairs {a, b} do d:wait_ready() end
    local here, there = ws.connect(a.port, "/ws?user=" .. user), ws.connect(b.port, "/ws?user=" .. user)
    for _, d in ipairs {a, b} do
        d:publish("users/" .. user, "hello", "strategy=redis")
        check.next(here, "hello")
        check.next(there, "hello")
    end
    wait_known(user, 2)
    here:close()
    there:close()
    wait_known(user, 0)
end

-- Not ready for this reason.
local function wait_reason(d, text)
    local answer
    wait.till(function()
        answer = d:request("GET", "/readyz")
        return answer.status == 503 and answer.body:find(text, 1, true)
    end, 10, function() return ("%q instead of %s\n%s"):format(text, answer.body, d:log()) end)
end

local function acl(...) assert.are.equal("OK", server:call("ACL", "SETUSER", "bellhop", ...)) end

local function cut_all()
    server:call("CLIENT", "KILL", "TYPE", "normal")
    server:call("CLIENT", "KILL", "TYPE", "pubsub")
end

-- The words of the line in a document with this beginning.
local function rights(start_of_line, path)
    path = path or "docs/scaling.md"
    local file = assert(io.open(path))
    local line = file:read "a":match("\nACL SETUSER bellhop (" .. start_of_line .. "[^\n]+)\n")
    file:close()
    local words = {}
    for word in assert(line, path .. " names no such rights"):gmatch "%S+" do words[#words + 1] = word end
    return table.unpack(words)
end

describe("a Redis user with no more commands than docs/scaling.md lists", function()
    setup(function()
        server = redis.start()
        acl(rights "on >secret resetchannels ~ws:%* &notification:%* &bellhop:probe:%* %-@all")
        start(server:url("bellhop:secret", "/2"))
    end)
    teardown(finish)
    after_each(ws.drop_all)

    it("needs no others", function()
        works "42"
        local ghost = daemon.start {
            redis = server:url("bellhop:secret", "/2"), args = {"--instance", "ghost"},
            env = {BELLHOP_TRACKING_LEASE = "1"},
        }
        local one = ws.connect(ghost.port, "/ws?user=43&tenant=7")
        wait_known("43", 1)
        ghost.process:signal "KILL" -- the others clean up after it
        wait_known("43", 0)
        ghost:stop(137)
        one:drop()
        server:call("SCRIPT", "FLUSH")
        works "44"
        assert.are.same({}, server:call("ACL", "LOG"))
    end)
end)

describe("a Redis user with no more rights than docs/cluster.md lists", function()
    teardown(finish)

    it("needs no others, with a history and while slots move", function()
        local c = cluster.start(3, 1, {user = "bellhop:secret"})
        for _, node in ipairs(c.nodes) do
            for _, start_of_line in ipairs {"on >secret ", "%+info "} do
                assert.are.equal("OK", node:call("ACL", "SETUSER", "bellhop", rights(start_of_line, "docs/cluster.md")))
            end
        end
        start(c:url(), nil, daemon.short_timeouts {
            BELLHOP_HISTORY_RULES = '[{"topic":"user:42"}]', BELLHOP_HISTORY_MIN_REPLICAS = "1",
        })
        for _, user in ipairs {"42", "43"} do works(user) end
        for _, name in ipairs {"notification:42", "notification:43", "{ws0}:"} do
            local owner, slot = c:node_of(name)
            c:migrate(slot, c:masters()[owner == c:masters()[1] and 2 or 1])
        end
        for _, user in ipairs {"42", "43"} do works(user) end
        for _, node in ipairs(c.nodes) do assert.are.same({}, node:call("ACL", "LOG")) end
    end)
end)

-- New instances for each spec: after repeated failures the back-off is longer.
describe("a Redis user who loses at runtime", function()
    before_each(function()
        server = redis.start()
        acl(rights "on >secret resetchannels ~ws:%* &notification:%* &bellhop:probe:%* %+@all")
        start(server:url "bellhop:secret")
    end)
    after_each(finish)

    local function wait_refusal(text)
        local answer
        wait.till(function()
            answer = a:request("POST", "/api/users/42/messages?strategy=redis", {body = "x"})
            return answer.status ~= 200 and answer.body:find(text, 1, true)
        end, 5, function() return text .. " instead of " .. answer.body end)
        assert.is_true(answer.status == 403 or answer.status == 503, answer.body)
    end

    -- Lookups may succeed or fail meanwhile.
    local function wait_honest()
        for _, d in ipairs {a, b} do
            wait.till(function() return d:request("GET", "/api/users/42").status == 503 end, 5, "an honest answer")
            check.error(d:request("GET", "/api/users/42"), 503, "tracker_unavailable")
            d:wait_log "cannot track connections in Redis"
        end
    end

    it("the command to publish", function()
        acl "-publish"
        wait_refusal "permission"
        for _, d in ipairs {a, b} do wait_reason(d, "the Redis user lacks a permission") end
        a:wait_log "NOPERM"
        acl "+publish"
        works "p1"
    end)

    it("the channels of messages", function()
        local client = ws.connect(a.port, "/ws?user=42")
        acl("resetchannels", "&bellhop:probe:*") -- Redis hangs up on who is subscribed to others
        for _, d in ipairs {a, b} do wait_reason(d, "the Redis user lacks a permission") end
        wait_refusal "permission"
        acl "&notification:*"
        works "c1"
        b:publish("users/42", "still there")
        check.next(client, "still there")
    end)

    it("the channel of the probe", function()
        acl("resetchannels", "&notification:*")
        for _, d in ipairs {a, b} do wait_reason(d, "the Redis user lacks a permission") end
        acl "&bellhop:probe:*"
        works "c2"
    end)

    it("the command to subscribe", function()
        acl "-subscribe"
        local late = ws.connect(a.port, "/ws?user=late")
        a:wait_log "subscription rejected by Redis"
        wait_reason(a, "the Redis user lacks a permission")
        acl "+subscribe"
        works "s1"
        b:publish("users/late", "hello")
        check.next(late, "hello")
    end)

    it("its scripts", function()
        acl("-eval", "-evalsha")
        local late = ws.connect(a.port, "/ws?user=scripts")
        b:publish("users/scripts", "delivered")
        check.next(late, "delivered")
        wait_honest()
        acl("+eval", "+evalsha")
        wait_known("scripts", 1)
        works "e1"
    end)

    it("its keys", function()
        local gone = ws.connect(b.port, "/ws?user=gone")
        wait_known("gone", 1)
        acl "resetkeys"
        local late = ws.connect(a.port, "/ws?user=keys")
        gone:close()
        wait_honest()
        acl "~ws:*"
        wait_known("keys", 1)
        wait_known("gone", 0)
        late:close()
        works "k1"
    end)

    it("its password, once a link breaks", function()
        acl("resetpass", ">other")
        cut_all()
        for _, d in ipairs {a, b} do wait_reason(d, "user or password rejected by Redis") end
        wait_refusal "rejected by Redis"
        acl ">secret"
        works "w1"
        assert.is_nil(a:log():find("secret", 1, true))
    end)

    it("its account", function()
        acl "off"
        cut_all()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        acl "on"
        works "o1"
    end)
end)

describe("authentication", function()
    after_each(finish)

    it("with a wrong password is repeated until it is corrected", function()
        server = redis.start {"--requirepass", "other"}
        start(server:url ":secret", "alive")
        for _, d in ipairs {a, b} do wait_reason(d, "rejected by Redis") end
        local client = ws.connect(a.port, "/ws?user=early")
        assert(server:client("AUTH", "other")):call("CONFIG", "SET", "requirepass", "secret")
        works "42"
        b:publish("users/early", "hello")
        check.next(client, "hello")
        assert.is_nil(a:log():find("secret", 1, true))
    end)

    it("without a password reports that one is required", function()
        server = redis.start {"--requirepass", "other"}
        start(server:url(), "alive")
        wait_reason(a, "Redis requires a password")
        assert(server:client("AUTH", "other")):call("CONFIG", "SET", "requirepass", "")
        works "42"
    end)

    it("works over a unix socket, with user and database", function()
        server = redis.start {"--unixsocket", "redis.sock"}
        acl("on", ">secret", "~*", "&*", "+@all")
        start("unix://bellhop:secret@" .. server.dir .. "/redis.sock?db=5")
        works "42"
        local client = ws.connect(a.port, "/ws?user=43")
        wait_known("43", 1)
        assert.are.equal(0, server:client("SELECT", "0"):call("EXISTS", "ws:connections:43"))
        assert.are.equal(1, server:client("SELECT", "5"):call("EXISTS", "ws:connections:43"))
        client:close()
        cut_all()
        works "44"
    end)

    it("with a missing database reports it", function()
        server = redis.start {"--databases", "4"}
        start(server:url(nil, "/4"), "alive")
        for _, d in ipairs {a, b} do wait_reason(d, "no such database in Redis") end
    end)
end)

describe("TLS to Redis", function()
    local made, port

    local function launch(...) server = redis.start_tls(made, port, ...) end
    local function url(tail) return redis.tls_url(made, port, tail) end

    setup(function()
        made, port = certs.new(), tcp.free_port()
        made:make("ca", {authority = true})
        made:make("redis", {issuer = "ca", san = "IP:127.0.0.1"})
        made:make("client", {issuer = "ca"})
    end)
    after_each(finish)
    teardown(function() made:remove() end)

    it("reports a missing client certificate, and works when Redis requires none", function()
        launch()
        start(url(), "alive")
        for _, d in ipairs {a, b} do
            wait_reason(d, "Redis") -- of TLS, or of a link whose request met the end of the connection
            d:wait_log "certificate required"
        end
        server:call("CONFIG", "SET", "tls-auth-clients", "no")
        works "42"
    end)

    it("follows new certificates of Redis", function()
        launch("--tls-auth-clients", "no")
        start(url())
        local client = ws.connect(a.port, "/ws?user=43")
        server:kill()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        made:make("redis", {issuer = "ca", san = "IP:127.0.0.1"})
        server:restart()
        works "42"
        b:publish("users/43", "hello")
        check.next(client, "hello")
    end)

    it("reports unusable files in check and serve", function()
        for tail, text in pairs {
            [url "&cert=/nowhere.pem"] = "/nowhere.pem",
            ["rediss://127.0.0.1:1?ca=/nowhere.pem"] = "/nowhere.pem",
            ["rediss://127.0.0.1:1?ca=" .. made:path "ca.key"] = "ca.key",
            [url("&cert=" .. made:path "client.crt" .. "&key=" .. made:path "redis.key")] = "redis.key",
        } do
            for _, argv in ipairs {{"check"}, {"serve", "--dev", "--listen", "127.0.0.1:0"}} do
                local output, status = process.run({daemon.BIN, table.unpack(argv)}, {BELLHOP_REDIS_URL = tail})
                assert.are.equal(1, status, output)
                assert.is_truthy(output:find(text, 1, true), output)
            end
        end
    end)
end)
