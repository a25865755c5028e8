-- The tables of scale.lua: their steps and metrics. It only computes.
--
-- A table is a scenario as in compare/scenarios.lua (name, title, metrics, goals) with steps instead of
-- peers (column: the title of their column); ratios refer to the first one (base). `group` is its name
-- on the command line, `notes` are printed below it.
-- A step: name; the input of compare/trial.lua (mode, connections, options, size, redis); and the
-- servers: instances and workers (default one), policy, variables, both_cores (servers and clients share
-- the cores); path, publish ("broadcast", or the part after redis://HOST:PORT/). pings: the expected
-- number. meter: the argument of compare/redis_meter.lua. masters: of a Redis Cluster. by_http: publish there also
-- with Redis. alone: at that rate, what publishing to nobody costs Redis.
local report = require "report"

local tables = {}

tables.MOST = 120000 -- connections

local KIB = 1 / 1024

-- The cost per message may grow by this factor from the first step to any other.
local FLAT = 1.15

local POLICY = "tests/bench/peers/bellhop.lua"
local INDEXED = "/ws?user=%d&tenant=7"

local cpu = {key = "server_cpu_us_per_message", label = "us CPU a message", better = "less"}
local user_cpu = {key = "server_user_us_per_message", label = "us user CPU a message", better = "less"}
local messages = {key = "messages_per_s", label = "messages/s", better = "more"}
local p99 = {key = "latency_us_p99", label = "p99 us", better = "less"}
local memory = {key = "bytes_per_connection", label = "KiB a connection", better = "less", scale = KIB}

local function relabel(metric, label) return {key = metric.key, label = label, better = metric.better, scale = metric.scale} end

local function seconds(warmup, measured) return "--warmup", tostring(warmup), "--seconds", tostring(measured) end

local function name_of(n, what) return report.number(n) .. (what and " " .. what or "") end

-- A goal for each key and each step but the first.
local function flat(keys, steps)
    local goals = {}
    for _, key in ipairs(keys) do
        for i = 2, #steps do
            goals[#goals + 1] = {of = steps[i].name, metric = key, at_most = FLAT, peer = steps[1].name}
        end
    end
    return goals
end

-- The notes, with another one if the limit of descriptors is too low.
local function limited(most, env, ...)
    if most >= tables.MOST then return {...} end
    return {
        ("%s connections at most: the limit is %s file descriptors"):format(name_of(most),
            name_of(env.descriptors)),
        ...,
    }
end

-- --- idle connections ---

local function idle_steps(most, times)
    local steps = {}
    for i, part in ipairs {10, 3, 1} do
        local connections = most // part
        steps[i] = {
            name = name_of(connections),
            connections = connections,
            mode = "idle",
            options = {seconds(0.5, times.seconds[i])},
            policy = POLICY,
            path = INDEXED,
            variables = {
                BELLHOP_WEBSOCKET_PING_INTERVAL = tostring(times.interval),
                -- It is also the minimum time between two pings.
                BELLHOP_WEBSOCKET_PONG_TIMEOUT = tostring(times.interval / 2),
            },
            pings = connections * times.seconds[i] / times.interval,
        }
    end
    return steps
end

local function idle(env, most, quick)
    local times = quick and {interval = 1, seconds = {2, 2, 3}} or {interval = 2, seconds = {4, 4, 6}}
    local steps = idle_steps(most, times)
    return {
        group = "idle",
        name = "idle",
        title = "idle connections, indexed by user and tenant",
        column = "connections",
        steps = steps,
        metrics = {
            memory,
            {key = "server_cpu_share", label = "% of a core", better = "less", scale = 100},
            {key = "server_cpu_ms_per_connection_minute", label = "ms CPU a connection and minute", better = "less"},
            {key = "server_cpu_us_per_ping", label = "us CPU a ping", better = "less"},
        },
        goals = {{of = steps[3].name, metric = "bytes_per_connection", at_most = 1}},
        notes = limited(most, env,
            ("heartbeats: a ping every %d s for each connection, measured over at least %d s; at the default of 25 s "
                .. "they cost %.2g times as much")
                :format(times.interval, times.seconds[1], times.interval / 25)),
    }
end

-- The same number of deliveries in each step.
local function rounds(connections, quick) return tostring(math.max(5, (quick and 30000 or 200000) // connections)) end

-- Messages to all connections.
local function to_all(connections, quick)
    return {
        connections = connections,
        size = 128,
        mode = "fanout",
        options = {"--rounds", rounds(connections, quick)},
        policy = POLICY,
        path = INDEXED,
        publish = "broadcast",
    }
end

local function broadcast(env, most, quick)
    local steps = {}
    for i, part in ipairs {10, 3, 1} do
        local connections = most // part
        steps[i] = to_all(connections, quick)
        steps[i].name = name_of(connections)
    end
    return {
        group = "idle",
        name = "broadcast",
        title = "128 B to all connections, by HTTP",
        column = "connections",
        steps = steps,
        metrics = {
            {key = "round_us_p50", label = "ms to all", better = "less", scale = 1 / 1000},
            relabel(cpu, "us CPU a delivery"),
            {key = "deliveries_per_s", label = "deliveries/s", better = "more"},
        },
        goals = {},
        notes = limited(most, env, "the time ends when the load generator has read the last delivery"),
    }
end

-- --- workers ---

local SHARED = "server and load generator share the cores, so the gain of a second worker is limited by the CPU time that "
    .. "the load generator leaves"

local function worker_steps(step)
    local steps = {}
    for workers = 1, 2 do
        local one = {name = tostring(workers), workers = workers, both_cores = true}
        for key, value in pairs(step) do one[key] = value end
        steps[workers] = one
    end
    return steps
end

local function workers_echo(_, _, quick)
    return {
        group = "workers",
        name = "workers-echo",
        title = "echo of 20 B by a Lua hook, 100 connections, 16 in flight on each",
        column = "workers",
        steps = worker_steps {
            connections = 100,
            size = 20,
            mode = "echo",
            options = {"--in-flight", "16", seconds(0.5, quick and 1 or 2)},
            policy = "examples/echo.lua",
            path = "/ws",
        },
        metrics = {messages, cpu, p99},
        goals = {},
        notes = {SHARED},
    }
end

local function workers_fanout(_, most, quick)
    local connections = math.min(most, 9000)
    return {
        group = "workers",
        name = "workers-fanout",
        title = ("128 B to all of %s connections"):format(name_of(connections)),
        column = "workers",
        steps = worker_steps(to_all(connections, quick)),
        metrics = {
            {key = "deliveries_per_s", label = "deliveries/s", better = "more"},
            relabel(cpu, "us CPU a delivery"),
            {key = "server_memory_before_kib", label = "MiB without connections", better = "less", scale = KIB},
            memory,
        },
        goals = {},
        notes = {SHARED},
    }
end

-- --- users ---

local function users_step(name, connections, users, times)
    return {
        name = name,
        connections = connections,
        size = 128,
        mode = "users",
        -- Time for subscribing and registering after the last connection.
        options = {"--in-flight", "64", "--users", tostring(users), "--settle",
            tostring(1 + users / 50000), seconds(0.5, times)},
        redis = true,
    }
end

local function as_users(n, times)
    local step = users_step(name_of(n, "users"), n, n, times)
    step.policy, step.path, step.publish = POLICY, INDEXED, "notification:%d"
    return step
end

local function as_topics(users, connections, times)
    local step = users_step(("%s topics on %s"):format(name_of(users), name_of(connections)), connections, users, times)
    step.policy = "tests/bench/scale/topics.lua"
    step.path = ("/ws?first=%%d&every=%d&users=%d"):format(connections, users)
    step.publish = "notification:topic:%d"
    return step
end

local function users(env, most, quick)
    local times = quick and 1 or 2
    local steps = {as_users(math.min(most, 1000), times)}
    if most > 10000 then steps[#steps + 1] = as_users(10000, times) end
    if most > 1000 then steps[#steps + 1] = as_users(math.min(most, 100000), times) end
    local topics = quick and 10000 or 100000
    steps[#steps + 1] = as_topics(topics, math.min(most, 1000), times)
    if most >= 10000 then steps[#steps + 1] = as_topics(topics, 10000, times) end
    return {
        group = "users",
        name = "users",
        title = "128 B to one user at a time through Redis, 64 in flight",
        column = "users",
        steps = steps,
        metrics = {cpu, user_cpu, messages, p99},
        goals = flat({cpu.key}, steps),
        notes = limited(most, env,
            "the kernel separates user from system time by sampling: user time is approximate",
            "users have a connection each; topics stand for users where there cannot be as many connections: each "
                .. "connection has several topics",
            "users are published to in turn, so each message goes to the connection idle for longest: colder caches"),
    }
end

-- --- instances ---

local RATE = 4000

-- Seconds to measure Redis without messages.
local SETTLE = 2.5

local function instances(_, most, quick)
    local steps, each = {}, math.max(1, math.min(most // 10, quick and 50 or 200))
    for i, n in ipairs {1, 2, 5, 10} do
        steps[i] = {
            name = tostring(n),
            connections = n * each,
            size = 128,
            mode = "users",
            options = {"--rate", tostring(RATE), "--settle", tostring(SETTLE), seconds(0.5, quick and 1.5 or 2.5)},
            redis = true,
            instances = n,
            policy = POLICY,
            path = INDEXED,
            publish = "notification:%d",
            meter = {channels = n * each, quiet = {1, 1}, before = RATE * 0.4, busy = quick and 1.3 or 2.3},
        }
    end
    return {
        group = "instances",
        name = "instances",
        title = ("%s messages of 128 B a second, to one user at a time by PUBLISH; %d users on each instance"):format(
            name_of(RATE), each),
        column = "instances",
        steps = steps,
        metrics = {
            {key = "redis_cpu_us_per_message", label = "us CPU of Redis a message", better = "less"},
            {key = "redis_publish_us_per_message", label = "us of that in PUBLISH", better = "less"},
            {key = "redis_bytes_per_message", label = "bytes sent by Redis", better = "less"},
            {key = "redis_quiet_cpu_us_per_s", label = "us CPU a second without", better = "less"},
            relabel(cpu, "us CPU of all instances a message"),
        },
        goals = flat({"redis_cpu_us_per_message", "redis_bytes_per_message"}, steps),
        notes = {
            "the rate is the same in each step, so that batching has the same effect",
            "the base load of Redis (heartbeats, probes, tracking) is not part of the figures for a message; it has its "
                .. "own column",
            "all instances on one core, Redis and the load generator on the other; many instances on a core have cold caches",
        },
    }
end

-- --- masters of a cluster ---

local function cluster(_, most, quick)
    local steps, connections = {}, math.min(most, 1000)
    for i, n in ipairs {1, 3, 6, "one Redis"} do
        steps[i] = {
            name = tostring(n),
            connections = connections,
            size = 128,
            mode = "users",
            options = {"--rate", tostring(RATE), "--settle", tostring(SETTLE), seconds(0.5, quick and 1.5 or 2.5)},
            redis = n == "one Redis",
            masters = math.tointeger(n),
            policy = POLICY,
            path = INDEXED,
            publish = "users/%d/messages?strategy=redis",
            by_http = true,
            meter = {channels = connections, quiet = {1, 1}, before = RATE * 0.4, busy = quick and 1.3 or 2.3},
            alone = RATE,
        }
    end
    return {
        group = "cluster",
        name = "cluster",
        title = ("%s messages of 128 B a second to one of %s users at a time, by HTTP and a Redis Cluster"):format(
            name_of(RATE), name_of(connections)),
        column = "masters",
        steps = steps,
        metrics = {
            {key = "redis_cpu_us_per_message", label = "us CPU of all Redis a message", better = "less"},
            {key = "redis_publish_us_per_message", label = "us of that in SPUBLISH", better = "less"},
            {key = "redis_bytes_per_message", label = "bytes sent by Redis", better = "less"},
            relabel(cpu, "us CPU of the instance a message"),
            {key = "redis_quiet_cpu_us_per_s", label = "us CPU of Redis a second without", better = "less"},
            {key = "redis_alone_spublish_us", label = "us CPU of a SPUBLISH to nobody", better = "less"},
            {key = "redis_alone_publish_us", label = "us CPU of a PUBLISH to nobody", better = "less"},
        },
        goals = flat({"redis_cpu_us_per_message", cpu.key}, {steps[1], steps[2], steps[3]}),
        notes = {
            "figures of Redis are those of all masters together; the last line is one Redis that is no cluster, with PUBLISH",
            "the last column is the contrast: the cluster passes a PUBLISH on to all of its nodes",
            "all masters and the load generator on one core",
        },
    }
end

-- All tables for this machine.
function tables.all(env, quick, spare)
    local most = math.max(10, math.min(env.descriptors - spare, quick and 1500 or tables.MOST))
    local list = {}
    for i, one in ipairs {idle, broadcast, workers_echo, workers_fanout, users, instances, cluster} do
        list[i] = one(env, most, quick)
        list[i].base = list[i].steps[1].name
    end
    return list
end

return tables
