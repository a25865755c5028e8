-- Clients that come back after they missed messages: 10,000 of one topic, and 10,000 each of its own topic, over
-- WebSocket with format=json and over SSE. `tests/bench/run.sh recovery` prepares and starts it:
--
--     lua5.4 tests/bench/recovery.lua BUILD WORK [--runs N] [--only STEP,..] [--quick] [--results DIR] [--csv FILE]
--
-- The messages are appended in Redis by bellhop_publish, as a plain backend does; the clients connect to one fresh
-- instance with the position before them. Beside them one connection pings every 5 ms. Running and reporting are
-- shared with compare.lua (compare/).
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local bellhop = require "bellhop"
local http = require "http"
local process = require "process"
local report = require "report"
local session = require "session"
local trial = require "trial"
local verdict = require "verdict"

local WORKERS = 1
local MISSED = 3 -- messages for each client, unless the step says otherwise
local BATCH = 200 -- appends in flight
local CONFIG = [[return { history = {
    { topic = "topic:news", size = 100, ttl = 3600 }, { topic = "user:*", size = 100, ttl = 3600 },
} }]]

local METRICS = {
    {key = "recovered_s", label = "s until all have all", better = "less"},
    {key = "latency_us_p99", label = "p99 ms of one", better = "less", scale = 1 / 1000},
    {key = "probe_us_max", label = "longest stall ms", better = "less", scale = 1 / 1000},
    {key = "reads", label = "reads", better = "less"},
    {key = "redis_calls", label = "calls of Redis", better = "less"},
    {key = "server_peak_mib", label = "peak MiB", better = "less"},
    {key = "server_cpu_us_per_connection", label = "us CPU a client", better = "less"},
}

local function own(number) return "user:" .. number end
local function one() return "topic:news" end

-- The first is the pinging connection alone for as long as recoveries of own topics take: what the machine adds.
local STEPS = {
    {name = "alone", mode = "idle", options = {"--warmup", "0", "--seconds", "5"}},
    {name = "json-one", topic = one, query = "/ws?format=json&topic=news"},
    {name = "sse-one", topic = one, query = "/sse?topic=news", protocol = "sse"},
    {name = "json-one-90", topic = one, query = "/ws?format=json&topic=news", missed = 90},
    {name = "sse-one-90", topic = one, query = "/sse?topic=news", protocol = "sse", missed = 90},
    {name = "json-own", topic = own, query = "/ws?format=json&user=%d", own = true},
    {name = "sse-own", topic = own, query = "/sse?user=%d", protocol = "sse", own = true},
}

local function parse()
    local options = session.parse(arg, 3, {"only", "csv"})
    options.csv = options.csv or options.results .. "/recovery.csv"
    options.steps = session.choose(options.only, "step", STEPS)
    return options
end

-- --- positions ---

-- As include/bellhop/core/resume.h describes it.
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

local function topic_hash(name)
    local h = 0xcbf29ce484222325
    for i = 1, #name do h = (h ~ name:byte(i)) * 0x100000001b3 end
    h = (h ~ h >> 33) * 0xff51afd7ed558ccd
    h = (h ~ h >> 33) * 0xc4ceb9fe1a85ec53
    h = h ~ h >> 33
    local digits = {}
    for i = 11, 1, -1 do
        digits[i] = ALPHABET:sub((h & 63) + 1, (h & 63) + 1)
        h = h >> 6
    end
    return table.concat(digits)
end

local function resume(topic, epoch, offset) return ("1.%s:%d-%d"):format(topic_hash(topic), epoch, offset) end

-- --- the messages ---

local function channel(topic) return "notification:" .. topic:gsub("^user:", "") end

-- Appends one message to the topic of each number; gives the epochs.
local function append(client, step, count, text)
    local epochs = {}
    for first = 1, count, BATCH do
        local last = math.min(first + BATCH - 1, count)
        for i = first, last do
            local name = channel(step.topic(i))
            client:write("FCALL", "bellhop_publish", 2, "{" .. name .. "}:log", "{" .. name .. "}:m", text)
        end
        for i = first, last do
            local reply, why = client:read()
            epochs[i] = assert(reply, why)[2]
        end
    end
    return epochs
end

-- The position of each client before the messages that it missed.
local function miss(step, broker)
    local client = broker:client()
    local topics = step.own and step.connections or 1
    local epochs = append(client, step, topics, "seen")
    for i = 1, step.missed or MISSED do append(client, step, topics, ('{"text":"bh:%d %s"}'):format(i, ("x"):rep(100))) end
    client:close()
    return epochs
end

local function write_paths(step, epochs)
    local lines = {}
    for i = 1, step.connections do
        local since = resume(step.topic(i), epochs[step.own and i or 1], 1)
        lines[i] = step.query:gsub("%%d", i) .. "&since=" .. since
    end
    return process.write_file(process.temp_dir() .. "/paths", table.concat(lines, "\n") .. "\n")
end

-- --- one run ---

local function start(env, step, broker)
    local config = process.write_file(process.temp_dir() .. "/bellhop.conf.lua", CONFIG)
    local server = bellhop.start(env, {
        policy = "tests/bench/peers/bellhop.lua", redis = broker, workers = WORKERS, config = config,
    })
    local words = {"--path", "/ws?topic=probe", "--probe", "--rounds", tostring(step.missed or MISSED)}
    server.words = words
    if not step.topic then return {server} end
    if step.protocol then table.move({"--protocol", step.protocol}, 1, 2, #words + 1, words) end
    local paths = write_paths(step, miss(step, broker))
    assert(broker:call("CONFIG", "RESETSTAT") == "OK")
    table.move({"--paths", paths}, 1, 2, #words + 1, words)
    return {server}
end

local function peak_mib(pid)
    local file = assert(io.open(("/proc/%d/status"):format(pid)))
    local text = file:read "a"
    file:close()
    return tonumber(text:match "VmHWM:%s*(%d+)") / 1024
end

local function metric(port, name)
    return tonumber(http.get(port, "/metrics").body:match("\n" .. name .. " (%d+)"))
end

local function measure(env, step)
    local server, broker
    local after = {}
    local run = trial.run(env, step, function(b)
        broker = b
        local list = start(env, step, b)
        server = list[1]
        return list
    end, nil, function()
        local stats = assert(broker:call("INFO", "commandstats"))
        after.redis_calls = tonumber(stats:match "cmdstat_fcall:calls=(%d+)")
        after.reads = metric(tonumber(server.plain:match "%d+$"), "bellhop_core_stream_reads_total")
        after.server_peak_mib = peak_mib(server.pid)
    end)
    for key, value in pairs(after) do run.keys[key] = value end
    return run
end

-- --- all ---

local function prepare(env, options)
    local notes = {}
    local connections = session.connections(env, options.quick and 1000 or 10000, notes)
    if options.steps[1].topic then table.insert(options.steps, 1, STEPS[1]) end
    for _, step in ipairs(options.steps) do
        step.redis, step.mode, step.options = true, step.mode or "recover", step.options or {}
        step.connections = step.topic and connections or 1
    end
    return notes, connections
end

local function scenario(options, connections)
    local goals = {}
    for _, step in ipairs(options.steps) do
        if step.topic then goals[#goals + 1] = {of = step.name, metric = "probe_us_max", at_most = 20} end
        if step.topic == one then goals[#goals + 1] = {of = step.name, metric = "reads", at_most = WORKERS} end
    end
    local title = "%d clients come back, each for %d messages of 128 B, or as many as its name says"
    return {name = "recovery", title = title:format(connections, MISSED), column = "clients",
        base = options.steps[1].name, metrics = METRICS, goals = goals}
end

local function main()
    local options = parse()
    local env = session.env(root, options)
    local lines = session.introduce(env, options, "; one worker")
    session.say("%s\n", bellhop.version(env) or "?")
    local notes, connections = prepare(env, options)
    local all, asked = scenario(options, connections), {connections = 1}
    local runs = trial.rounds(options.runs, options.steps, function(step, number)
        local run = measure(env, step)
        run.scenario, run.peer, run.number = all.name, step.name, number
        session.note(options, all, run, step.name, asked)
        return run
    end)
    local order, summary = {}, verdict.summarize(all, runs, asked)
    for i, step in ipairs(options.steps) do order[i] = step.name end
    notes[#notes + 1] = verdict.bottleneck(order, summary)
    local tables = report.scenario(all, order, summary, notes)
    session.say("%s; ratios are to the first line\n%s\n", all.title, table.concat(tables, "\n"))
    table.move(tables, 1, #tables, #lines + 1, lines)
    process.write_file(options.results .. "/recovery.txt", table.concat(lines, "\n") .. "\n")
    process.write_file(options.csv, report.csv(runs, "clients"))
    session.say("written: %s, %s/recovery.txt; the output of each run: %s/raw", options.csv, options.results, options.results)
end

main()
