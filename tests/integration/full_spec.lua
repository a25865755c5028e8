-- An instance that is full, and strangers who want to fill it: what it still serves, and what it costs.
package.path = "tests/support/?.lua;" .. package.path
local certs = require "certs"
local check = require "check"
local daemon = require "daemon"
local http = require "http"
local process = require "process"
local tcp = require "tcp"
local wait = require "wait"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function(req) return { user = req:arg "user" } end,
    on_message = function(conn, data) return data end,
    http = { ["POST /mine"] = function(req) return 200, nil, "mine " .. #req.body end },
}
]]

local KEY = {Authorization = "Bearer the-key"}
local PROBES = {"/healthz", "/readyz", "/metrics"}

local function env(more)
    local all = {BELLHOP_API_KEYS = "the-key"}
    for name, value in pairs(more or {}) do all[name] = value end
    return all
end

-- On a connection of its own: the status, or why there is none.
local function ask(port, method, path, options)
    local answer, why = http.request(port, method, path, options)
    return answer and answer.status or why
end

local function publish(port, headers, options)
    local all = {body = "from the backend", headers = headers}
    for name, value in pairs(options or {}) do all[name] = value end
    return ask(port, "POST", "/api/users/early/messages", all)
end

-- What a full instance serves, several times, because each connection comes to another worker.
local function serves_probes_and_api(port, clients, options)
    for _ = 1, 6 do
        for _, path in ipairs(PROBES) do assert.are.equal(200, ask(port, "GET", path, options)) end
        assert.are.equal(200, publish(port, KEY, options))
        for _, client in ipairs(clients) do check.next(client, "from the backend") end
    end
end

local function refuses_the_rest(port, options)
    assert.are.equal(503, publish(port, nil, options))
    assert.are.equal(503, publish(port, {Authorization = "Bearer another-key"}, options))
    assert.are.equal(503, ask(port, "GET", "/nothing", options))
    assert.are.equal(503, ask(port, "POST", "/mine", options))
    assert.are.equal(503, ask(port, "POST", "/healthz", options))
    local _, refusal = ws.try(port, "/ws?user=late", options)
    check.error(refusal, 503, "too_many_connections")
    assert.are.equal("close", refusal.headers.connection)
end

local function echoes(clients)
    for i, client in ipairs(clients) do
        client:text("echo " .. i)
        check.next(client, "echo " .. i)
    end
end

local function silent_connections(port, count)
    local list = {}
    for i = 1, count do list[i] = assert(tcp.connect(port)) end
    return list
end

local function close_all(list)
    for _, conn in ipairs(list) do conn:close() end
end

describe("an instance with all the connections that it may have", function()
    local d, dir, clients

    setup(function() dir = certs.new() end)
    teardown(function() dir:remove() end)
    before_each(function()
        local crt, key = dir:make "full.example"
        d = daemon.start {
            listen = {"127.0.0.1:0", "tls:127.0.0.1:0", "proxy:127.0.0.1:0", "proxy:tls:127.0.0.1:0"},
            policy = POLICY, dev = false,
            env = env {
                BELLHOP_SERVER_CONNECTIONS_MAX = "4", BELLHOP_SERVER_TRUSTED_PROXIES = "127.0.0.0/8",
                BELLHOP_TLS_CERTIFICATES = crt, BELLHOP_TLS_KEYS = key,
                BELLHOP_SERVER_ADMIN_LISTEN = "127.0.0.1:0, tls:127.0.0.1:0",
            },
        }
        d:wait_metric("bellhop_edge_sockets", 1) -- the connection for this request
        clients = {}
        for i = 1, 3 do clients[i] = ws.connect(d.port, "/ws?user=early") end
    end)
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("serves probes, metrics and the API with a key, on each kind of address", function()
        local header = "PROXY TCP4 203.0.113.7 10.0.0.9 4711 80\r\n"
        for i, options in ipairs {{}, {tls = {}}, {first = header}, {first = header, tls = {}}} do
            serves_probes_and_api(d.ports[i], clients, options)
            refuses_the_rest(d.ports[i], options)
        end
        assert.is_true(d:metric "bellhop_edge_reserve_opened_total" >= 4 * 30)
        assert.are.equal(4, d:metric "bellhop_edge_sockets")
        d:wait_metric("bellhop_edge_reserve_connections", 0)
        echoes(clients)
        assert.are.equal(0, d:metric 'bellhop_edge_limited_total{limit="descriptors"}')
    end)

    it("serves them among strangers that hold all places", function()
        local strangers = silent_connections(d.port, 300)
        serves_probes_and_api(d.port, clients)
        refuses_the_rest(d.port)
        for _, conn in ipairs(strangers) do conn:send "GET /healthz HTTP/1.1\r\nHost" end
        serves_probes_and_api(d.port, clients)
        assert.is_true(d:metric "bellhop_edge_reserve_evicted_total" > 0)
        -- They are gone after two seconds, or earlier.
        for _, conn in ipairs(strangers) do
            local rest, why = conn:read_all()
            assert.is_true(rest ~= nil, why)
        end
        close_all(strangers)
        echoes(clients)
    end)

    it("opens again", function()
        clients[1]:drop()
        d:wait_metric("bellhop_edge_sockets", 3)
        ws.connect(d.port, "/ws?user=late")
        refuses_the_rest(d.port)
    end)

    it("has addresses for administration", function()
        local ports = {}
        for port in d:log():gmatch 'serving health and metrics[^\n]-127%.0%.0%.1:(%d+)' do
            ports[#ports + 1] = math.tointeger(tonumber(port))
        end
        assert.are.equal(2, #ports)
        local kept = assert(http.open(ports[1]))
        for _, path in ipairs {"/healthz", "/readyz", "/metrics"} do
            kept:send(http.format("GET", path))
            assert.are.equal(200, kept:response().status)
            assert.are.equal(200, ask(ports[2], "GET", path, {tls = {}}))
        end
        for _, path in ipairs {"/", "/mine", "/ws", "/api/users/early", "/api/users/early/connections"} do
            check.error(http.get(ports[1], path, {headers = KEY}), 404, "not_found")
        end
        assert.are.equal(404, publish(ports[1], KEY))
        local _, refusal = ws.try(ports[1], "/ws?user=late")
        check.error(refusal, 404, "not_found")
        local idle = silent_connections(ports[1], 200)
        assert.are.equal(200, ask(ports[1], "GET", "/healthz"))
        close_all(idle)
        kept:close()
        assert.are.equal(4, d:metric "bellhop_edge_sockets")
        assert.are.equal(0, d:metric "bellhop_edge_reserve_opened_total")
    end)
end)

describe("an instance without descriptors", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local function descriptors(d)
        local n = 0
        for _ in io.popen("ls /proc/" .. d.process.pid .. "/fd"):lines() do n = n + 1 end
        return n
    end

    -- Clients until one is refused.
    local function fill(d)
        local clients = {}
        while #clients < 1000 do
            local client, refusal = ws.try(d.port, "/ws?user=early")
            if not client then
                check.error(refusal, 503, "too_many_connections")
                return clients
            end
            clients[#clients + 1] = client
        end
        error "none was refused"
    end

    local function is_full_and_opens_again(d, clients)
        serves_probes_and_api(d.port, clients)
        refuses_the_rest(d.port)
        local strangers = silent_connections(d.port, 100)
        serves_probes_and_api(d.port, clients)
        close_all(strangers)
        echoes(clients)
        assert.is_true(d:metric 'bellhop_edge_limited_total{limit="descriptors"}' > 0)
        d:wait_log "out of file descriptors"
        for i = 1, 10 do clients[i]:drop() end
        wait.till(function() return (ws.try(d.port, "/ws?user=late")) end)
    end

    for _, workers in ipairs {1, 2} do
        it(("serves probes and the API, with %d workers"):format(workers), function()
            local d = daemon.start {policy = POLICY, dev = false, env = env(), descriptors = 80, workers = workers}
            local clients = fill(d)
            assert.is_true(#clients > 20 and #clients < 70, #clients)
            is_full_and_opens_again(d, clients)
        end)
    end

    it("does so when the limit is lowered while it runs", function()
        local d = daemon.start {policy = POLICY, dev = false, env = env()}
        d:request("GET", "/healthz")
        for _ = 1, 20 do ws.connect(d.port, "/ws?user=other") end
        local _, status = process.run {"prlimit", "--pid", d.process.pid, "--nofile=" .. descriptors(d) - 20 .. ":"}
        assert.are.equal(0, status)
        for _ = 1, 3 do
            for _, path in ipairs(PROBES) do assert.are.equal(200, ask(d.port, "GET", path)) end
            refuses_the_rest(d.port)
        end
        local strangers = silent_connections(d.port, 100)
        for _ = 1, 3 do
            for _, path in ipairs(PROBES) do assert.are.equal(200, ask(d.port, "GET", path)) end
        end
        close_all(strangers)
        process.run {"prlimit", "--pid", d.process.pid, "--nofile=1000:"}
        wait.till(function() return (ws.try(d.port, "/ws?user=late")) end)
    end)
end)

describe("the body of a stranger's request", function()
    local d

    local SLOW = [[
    local bh = require "bellhop"
    return {
        on_api = function(req)
            local seconds, answer = req:header "Wait", req:header "Answer"
            if seconds then bh.sleep(tonumber(seconds)) end
            if answer == "yes" then return true end
            if answer == "no" then return false, 403, "not you" end
        end,
        http = { ["POST /mine"] = function(req) return 200, nil, "mine " .. #req.body end },
    }
    ]]

    setup(function()
        d = daemon.start {policy = SLOW, dev = false, env = env {BELLHOP_HTTP_BODY_BYTES = "20000000"}}
        d:request("GET", "/healthz")
    end)
    teardown(daemon.stop_all)

    local function resident_mib()
        for line in io.lines("/proc/" .. d.process.pid .. "/status") do
            local kib = line:match "^VmRSS:%s+(%d+)"
            if kib then return tonumber(kib) / 1024 end
        end
    end

    local function head(path, lines)
        return "POST " .. path .. " HTTP/1.1\r\nHost: x\r\n" .. lines .. "\r\n"
    end

    local MIB = 1024 * 1024

    -- Each sends as much of its 15 MiB as is taken.
    local function strangers_cost_nothing(path, lines, chunk, status)
        local before, list = resident_mib(), {}
        for i = 1, 100 do
            local s = assert(http.open(d.port))
            list[i] = s
            s:send(head(path, lines))
            s.conn.sock:settimeout(0)
            for _ = 1, 15 do
                if not s.conn.sock:send(chunk) then break end
            end
        end
        if status then
            for _, s in ipairs(list) do
                local answer, why = s:response()
                assert.are.equal(status, answer and answer.status or why)
            end
        end
        local after = resident_mib()
        assert.is_true(after < before + 60, ("%.1f MiB before, %.1f MiB after"):format(before, after))
        for _, s in ipairs(list) do s:close() end
    end

    it("is not stored when the key is missing or wrong, or there is no such path", function()
        local chunk = ("x"):rep(MIB)
        local counted = "Content-Length: 15728640\r\n"
        strangers_cost_nothing("/api/broadcast", counted, chunk, 401)
        strangers_cost_nothing("/api/broadcast", counted .. "Authorization: Bearer guessed\r\n", chunk, 401)
        strangers_cost_nothing("/api/nothing", counted, chunk, 404)
        strangers_cost_nothing("/api/broadcast", "Transfer-Encoding: chunked\r\n", "100000\r\n" .. chunk .. "\r\n", 401)
    end)

    it("waits while on_api decides", function()
        strangers_cost_nothing("/api/broadcast", "Wait: 5\r\nContent-Length: 15728640\r\n", ("x"):rep(MIB))
    end)

    it("is asked for when the request is allowed, and only then", function()
        local expect = "Expect: 100-continue\r\nContent-Length: 2\r\n"
        local authorized = expect .. "Authorization: Bearer the-key\r\n"
        for _, case in ipairs {
            {"/api/broadcast", authorized, 200}, {"/api/broadcast", authorized .. "Answer: no\r\n", 403},
            {"/api/broadcast", expect, 401}, {"/api/nothing", authorized, 404}, {"/api/users/1", authorized, 405},
            {"/api/broadcast", expect .. "Wait: 0.2\r\nAnswer: yes\r\n", 200},
            {"/api/broadcast", expect .. "Wait: 0.2\r\nAnswer: no\r\n", 403},
            {"/api/broadcast", expect .. "Wait: 0.2\r\n", 401}, {"/mine", expect, 200},
            {"/api/broadcast", (authorized:gsub("Length: 2", "Length: 20000001")), 413},
        } do
            local s = assert(http.open(d.port))
            s:send(head(case[1], case[2]))
            local answer = s:response()
            if case[3] == 200 then
                assert.are.equal(100, answer.status, case[1])
                s:send "hi"
                answer = s:response()
            else
                assert.are.equal("close", answer.headers.connection)
            end
            assert.are.equal(case[3], answer.status, case[1] .. ": " .. answer.body)
            s:close()
        end
    end)

    it("of a request that is refused does not end a connection when it is short", function()
        local s = assert(http.open(d.port))
        for _ = 1, 3 do
            s:send(http.format("POST", "/api/broadcast", {body = ("x"):rep(60000)}))
            assert.are.equal(401, s:response().status)
            s:send(http.format("POST", "/mine", {body = ("x"):rep(60000)}))
            assert.are.equal("mine 60000", s:response().body)
        end
        s:close()
    end)
end)

describe("server.admin_listen", function()
    local function complaint(listen, admin)
        local output, status = process.run({daemon.BIN, "check"}, {
            BELLHOP_SERVER_LISTEN = listen, BELLHOP_SERVER_ADMIN_LISTEN = admin,
        })
        return status == 0 and "" or output
    end

    it("is checked", function()
        assert.are.equal("", complaint("127.0.0.1:1", "127.0.0.1:2,127.0.0.1:0"))
        assert.matches("server.admin_listen: 127.0.0.1:1: the address is already in server.listen",
            complaint("127.0.0.1:1", "127.0.0.1:1"), 1, true)
        assert.matches("the address is already in server.listen", complaint("127.0.0.1:1,127.0.0.1:1", ""), 1, true)
        assert.matches("server.admin_listen: nowhere: ", complaint("127.0.0.1:1", "nowhere"), 1, true)
        assert.matches("needs a certificate", complaint("127.0.0.1:1", "tls:127.0.0.1:2"), 1, true)
    end)
end)
