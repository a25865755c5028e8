-- Messages to one user at a time through Redis, with history and without: the strategy redis, the same with a history
-- of 100 messages, and Centrifugo with its Redis engine, without history and with one of 100 messages.
-- `tests/bench/run.sh durable` prepares and starts it:
--
--     lua5.4 tests/bench/durable.lua BUILD WORK [--runs N] [--only GROUP,..] [--quick] [--results DIR] [--csv FILE]
--
-- All are published by HTTP to the first instance; the clients are spread over the instances, which share a core.
-- Running and reporting are shared with compare.lua (compare/).
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local bellhop = require "bellhop"
local peers = require "peers"
local process = require "process"
local report = require "report"
local session = require "session"
local trial = require "trial"
local verdict = require "verdict"

local CONNECTIONS = 1000
local CONFIG = 'return { history = { { topic = "user:*", size = 100, ttl = 3600 } } }'

local GROUPS = {
    {name = "rate", title = "64 in flight", options = {"--in-flight", "64"}},
    {name = "latency", title = "1,000 a second", options = {"--rate", "1000"}},
}

local METRICS = {
    {key = "messages_per_s", label = "messages/s", better = "more"},
    {key = "latency_us_p50", label = "p50 us", better = "less"},
    {key = "latency_us_p99", label = "p99 us", better = "less"},
    {key = "server_cpu_us_per_message", label = "us CPU a message", better = "less"},
    {key = "redis_cpu_us_per_message", label = "us CPU of Redis", better = "less"},
}

local function start_bellhop(env, step, broker)
    local list = {}
    for i = 1, step.instances do
        list[i] = bellhop.start(env, {
            policy = "tests/bench/peers/bellhop.lua",
            redis = broker,
            instance = "node-" .. i,
            config = step.history and process.write_file(process.temp_dir() .. "/bellhop.conf.lua", CONFIG),
        })
    end
    list[1].words = {"--path", "/ws?user=%d", "--publish",
        ("http://%s/api/users/%%d/messages%s"):format(list[1].plain, step.history and "" or "?strategy=redis")}
    return list
end

local function start_centrifugo(env, step, broker)
    local list = {}
    for i = 1, step.instances do list[i] = peers.find "centrifugo".start(env, step, broker) end
    return list
end

local function steps(options, group, with_centrifugo)
    local list = {}
    for _, instances in ipairs {1, 3} do
        for _, kind in ipairs {"redis", "durable", "centrifugo", "centrifugo, history"} do
            local theirs = kind:find "^centrifugo"
            if with_centrifugo or not theirs then
                list[#list + 1] = {
                    name = ("%s, %d"):format(kind, instances),
                    instances = instances,
                    mode = "users",
                    connections = CONNECTIONS,
                    size = 128,
                    redis = true,
                    history = kind == "durable" or kind == "centrifugo, history",
                    start = theirs and start_centrifugo or start_bellhop,
                    options = {"--warmup", "0.5", "--seconds", options.quick and "1" or "3", table.unpack(group.options)},
                }
            end
        end
    end
    return list
end

-- --- one run ---

local function redis_cpu(broker)
    local text = assert(broker:call("INFO", "cpu"))
    return tonumber(text:match "used_cpu_user:([%d.]+)") + tonumber(text:match "used_cpu_sys:([%d.]+)")
end

-- Of Redis: from before the first connection to after the last message, so it is a little too much.
local function measure(env, step)
    local server, before, after
    local run = trial.run(env, step, function(broker)
        server = broker
        local list = step.start(env, step, broker)
        before = redis_cpu(broker)
        return list
    end, nil, function() after = redis_cpu(server) end)
    if after then
        local all = run.keys.messages_per_s * (run.keys.seconds + 0.5)
        run.keys.redis_cpu_us_per_message = (after - before) * 1e6 / all
    end
    return run
end

local function run_group(env, options, group, with_centrifugo)
    local list = steps(options, group, with_centrifugo)
    local scenario = {name = "durable-" .. group.name, metrics = METRICS, goals = {}, column = "strategy, instances",
        base = list[1].name}
    local asked = {connections = CONNECTIONS, size = 128}
    local runs = trial.rounds(options.runs, list, function(step, number)
        local run = measure(env, step)
        run.scenario, run.peer, run.number = scenario.name, step.name, number
        session.note(options, scenario, run, step.name, asked)
        return run
    end)
    local order, summary = {}, verdict.summarize(scenario, runs, asked)
    for i, step in ipairs(list) do order[i] = step.name end
    local lines = report.scenario(scenario, order, summary, {verdict.bottleneck(order, summary)})
    table.insert(lines, 1, ("%s: 128 B to one of %d users, %s; ratios are to the first line"):format(scenario.name,
        CONNECTIONS, group.title))
    session.say("%s\n", table.concat(lines, "\n"))
    return runs, lines
end

local function main()
    local options = session.parse(arg, 3, {"only", "csv"})
    options.csv = options.csv or options.results .. "/durable.csv"
    local env = session.env(root, options)
    local texts, all = {table.concat(session.introduce(env, options, "; one worker"), "\n")}, {}
    local missing = peers.find "centrifugo".missing(env)
    if missing then session.say("Centrifugo is skipped: %s", missing) end
    for _, group in ipairs(session.choose(options.only, "group", GROUPS)) do
        local runs, lines = run_group(env, options, group, not missing)
        table.move(runs, 1, #runs, #all + 1, all)
        texts[#texts + 1] = table.concat(lines, "\n")
        process.write_file(options.results .. "/durable.txt", table.concat(texts, "\n\n") .. "\n")
        process.write_file(options.csv, report.csv(all, "step"))
    end
    session.say("written: %s, %s/durable.txt; the output of each run: %s/raw", options.csv, options.results,
        options.results)
end

main()
