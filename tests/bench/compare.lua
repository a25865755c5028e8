-- Compares bellhop with the alternatives: the same load on each in turn, the server on a core of its
-- own; the results are tables, a CSV and a picture. `tests/bench/run.sh compare` prepares and starts it:
--
--     lua5.4 tests/bench/compare.lua BUILD WORK [--runs N] [--only SCENARIO,..] [--peers NAME,..]
--         [--quick] [--results DIR] [--csv FILE] [--svg FILE]
--
-- Scenarios run one after another. Within a scenario the first run of every peer comes before the
-- second of any, so that a change in the machine's speed affects all of them. Each run has a fresh
-- server. The parts are in compare/; tests/support/process.lua ends the servers with this program.
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local peers = require "peers"
local process = require "process"
local report = require "report"
local scenarios = require "scenarios"
local session = require "session"
local svg = require "svg"
local trial = require "trial"
local verdict = require "verdict"

local say = session.say

local function parse()
    local options = session.parse(arg, 5, {"only", "peers", "csv", "svg"})
    options.csv = options.csv or options.results .. "/compare.csv"
    options.svg = options.svg or options.results .. "/compare.svg"
    options.scenarios = session.choose(options.only, "scenario", scenarios.list)
    options.peers = session.choose(options.peers, "peer", peers.list)
    return options
end

-- The peers that are installed; prints their versions.
local function present(env, options)
    local list = {}
    for _, peer in ipairs(options.peers) do
        local missing = peer.missing and peer.missing(env)
        if missing then
            say("%-10s  skipped: %s", peer.name, missing)
        else
            say("%-10s  %s", peer.name, peer.version(env) or "?")
            list[#list + 1] = peer
        end
    end
    say("")
    return list
end

-- --- a scenario ---

-- The work for each peer.
local function plan(env, scenario, options, notes)
    return {
        mode = scenario.mode,
        connections = session.connections(env, options.quick and scenario.quick or scenario.connections, notes),
        size = scenario.size,
        options = options.quick and scenario.quick_options or scenario.options,
        redis = scenario.redis,
        fixed_work = scenario.mode == "fanout",
    }
end

local function participants(scenario, list, notes)
    local part = {}
    for _, peer in ipairs(list) do
        local may, why = peers.takes_part(peer, scenario)
        if may then
            part[#part + 1] = peer
            notes[#notes + 1] = peers.note(peer, scenario)
        elseif why then
            notes[#notes + 1] = ("%s is skipped: %s"):format(peer.name, why)
        end
    end
    return part
end

local function run_rounds(env, scenario, options, part, asked)
    return trial.rounds(options.runs, part, function(peer, number)
        local run = trial.run(env, asked, function(broker) return {peer.start(env, scenario, broker)} end)
        run.scenario, run.peer, run.number = scenario.name, peer.name, number
        session.note(options, scenario, run, peer.name, asked)
        return run
    end)
end

local function run_scenario(env, scenario, options, list)
    local notes, order = {}, {}
    local asked = plan(env, scenario, options, notes)
    local part = participants(scenario, list, notes)
    env.connections = asked.connections
    local title = ("%s (%d connections)"):format(scenario.title, asked.connections)
    local runs = run_rounds(env, scenario, options, part, asked)
    for i, peer in ipairs(part) do order[i] = peer.name end
    local summary = verdict.summarize(scenario, runs, asked)
    notes[#notes + 1] = verdict.bottleneck(order, summary)
    local lines = report.scenario(scenario, order, summary, notes)
    table.insert(lines, 1, ("%s: %s"):format(scenario.name, title))
    say("%s\n", table.concat(lines, "\n"))
    return runs, lines, {scenario = scenario, title = scenario.name .. ": " .. title, order = order, peers = summary}
end

-- --- all ---

local function main()
    local options = parse()
    local env = session.env(root, options)
    local about = session.introduce(env, options, ", one process or worker each")
    local list = present(env, options)
    local all, tables, panels = {}, {table.concat(about, "\n")}, {}
    for _, scenario in ipairs(options.scenarios) do
        local runs, lines, panel = run_scenario(env, scenario, options, list)
        table.move(runs, 1, #runs, #all + 1, all)
        tables[#tables + 1] = table.concat(lines, "\n")
        panels[#panels + 1] = panel
        -- Written after each scenario, so that an interrupted run keeps its results.
        process.write_file(options.results .. "/compare.txt", table.concat(tables, "\n\n") .. "\n")
        process.write_file(options.csv, report.csv(all, "peer"))
        process.write_file(options.svg, svg.draw(panels, about))
    end
    say("written: %s, %s; these tables: %s/compare.txt; the output of each run: %s/raw", options.csv, options.svg,
        options.results, options.results)
end

main()
