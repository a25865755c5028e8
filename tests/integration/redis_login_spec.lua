-- How bellhop gets in at Redis: rights that are taken away while it runs, passwords that are wrong and
-- corrected, sockets, databases and certificates. What is wrong is said, by /readyz, to publishers and
-- in the log; once it is right all goes on without a restart.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local process = require "process"
local redis = require "redis"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local ENV = daemon.impatient()

local server, a, b

local function start(url, how)
    a = daemon.start {redis = url, env = ENV, args = {"--instance", "node-a"}, wait = how}
    b = daemon.start {redis = url, env = ENV, args = {"--instance", "node-b"}, wait = how}
end

local function finish()
    ws.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function wait_known(user, count)
    for _, d in ipairs {a, b} do
        local said
        wait.till(function()
            said = d:request("GET", "/api/users/" .. user).body
            return select(2, said:gsub('"instance"', "")) == count
        end, 12, function() return ("%d connections of %s; it says %s\n%s"):format(count, user, said, d:log()) end)
    end
end

-- From each to the other, and each knows of the other's.
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

-- Not ready, for this reason.
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

-- The words of a line of docs/scaling.md that begins so.
local function rights(start_of_line)
    local file = assert(io.open "docs/scaling.md")
    local line = file:read "a":match("\nACL SETUSER bellhop on >secret (" .. start_of_line .. "[^\n]+)\n")
    file:close()
    local words = {}
    for word in assert(line, "docs/scaling.md names no such rights"):gmatch "%S+" do words[#words + 1] = word end
    return table.unpack(words)
end

describe("a Redis user with no more commands than docs/scaling.md lists", function()
    setup(function()
        server = redis.start()
        acl("on", ">secret", rights "~ws:%* &notification:%* &bellhop:probe:%* %-@all")
        start(server:url("bellhop:secret", "/2"))
    end)
    teardown(finish)
    after_each(ws.drop_all)

    it("lacks none", function()
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

-- Fresh ones for each: who was refused again and again waits longer.
describe("a Redis user who loses, while bellhop runs,", function()
    before_each(function()
        server = redis.start()
        acl("on", ">secret", rights "~ws:%* &notification:%* &bellhop:probe:%* %+@all")
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

    -- Who asks where users are is not told what may be wrong.
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
        local phone = ws.connect(a.port, "/ws?user=42")
        acl("resetchannels", "&bellhop:probe:*") -- Redis hangs up on who is subscribed to others
        for _, d in ipairs {a, b} do wait_reason(d, "the Redis user lacks a permission") end
        wait_refusal "permission"
        acl "&notification:*"
        works "c1"
        b:publish("users/42", "still there")
        check.next(phone, "still there")
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

    it("its place", function()
        acl "off"
        cut_all()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        acl "on"
        works "o1"
    end)
end)

describe("the login", function()
    after_each(finish)

    it("with a wrong password is repeated until it is right", function()
        server = redis.start {"--requirepass", "other"}
        start(server:url ":secret", "alive")
        for _, d in ipairs {a, b} do wait_reason(d, "rejected by Redis") end
        local phone = ws.connect(a.port, "/ws?user=early")
        assert(server:client("AUTH", "other")):call("CONFIG", "SET", "requirepass", "secret")
        works "42"
        b:publish("users/early", "hello")
        check.next(phone, "hello")
        assert.is_nil(a:log():find("secret", 1, true))
    end)

    it("without a password says that one is wanted", function()
        server = redis.start {"--requirepass", "other"}
        start(server:url(), "alive")
        wait_reason(a, "Redis requires a password")
        assert(server:client("AUTH", "other")):call("CONFIG", "SET", "requirepass", "")
        works "42"
    end)

    it("may go through a unix socket, with user and database", function()
        server = redis.start {"--unixsocket", "redis.sock"}
        acl("on", ">secret", "~*", "&*", "+@all")
        start("unix://bellhop:secret@" .. server.dir .. "/redis.sock?db=5")
        works "42"
        local phone = ws.connect(a.port, "/ws?user=43")
        wait_known("43", 1)
        assert.are.equal(0, server:client("SELECT", "0"):call("EXISTS", "ws:connections:43"))
        assert.are.equal(1, server:client("SELECT", "5"):call("EXISTS", "ws:connections:43"))
        phone:close()
        cut_all()
        works "44"
    end)

    it("to a database that is not there says so", function()
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

    it("without the certificate that Redis wants of us says so, and goes on when it wants none", function()
        launch()
        start(url(), "alive")
        for _, d in ipairs {a, b} do
            wait_reason(d, "TLS")
            d:wait_log "certificate required"
        end
        server:call("CONFIG", "SET", "tls-auth-clients", "no")
        works "42"
    end)

    it("may follow Redis to another certificate, and comes back when Redis does", function()
        launch("--tls-auth-clients", "no")
        start(url())
        local phone = ws.connect(a.port, "/ws?user=43")
        server:kill()
        for _, d in ipairs {a, b} do d:wait_ready(503) end
        made:make("redis", {issuer = "ca", san = "IP:127.0.0.1"})
        server:restart()
        works "42"
        b:publish("users/43", "hello")
        check.next(phone, "hello")
    end)

    it("with files that are of no use is refused by check and serve, which name them", function()
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
