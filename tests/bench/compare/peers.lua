-- The servers to compare: how each is started for a scenario, the arguments of the load generator for
-- it, and which scenarios it does not support.
--
-- A peer: name; version(env); missing(env) -> why it is not installed, or nil; cannot (by mode or
-- scenario: the reason); notes (by mode or scenario); start(env, scenario, redis) -> server.
-- A server: pid, address, words (for the load generator), process. It runs on env.server_core, fresh
-- for each run; `redis` is a running Redis if the scenario uses one.
-- env: root, build, peers (folder with the output of build.sh), work (temporary folder), certs (crt
-- and key), server_core, connections.
local bellhop = require "bellhop"
local http = require "http"
local machine = require "machine"
local process = require "process"
local servers = require "servers"
local tcp = require "tcp"
local wait = require "wait"

local peers = {}

-- The path of each mode with the protocol raw, the same for all peers.
local PATHS = {
    echo = "/ws",
    fanout = "/ws?topic=bench",
    users = "/ws?user=%d&tenant=7",
    idle = "/ws?user=%d&tenant=7",
    burst = "/ws?user=%d&tenant=7",
}

local function read_file(path)
    local file = io.open(path, "rb")
    local text = file and file:read "a"
    if file then file:close() end
    return text
end

local function exists(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

local function skipped(name)
    return function(env)
        local why = read_file(env.peers .. "/" .. name .. ".skipped")
        return why and (why:gsub("%s+$", ""))
    end
end

-- Replaces @name@ by values[name].
local function fill(text, values)
    return (text:gsub("@(%w+)@", function(name) return assert(values[name], name) end))
end

local function raw_words(scenario, publish)
    local words = {"--protocol", "raw", "--path", PATHS[scenario.mode]}
    if scenario.tls then words[#words + 1] = "--tls" end
    for _, word in ipairs(publish and {"--publish", publish} or {}) do words[#words + 1] = word end
    return table.unpack(words)
end

local function redis_channel(redis) return ("redis://127.0.0.1:%d/notification:%%d"):format(redis.port) end

-- --- bellhop ---

local function start_bellhop(env, scenario, redis)
    local policy = scenario.mode == "echo" and "examples/echo.lua" or "tests/bench/peers/bellhop.lua"
    local running = bellhop.start(env, {policy = policy, redis = redis, tls = scenario.tls})
    local publish = scenario.mode == "fanout" and ("http://%s/api/topics/bench/messages"):format(running.plain)
        or redis and redis_channel(redis)
    running.words = {raw_words(scenario, publish)}
    return running
end

-- --- programs of this build ---

local function start_tool(name, protocol)
    return function(env)
        local port = tcp.free_port()
        local running = servers.launch(env, {env.build .. "/tests/bench/" .. name, "--listen", "127.0.0.1:" .. port})
        servers.wait_port(running, name, port)
        local words = {"--protocol", protocol}
        if protocol == "raw" then table.move({"--path", PATHS.echo}, 1, 2, 3, words) end
        return servers.server(running, port, table.unpack(words))
    end
end

local function only_echo(why) return {fanout = why, users = why, idle = why, burst = why} end

-- --- uWebSockets ---

local function start_uws(env, scenario)
    local port = tcp.free_port()
    local running = servers.launch(env, {env.peers .. "/uws", tostring(port)})
    servers.wait_log(running, "uWebSockets", "ready")
    local publish = scenario.mode == "fanout" and ("http://127.0.0.1:%d/topics/bench"):format(port) or nil
    return servers.server(running, port, raw_words(scenario, publish))
end

-- --- Node ---

local function start_node(env, scenario, redis)
    local port = tcp.free_port()
    local argv = {"node", env.peers .. "/node/hub.js", tostring(port)}
    local function add(...) table.move({...}, 1, select("#", ...), #argv + 1, argv) end
    if scenario.mode == "echo" then add "--echo" end
    if redis then add("--redis", tostring(redis.port)) end
    if scenario.tls then add("--key", env.certs.key, "--cert", env.certs.crt) end
    local running = servers.launch(env, argv)
    servers.wait_log(running, "the Node hub", "ready")
    local publish = scenario.mode == "fanout" and ("http://127.0.0.1:%d/topics/bench"):format(port)
        or redis and redis_channel(redis)
    return servers.server(running, port, raw_words(scenario, publish))
end

local function node_version(env)
    local packages = {}
    for _, name in ipairs {"ws", "ioredis"} do
        local text = read_file(env.peers .. "/node/node_modules/" .. name .. "/package.json") or ""
        packages[#packages + 1] = name .. " " .. (text:match '"version": "([^"]+)"' or "?")
    end
    return ("Node %s, %s"):format(machine.ask "node --version" or "?", table.concat(packages, ", "))
end

-- --- nginx with nchan ---

local NCHAN_IDS = {fanout = "$arg_topic", users = "u.$arg_user"}

local function nginx() return machine.ask "command -v nginx || PATH=$PATH:/usr/sbin command -v nginx" end

local function nchan_module()
    local path = machine.ask((nginx() or "false") .. " -V 2>&1 | tr ' ' '\\n' | sed -n 's/^--modules-path=//p'")
    path = path and path .. "/ngx_nchan_module.so"
    return path and exists(path) and path
end

local function nchan_config(env, scenario, redis, port, dir)
    local tls = scenario.tls and {
        ("listen 127.0.0.1:%d ssl backlog=4096;"):format(port.tls),
        ("ssl_certificate %s;"):format(env.certs.crt),
        ("ssl_certificate_key %s;"):format(env.certs.key),
    } or {}
    return fill(read_file(env.root .. "/tests/bench/peers/nginx.conf"), {
        module = nchan_module(),
        dir = dir,
        port = tostring(port.plain),
        descriptors = tostring(math.min(env.descriptors, 1000000)),
        -- It drops connections when a sixteenth is left.
        connections = tostring(2 * env.connections + 500),
        tls = table.concat(tls, " "),
        redis = redis and ("upstream redis { nchan_redis_server %s; }"):format(redis:url()) or "",
        channel = redis and "nchan_redis_pass redis;" or "",
        ids = NCHAN_IDS[scenario.mode] or '"u.$arg_user" "t.$arg_tenant"',
    })
end

local function start_nchan(env, scenario, redis)
    local port = {plain = tcp.free_port(), tls = scenario.tls and tcp.free_port()}
    local dir = process.temp_dir()
    local config = process.write_file(dir .. "/nginx.conf", nchan_config(env, scenario, redis, port, dir))
    local running = servers.launch(env, {nginx(), "-p", dir, "-c", config, "-e", dir .. "/error.log"})
    local function log() return running:log() .. (read_file(dir .. "/error.log") or "") end
    local id = scenario.mode == "fanout" and "bench" or "u.0"
    wait.till(function()
        if running:status() then error("nginx ended; its log:\n" .. log(), 0) end
        local answer = http.request(port.plain, "POST", "/pub?id=" .. id, {body = "are you there?"})
        return answer and answer.status // 100 == 2
    end, servers.START_SECONDS, function() return "nchan to accept a message; its log:\n" .. log() end)
    local target = scenario.mode == "fanout" and "bench" or "u.%d"
    local publish = (scenario.mode == "fanout" or redis) and ("http://127.0.0.1:%d/pub?id=%s"):format(port.plain, target)
    return servers.server(running, port.tls or port.plain, raw_words(scenario, publish))
end

local function nchan_missing()
    if not nginx() then return "nginx is not installed" end
    if not nchan_module() then return "nginx has no nchan module (Debian: libnginx-mod-nchan)" end
end

local function nchan_version()
    return ("%s, nchan %s"):format(machine.ask(nginx() .. " -v 2>&1 | sed 's/^nginx version: //'"),
        machine.ask "dpkg-query -W -f='${Version}' libnginx-mod-nchan" or "?")
end

-- --- NATS ---

local NATS_CONFIG = [[
listen: "127.0.0.1:@port@"
max_connections: 1000000
write_deadline: "10s"
websocket {
    listen: "127.0.0.1:@websocket@"
    compression: false
    @tls@
}
]]

local function nats_words(scenario, port)
    local words = {"--protocol", "nats", "--path", "/"}
    local function add(...) table.move({...}, 1, select("#", ...), #words + 1, words) end
    local channel = scenario.mode == "fanout" and "bench" or "u.%d"
    add("--channel", channel)
    if scenario.mode == "fanout" or scenario.mode == "users" then
        add("--publish", ("nats://127.0.0.1:%d/%s"):format(port, channel))
    end
    if scenario.tls then add "--tls" end
    return table.unpack(words)
end

local function start_nats(env, scenario)
    local port, websocket = tcp.free_port(), tcp.free_port()
    local tls = scenario.tls and ('tls { cert_file: "%s", key_file: "%s" }'):format(env.certs.crt, env.certs.key)
    local config = process.write_file(process.temp_dir() .. "/nats.conf",
        fill(NATS_CONFIG, {port = tostring(port), websocket = tostring(websocket), tls = tls or "no_tls: true"}))
    local running = servers.launch(env, {"nats-server", "-c", config}, {GOMAXPROCS = "1"})
    servers.wait_port(running, "nats-server", port)
    servers.wait_port(running, "nats-server's WebSocket", websocket)
    return servers.server(running, websocket, nats_words(scenario, port))
end

-- --- Centrifugo ---

local CENTRIFUGO_KEY = "bench"

local CENTRIFUGO_CONFIG = [[
{
  "http_server": { "address": "127.0.0.1", "port": "@port@"@tls@ },
  "http_api": { "key": "bench" },
  "client": { "allow_anonymous_connect_without_token": true },
  "channel": {
    "without_namespace": { "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true@history@ }
  },
  "engine": @engine@,
  "log": { "level": "warn" }
}
]]

local function centrifugo_words(scenario, port)
    local words = {"--protocol", "centrifugo", "--path", "/connection/websocket"}
    local function add(...) table.move({...}, 1, select("#", ...), #words + 1, words) end
    local channel = scenario.mode == "fanout" and "bench" or "u.%d"
    add("--channel", channel)
    if scenario.mode == "fanout" or scenario.mode == "users" then
        add("--publish", ("http://127.0.0.1:%d/api/publish"):format(port), "--header", "X-API-Key: " .. CENTRIFUGO_KEY,
            "--header", "Content-Type: application/json", "--body", ('{"channel":"%s","data":"%%p"}'):format(channel))
    end
    if scenario.tls then add "--tls" end
    return table.unpack(words)
end

local function start_centrifugo(env, scenario, redis)
    local port = tcp.free_port()
    local tls = scenario.tls and (', "tls": { "enabled": true, "cert_pem": "%s", "key_pem": "%s" }'):format(
        env.certs.crt, env.certs.key)
    local config = process.write_file(process.temp_dir() .. "/centrifugo.json", fill(CENTRIFUGO_CONFIG, {
        port = tostring(port),
        tls = tls or "",
        history = scenario.history and ', "history_size": 100, "history_ttl": "3600s", "force_recovery": true' or "",
        engine = redis and ('{ "type": "redis", "redis": { "address": "%s" } }'):format(redis:url())
            or '{ "type": "memory" }',
    }))
    local running = servers.launch(env, {env.peers .. "/centrifugo", "-c", config}, {GOMAXPROCS = "1"})
    servers.wait_port(running, "Centrifugo", port)
    return servers.server(running, port, centrifugo_words(scenario, port))
end

local function centrifugo_version(env)
    local binary = process.quote(env.peers .. "/centrifugo")
    local version = machine.ask("go version -m " .. binary .. " | awk '$1 == \"mod\" { print $3 }'")
    return "Centrifugo " .. (version or "?")
end

-- --- all of them ---

local NO_ECHO = "it publishes messages of clients instead of replying"
local ONE_SUBSCRIPTION = "its connections are indexed by user only (one subscription each)"

peers.list = {
    {
        name = "bellhop",
        version = bellhop.version,
        notes = {
            echo = "bellhop runs examples/echo.lua: each message goes through a Lua hook",
            burst = "bellhop runs the Lua hook on_handshake for each connection",
        },
        start = start_bellhop,
    },
    {
        name = "bellhop-c",
        version = bellhop.version,
        cannot = only_echo(false),
        notes = {echo = "bellhop-c has the same layers and a hook in C (tests/bench/c_echo.c)"},
        start = start_tool("bench_c_echo", "raw"),
    },
    {
        name = "raw",
        version = function() return "an epoll loop that echoes bytes, without WebSocket" end,
        cannot = only_echo(false),
        start = start_tool("bench_raw_echo", "tcp"),
    },
    {
        name = "uws",
        version = function() return "uWebSockets, from UWEBSOCKETS" end,
        missing = skipped "uws",
        cannot = {users = "it has no Redis client", ["idle-tls"] = "it is built without TLS"},
        start = start_uws,
    },
    {
        name = "nchan",
        version = nchan_version,
        missing = nchan_missing,
        cannot = {echo = NO_ECHO},
        notes = {users = "nchan receives messages by HTTP and distributes them through Redis"},
        start = start_nchan,
    },
    {
        name = "node",
        version = node_version,
        missing = skipped "node",
        start = start_node,
    },
    {
        name = "nats",
        version = function() return machine.ask "nats-server --version" end,
        missing = function() return not machine.ask "command -v nats-server" and "nats-server is not installed" or nil end,
        cannot = {echo = NO_ECHO},
        notes = {
            users = "nats has no Redis: messages are published to nats itself",
            idle = "nats: " .. ONE_SUBSCRIPTION,
        },
        start = start_nats,
    },
    {
        name = "centrifugo",
        version = centrifugo_version,
        missing = skipped "centrifugo",
        cannot = {echo = NO_ECHO},
        notes = {
            users = "centrifugo receives messages by HTTP and distributes them through Redis",
            idle = "centrifugo: " .. ONE_SUBSCRIPTION,
        },
        start = start_centrifugo,
    },
}

-- Whether a peer takes part in a scenario; if not, the reason (false: not worth a note).
function peers.takes_part(peer, scenario)
    local cannot = peer.cannot or {}
    local why = cannot[scenario.name]
    if why == nil then why = cannot[scenario.mode] end
    return why == nil, why
end

function peers.note(peer, scenario)
    local notes = peer.notes or {}
    return notes[scenario.name] or notes[scenario.mode]
end

function peers.find(name)
    for _, peer in ipairs(peers.list) do
        if peer.name == name then return peer end
    end
end

return peers
