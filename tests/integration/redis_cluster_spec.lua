-- How a Redis Cluster is reached: TLS, host names, IPv6, a user with no more rights than docs/cluster.md lists; and what is
-- said of one that cannot be used.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local redis = require "redis"
local redis_cluster = require "redis_cluster"
local sse = require "sse"
local wait = require "wait"
local ws = require "ws"

-- Before that there are no shard channels.
local describe_7 = redis.version() >= 7 and describe or pending

local POLICY = [[
return {
    on_handshake = function(req) return { user = req:arg "user", tenant = req:arg "tenant" } end,
    on_presence = function(event) end,
}
]]

local cluster, a, b

local function start(url, options)
    options = options or {}
    options.redis, options.policy = url, POLICY
    options.env = daemon.short_timeouts {
        BELLHOP_TRACKING_LEASE = "2",
        BELLHOP_HISTORY_RULES = options.history ~= false and '[{"topic": "user:kept*", "size": 100}]' or nil,
    }
    return daemon.start(options)
end

local function start_both()
    a, b = start(cluster:url(), {args = {"--instance", "node-a"}}), start(cluster:url(), {args = {"--instance", "node-b"}})
end

local function finish()
    ws.drop_all()
    sse.drop_all()
    daemon.stop_all()
    redis.stop_all()
end

local function wait_known(user, count) check.known({a, b}, user, count) end

-- Messages, tracking and streams, in slots of all masters.
local function works(round)
    for _, d in ipairs {a, b} do d:wait_ready() end
    for i = 1, 8 do
        local user = round .. i
        local here = ws.connect(a.port, "/ws?tenant=7&user=" .. user)
        local there = ws.connect(b.port, "/ws?tenant=7&user=" .. user)
        for k, d in ipairs {a, b} do
            d:publish("users/" .. user, "hello " .. k, "strategy=redis")
            check.next(here, "hello " .. k)
            check.next(there, "hello " .. k)
        end
        assert.are.equal(2, cluster:publish("notification:" .. user, "by Redis"))
        check.next(here, "by Redis")
        check.next(there, "by Redis")
        wait_known(user, 2)
        here:close()
        there:close()
        wait_known(user, 0)
        local kept = "kept" .. round .. i
        local reader = sse.connect(a.port, "/sse?user=" .. kept)
        b:publish("users/" .. kept, "one")
        assert.are.equal("one", reader:message())
        reader:drop()
        a:publish("users/" .. kept, "two")
        reader = sse.connect(b.port, "/sse?user=" .. kept, {last_id = reader.id})
        assert.are.equal("two", reader:message())
        reader:drop()
    end
end

-- The words of the lines of docs/cluster.md that give a user its rights.
local function rights()
    local file = assert(io.open "docs/cluster.md")
    local text, words = file:read "a", {"bellhop"}
    file:close()
    for line in text:gmatch "\nACL SETUSER bellhop ([^\n]+)" do
        for word in line:gmatch "%S+" do words[#words + 1] = word end
    end
    assert(#words > 20, "docs/cluster.md lists no rights")
    return words
end

local function denied()
    local list = {}
    for _, node in ipairs(cluster:alive()) do
        for _, entry in ipairs(node:call("ACL", "LOG")) do
            if entry[8] ~= nil then list[#list + 1] = ("%s %s %s"):format(entry[4], entry[6], entry[8]) end
        end
    end
    return table.concat(list, "\n")
end

-- /readyz is red for this reason.
local function wait_reason(d, text)
    local answer
    wait.till(function()
        answer = d:request("GET", "/readyz")
        return answer.status == 503 and answer.body:find(text, 1, true)
    end, 10, function() return ("%q instead of %s\n%s"):format(text, answer.body, d:log()) end)
end

describe_7("a Redis Cluster with TLS, host names, and a user with the rights of docs/cluster.md", function()
    local made

    setup(function()
        made = certs.new()
        made:make("ca", {authority = true})
        made:make("redis", {issuer = "ca", san = "DNS:localhost"}) -- of no address
        cluster = redis_cluster.start(3, 1, {
            tls = made, hostname = "localhost", user = "bellhop:secret", acl = rights(),
        })
        start_both()
    end)
    teardown(function()
        finish()
        made:remove()
    end)
    after_each(ws.drop_all)

    it("is used for everything", function()
        works "first"
        assert.are.equal("", denied())
    end)

    it("is used when slots have moved and a replica has taken over", function()
        local masters = cluster:masters()
        cluster:move_slots(masters[1], masters[2], 100)
        cluster:failover(masters[3])
        works "second"
        assert.are.equal("", denied())
    end)

    it("says which right is missing", function()
        local function acl(right)
            for _, node in ipairs(cluster:alive()) do assert(node:call("ACL", "SETUSER", "bellhop", right)) end
        end
        acl "-cluster|slots"
        local d = start(cluster:url(), {wait = "alive"})
        wait_reason(d, "+cluster|info and +cluster|slots")
        acl "+cluster|slots"
        d:wait_ready()
        acl "-spublish"
        wait_reason(d, "the Redis user lacks a permission")
        d:wait_log "permissions to run the 'spublish' command"
        acl "+spublish"
        d:wait_ready()
        d:stop()
        acl "-ssubscribe"
        d = start(cluster:url(), {wait = "alive"})
        wait_reason(d, "the Redis user lacks a permission")
        d:wait_log "permissions to run the 'ssubscribe' command"
        acl "+ssubscribe"
        d:wait_ready()
        d:stop()
        works "third"
    end)

    it("is refused without the authority", function()
        made:make("other", {authority = true})
        local d = start((cluster:url():gsub("ca%.crt", "other.crt")), {wait = "alive"})
        wait_reason(d, "TLS")
        d:stop()
    end)
end)

describe_7("a Redis Cluster", function()
    after_each(finish)

    it("is reached by IPv6", function()
        cluster = redis_cluster.start(3, 0, {ip = "::1"})
        start_both()
        works "six"
    end)

    it("is refused when its certificates are not for what CLUSTER SLOTS says", function()
        local made = certs.new()
        finally(function() made:remove() end)
        made:make("ca", {authority = true})
        made:make("redis", {issuer = "ca", san = "DNS:localhost"})
        cluster = redis_cluster.start(3, 0, {tls = made})
        local d = start((cluster:url():gsub("127%.0%.0%.1", "localhost")), {wait = "alive"})
        d:wait_log("no link to Redis", 10)
        wait.till(function() return d:ready() == 503 end, 5, "readiness")
    end)

    it("is reached when nodes tell a port, and no address: that of the node that was asked", function()
        cluster = redis_cluster.start(3, 1, {args = {"--cluster-preferred-endpoint-type", "unknown-endpoint"}})
        start_both()
        works "unknown"
        local master = cluster:masters()[1]
        cluster:move_slots(master, cluster:masters()[2], 3000)
        works "moved"
    end)

    it("may be named by one node, also by a replica", function()
        cluster = redis_cluster.start(3, 1)
        local replica = cluster.nodes[4]
        a = start(("redis+cluster://127.0.0.1:%d"):format(replica.address), {args = {"--instance", "node-a"}})
        b = start(("redis+cluster://127.0.0.1:1,127.0.0.1:%d"):format(cluster.nodes[2].address),
            {args = {"--instance", "node-b"}})
        works "one"
    end)

    it("must be one", function()
        local server = redis.start()
        local d = start((server:url():gsub("redis:", "redis+cluster:")), {wait = "alive"})
        wait_reason(d, "this Redis is not a cluster: use redis:// in redis.url")
    end)
end)

if redis.version() < 7 then
    describe("a Redis Cluster of a server before Redis 7", function()
        teardown(finish)

        it("is refused with the reason", function()
            cluster = redis_cluster.start(3, 0)
            local d = start(cluster:url(), {wait = "alive"})
            wait_reason(d, "a Redis Cluster needs Redis 7 or later")
        end)
    end)
end
