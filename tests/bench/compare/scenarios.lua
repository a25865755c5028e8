-- The scenarios: the arguments of the load generator, the figures that count, and the goals.
--
-- A scenario: name, title, mode (of bench_load), connections, quick (how many with --quick), options
-- (further words), quick_options, tls, reference (the peer that ratios refer to besides bellhop),
-- metrics, goals.
-- A metric: key (of bench_load), label, better ("less" or "more"), scale (to the unit of the label).
-- The first one is drawn.
-- A goal: of (the peer), metric (its key), and at_most or at_least a value in the label's unit; or
-- at_least as a multiple of the median of `peer`, or (or_best) of the best other peer where that one is
-- missing.
local scenarios = {}

local KIB = 1 / 1024

local function cpu(unit) return {key = "server_cpu_us_per_message", label = "us CPU a " .. unit, better = "less"} end

local function user_cpu(unit)
    return {key = "server_user_us_per_message", label = "us user CPU a " .. unit, better = "less"}
end

local messages = {key = "messages_per_s", label = "messages/s", better = "more"}
local p99 = {key = "latency_us_p99", label = "p99 us", better = "less"}
local timed = {"--warmup", "1", "--seconds", "5"}
local short = {"--warmup", "0.5", "--seconds", "1"}
local memory = {key = "bytes_per_connection", label = "KiB a connection", better = "less", scale = KIB}

local function with(words, ...) return table.move({...}, 1, select("#", ...), #words + 1, {table.unpack(words)}) end

scenarios.list = {
    {
        name = "echo-16",
        title = "echo of 20 B, 16 in flight on each connection",
        mode = "echo",
        connections = 100,
        quick = 100,
        size = 20,
        options = with(timed, "--in-flight", "16"),
        quick_options = with(short, "--in-flight", "16"),
        reference = "raw",
        metrics = {cpu "message", messages, p99},
        goals = {
            {of = "bellhop", metric = "server_cpu_us_per_message", at_most = 0.6},
            {of = "bellhop-c", metric = "server_cpu_us_per_message", at_most = 0.45},
        },
    },
    {
        name = "echo-1",
        title = "echo of 20 B, 1 in flight on each connection",
        mode = "echo",
        connections = 100,
        quick = 100,
        size = 20,
        options = with(timed, "--in-flight", "1"),
        quick_options = with(short, "--in-flight", "1"),
        reference = "raw",
        metrics = {messages, cpu "message", p99},
        goals = {{of = "bellhop", metric = "messages_per_s", at_least = 0.9, peer = "raw"}},
    },
    {
        name = "fanout",
        title = "128 B to all sockets of a topic",
        mode = "fanout",
        connections = 9000,
        quick = 1000,
        size = 128,
        -- Many, because the kernel counts user and system time in ticks of a few milliseconds.
        options = {"--rounds", "120"},
        quick_options = {"--rounds", "100"},
        reference = "uws",
        metrics = {
            {key = "deliveries_per_s", label = "deliveries/s", better = "more"}, user_cpu "delivery", cpu "delivery",
        },
        goals = {
            {of = "bellhop", metric = "deliveries_per_s", at_least = 1.0, peer = "uws", or_best = true},
            {of = "bellhop", metric = "server_user_us_per_message", at_most = 0.5},
        },
    },
    {
        name = "users",
        title = "128 B to one user at a time through Redis, 64 in flight",
        mode = "users",
        connections = 5000,
        quick = 500,
        size = 128,
        options = with(timed, "--in-flight", "64"),
        quick_options = with(short, "--in-flight", "64"),
        redis = true,
        reference = "node",
        metrics = {messages, cpu "message", p99},
        goals = {
            {of = "bellhop", metric = "messages_per_s", at_least = 2.5, peer = "node"},
            {of = "bellhop", metric = "server_cpu_us_per_message", at_most = 9},
        },
    },
    {
        name = "idle",
        title = "idle connections, plain, indexed by user and tenant",
        mode = "idle",
        connections = 9000,
        quick = 1000,
        options = {},
        reference = "uws",
        metrics = {memory},
        goals = {{of = "bellhop", metric = "bytes_per_connection", at_most = 1}},
    },
    {
        name = "idle-tls",
        title = "idle connections over TLS, indexed by user and tenant",
        mode = "idle",
        connections = 4500,
        quick = 500,
        tls = true,
        options = {},
        reference = "nchan",
        metrics = {memory},
        goals = {{of = "bellhop", metric = "bytes_per_connection", at_most = 12}},
    },
    {
        name = "burst",
        title = "new connections as fast as possible",
        mode = "burst",
        connections = 9000,
        quick = 1000,
        options = {"--probe"},
        reference = "nchan",
        metrics = {
            {key = "connections_per_s", label = "connections/s", better = "more"},
            {key = "probe_us_max", label = "longest stall ms", better = "less", scale = 1 / 1000},
            {key = "handshake_us_p99", label = "handshake p99 ms", better = "less", scale = 1 / 1000},
        },
        goals = {
            {of = "bellhop", metric = "connections_per_s", at_least = 1.0, peer = "nchan"},
            {of = "bellhop", metric = "probe_us_max", at_most = 20},
        },
    },
}

function scenarios.find(name)
    for _, scenario in ipairs(scenarios.list) do
        if scenario.name == name then return scenario end
    end
end

return scenarios
