-- How bellhop scales with connections, workers, users, instances and masters of a Redis Cluster: a table each with the cost of a
-- message or a connection at each step, and a CSV. `tests/bench/run.sh scale` prepares and starts it:
--
--     lua5.4 tests/bench/scale.lua BUILD WORK [--runs N] [--only GROUP,..] [--quick] [--results DIR]
--         [--csv FILE]
--
-- The steps are in scale/tables.lua; running and reporting are shared with compare.lua (compare/). Each
-- run has fresh servers.
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "scale/?.lua;" .. here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local bellhop = require "bellhop"
local process = require "process"
local redis_meter = require "redis_meter"
local report = require "report"
local session = require "session"
local tables = require "tables"
local trial = require "trial"
local verdict = require "verdict"

local say = session.say

local MIN_PING_SHARE = 0.8 -- of the expected pings

local GROUPS = {{name = "idle"}, {name = "workers"}, {name = "users"}, {name = "instances"}, {name = "cluster"}}

local function parse()
    local options = session.parse(arg, 3, {"only", "csv"})
    options.csv = options.csv or options.results .. "/scale.csv"
    options.groups = session.choose(options.only, "group", GROUPS)
    return options
end

-- --- one run ---

-- The cores of the servers and clients of a step.
local function place(env, step)
    if not step.both_cores or not env.client_core then return env end
    local both = ("%d,%d"):format(env.server_core, env.client_core)
    return setmetatable({server_core = both, client_core = both}, {__index = env})
end

local function publish_words(step, address, broker)
    if not step.publish then return end
    local target = broker and not step.by_http and ("redis://127.0.0.1:%d/%s"):format(broker.port, step.publish)
        or ("http://%s/api/%s"):format(address, step.publish)
    return "--publish", target
end

local function start(env, step, broker)
    local list = {}
    for i = 1, step.instances or 1 do
        list[i] = bellhop.start(env, {
            policy = step.policy,
            workers = step.workers,
            redis = broker,
            instance = "node-" .. i,
            variables = step.variables,
        })
    end
    list[1].words = {"--path", step.path, publish_words(step, list[1].plain, broker)}
    return list
end

-- Figures computed from those of the load generator.
local function derive(keys)
    if keys.mode ~= "idle" or not keys.server_cpu_share then return end
    local us = keys.server_cpu_share * keys.seconds * 1e6
    keys.server_cpu_ms_per_connection_minute = us / 1000 / keys.connections / keys.seconds * 60
    if keys.server_pings > 0 then keys.server_cpu_us_per_ping = us / keys.server_pings end
end

local function check(run, step)
    if run.status ~= 0 then return end
    if step.pings and run.keys.server_pings < step.pings * MIN_PING_SHARE then
        run.status, run.error = 1, ("%d pings instead of %d"):format(run.keys.server_pings, step.pings)
    elseif step.meter and not run.keys.redis_cpu_us_per_message then
        run.status, run.error = 1, "Redis could not be measured"
    end
end

local function measure(env, step)
    local watched, alone
    local function watch(broker)
        local ok, keys = pcall(redis_meter.watch, broker, step.meter)
        watched = ok and keys or nil
    end
    local function after(broker) alone = redis_meter.alone(broker, step.size, step.alone) end
    local here_env = place(env, step)
    local run = trial.run(here_env, step, function(broker) return start(here_env, step, broker) end,
        step.meter and watch, step.alone and after)
    for _, keys in ipairs {watched or {}, alone or {}} do
        for key, value in pairs(keys) do run.keys[key] = value end
    end
    derive(run.keys)
    check(run, step)
    return run
end

-- --- a table ---

local function asked_of(step) return {connections = step.connections, size = step.size} end

-- As verdict.summarize, by the name of the step.
local function summarize(scenario, runs)
    local all = {}
    for _, step in ipairs(scenario.steps) do
        local mine = {}
        for _, run in ipairs(runs) do
            if run.peer == step.name then mine[#mine + 1] = run end
        end
        all[step.name] = verdict.summarize(scenario, mine, asked_of(step))[step.name]
    end
    return all
end

local function run_table(env, scenario, options)
    local runs = trial.rounds(options.runs, scenario.steps, function(step, number)
        local run = measure(env, step)
        run.scenario, run.peer, run.number = scenario.name, step.name, number
        session.note(options, scenario, run, step.name, asked_of(step))
        return run
    end)
    local order, notes, summary = {}, table.move(scenario.notes, 1, #scenario.notes, 1, {}), summarize(scenario, runs)
    for i, step in ipairs(scenario.steps) do order[i] = step.name end
    notes[#notes + 1] = verdict.bottleneck(order, summary)
    local lines = report.scenario(scenario, order, summary, notes)
    table.insert(lines, 1, ("%s: %s; ratios are to the first line"):format(scenario.name, scenario.title))
    say("%s\n", table.concat(lines, "\n"))
    return runs, lines
end

-- --- all ---

local function chosen(env, options)
    local list, wanted = {}, {}
    for _, group in ipairs(options.groups) do wanted[group.name] = true end
    for _, one in ipairs(tables.all(env, options.quick, session.SPARE_DESCRIPTORS)) do
        if wanted[one.group] then list[#list + 1] = one end
    end
    return list
end

local function main()
    local options = parse()
    local env = session.env(root, options)
    local all, texts = {}, {table.concat(session.introduce(env, options, "; one worker by default"), "\n")}
    say("%s\n", bellhop.version(env) or "?")
    for _, scenario in ipairs(chosen(env, options)) do
        local runs, lines = run_table(env, scenario, options)
        table.move(runs, 1, #runs, #all + 1, all)
        texts[#texts + 1] = table.concat(lines, "\n")
        -- Written after each table, so that an interrupted run keeps its results.
        process.write_file(options.results .. "/scale.txt", table.concat(texts, "\n\n") .. "\n")
        process.write_file(options.csv, report.csv(all, "step"))
    end
    say("written: %s; these tables: %s/scale.txt; the output of each run: %s/raw", options.csv, options.results,
        options.results)
end

main()
