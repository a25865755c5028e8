-- What honest clients see beside hostile ones: their latency alone, beside one connection of each kind of
-- attack, and beside a hundred. `tests/bench/run.sh fairness` prepares and starts it:
--
--     lua5.4 tests/bench/fairness.lua BUILD WORK [--runs N] [--only KIND,..] [--quick] [--results DIR]
--         [--csv FILE]
--
-- Ten honest connections send 500 messages a second on a fixed schedule and get them back (bench_load);
-- the attackers are bench_attack. Each run has a fresh server with one worker. Running and reporting are
-- shared with compare.lua (compare/).
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local bellhop = require "bellhop"
local machine = require "machine"
local process = require "process"
local report = require "report"
local session = require "session"
local trial = require "trial"
local verdict = require "verdict"

local ALONE = "alone"
local CONNECTIONS = 10
local MANY = 100
local MARGIN_SECONDS = 3 -- of the attack, beyond the measured time

local KINDS = {
    {name = "messages"}, {name = "requests"}, {name = "metrics"}, {name = "inflating"}, {name = "json"},
    {name = "keys", tls = true}, {name = "handshakes", tls = true},
}

local METRICS = {
    {key = "latency_us_p99", label = "p99 us", better = "less"},
    {key = "latency_us_p50", label = "p50 us", better = "less"},
    {key = "latency_us_max", label = "max us", better = "less"},
}

local FACTOR = 5 -- by which the p99 may grow

local function parse()
    local options = session.parse(arg, 3, {"only", "csv"})
    options.csv = options.csv or options.results .. "/fairness.csv"
    options.kinds = session.choose(options.only, "kind", KINDS)
    options.seconds = options.quick and 1 or 5
    return options
end

local function step(name, options, kind, count)
    return {
        name = name,
        mode = "echo",
        connections = CONNECTIONS,
        options = {"--rate", "500", "--size", "28", "--warmup", "1", "--seconds", tostring(options.seconds)},
        kind = kind,
        count = count,
    }
end

local function scenario(options)
    local one = {
        name = "fairness",
        title = "latency of honest clients, alone and beside attackers",
        column = "beside",
        base = ALONE,
        metrics = METRICS,
        goals = {},
        steps = {step(ALONE, options)},
    }
    for _, kind in ipairs(options.kinds) do
        for _, count in ipairs {1, MANY} do
            local name = ("%d x %s"):format(count, kind.name)
            table.insert(one.steps, step(name, options, kind, count))
            table.insert(one.goals, {of = name, metric = "latency_us_p99", at_most = FACTOR, peer = ALONE})
        end
    end
    return one
end

-- They share a core with the honest clients, and must not delay them there.
local function attack(env, what, server, seconds)
    local port = (what.kind.tls and server.address or server.plain):match "%d+$"
    local words = machine.pinned(env.client_core)
    table.move({"nice", "-n", "19", env.build .. "/tests/bench/bench_attack", what.kind.name, tostring(what.count),
        tostring(seconds), port}, 1, 8, #words + 1, words)
    return process.spawn(words)
end

local function measure(env, what, options)
    local attacker
    local run = trial.run(env, what, function()
        local server = bellhop.start(env, {
            policy = "tests/bench/hooks/fairness.lua",
            tls = true,
            variables = {BELLHOP_WEBSOCKET_MESSAGE_BYTES = tostring(16 * 1024 * 1024)},
        })
        if what.kind then attacker = attack(env, what, server, options.seconds + MARGIN_SECONDS) end
        return {setmetatable({address = server.plain}, {__index = server})}
    end)
    if attacker and run.status == 0 and attacker.last_log:find "usage" then
        run.status, run.error = 1, "bench_attack: " .. attacker.last_log
    end
    return run
end

local function main()
    local options = parse()
    local env = session.env(root, options)
    local one = scenario(options)
    local lines = session.introduce(env, options, "; one worker")
    session.say("%s\n", bellhop.version(env) or "?")
    local asked = {connections = CONNECTIONS}
    local runs = trial.rounds(options.runs, one.steps, function(what, number)
        local run = measure(env, what, options)
        run.scenario, run.peer, run.number = one.name, what.name, number
        session.note(options, one, run, what.name, asked)
        return run
    end)
    local order, summary = {}, verdict.summarize(one, runs, asked)
    for i, what in ipairs(one.steps) do order[i] = what.name end
    local tables = report.scenario(one, order, summary, {verdict.bottleneck(order, summary)})
    session.say("%s; ratios are to the first line\n%s\n", one.title, table.concat(tables, "\n"))
    table.move(tables, 1, #tables, #lines + 1, lines)
    process.write_file(options.results .. "/fairness.txt", table.concat(lines, "\n") .. "\n")
    process.write_file(options.csv, report.csv(runs, "beside"))
    session.say("written: %s, %s/fairness.txt; the output of each run: %s/raw", options.csv, options.results,
        options.results)
end

main()
