-- bellhop beside what people would use instead: the same load on each, in turns, each on a core of its
-- own, and tables, a CSV and a picture of what came out. tests/bench/run.sh compare gets everything
-- ready and starts it:
--
--     lua5.4 tests/bench/compare.lua BUILD WORK [--runs N] [--only SCENARIO,..] [--peers NAME,..]
--         [--quick] [--results DIR] [--csv FILE] [--svg FILE]
--
-- Scenarios are taken one after another; within one, the first run of every peer comes before the
-- second of any, so that a change of the machine's mood meets all of them. Each run has a fresh server.
-- The parts are in compare/; the servers of tests/support/process.lua end with this program.
local here = arg[0]:match "^(.-)[^/]*$"
local root = here .. "../.."
package.path = here .. "compare/?.lua;" .. root .. "/tests/support/?.lua;" .. package.path
local certs = require "certs"
local machine = require "machine"
local peers = require "peers"
local process = require "process"
local redis = require "redis"
local report = require "report"
local scenarios = require "scenarios"
local svg = require "svg"
local verdict = require "verdict"
local wait = require "wait"

local RUN_SECONDS = 300 -- at most, of the load generator
local SPARE_DESCRIPTORS = 500 -- of a server, beside its connections

local function fail(...)
    io.stderr:write("error: ", string.format(...), "\n")
    os.exit(1)
end

local function say(...)
    print(string.format(...))
    io.stdout:flush()
end

-- How far it is; beside what is to be kept.
local function progress(...) io.stderr:write(string.format(...), "\n") end

-- --- options ---

local function choose(list, what, find, all)
    if not list then return all end
    local chosen = {}
    for name in list:gmatch "[^,]+" do
        chosen[#chosen + 1] = find(name)
        if not find(name) then
            local names = {}
            for i, one in ipairs(all) do names[i] = one.name end
            fail("no %s %s; there is: %s", what, name, table.concat(names, ", "))
        end
    end
    return chosen
end

local function parse(words)
    local options = {build = words[1], work = words[2], runs = nil, results = "build/bench/results"}
    local names = {["--runs"] = "runs", ["--only"] = "only", ["--peers"] = "peers", ["--csv"] = "csv", ["--svg"] = "svg",
        ["--results"] = "results"}
    local i = 3
    while words[i] do
        if words[i] == "--quick" then
            options.quick = true
            i = i + 1
        else
            local name = names[words[i]] or fail("unknown option %s", words[i])
            options[name] = words[i + 1] or fail("%s wants a value", words[i])
            i = i + 2
        end
    end
    options.runs = math.tointeger(tonumber(options.runs or options.quick and 1 or 5))
    if not options.runs or options.runs < 1 then fail("--runs wants a number") end
    options.csv = options.csv or options.results .. "/compare.csv"
    options.svg = options.svg or options.results .. "/compare.svg"
    options.scenarios = choose(options.only, "scenario", scenarios.find, scenarios.list)
    options.peers = choose(options.peers, "peer", peers.find, peers.list)
    return options
end

-- --- who is measured, on what ---

local function prepare(options)
    local cores = machine.cores()
    local certificates = certs.new()
    local crt, key = certificates:make("localhost", {san = "DNS:localhost,IP:127.0.0.1"})
    if #cores > 1 then os.execute(("taskset -p -c %d %d >%s/taskset"):format(cores[2], machine.pid(), options.work)) end
    return {
        root = root,
        build = options.build,
        peers = options.build .. "/peers",
        work = options.work,
        certs = {crt = crt, key = key},
        server_core = #cores > 1 and cores[1] or nil,
        client_core = cores[2],
        cores = #cores,
        descriptors = machine.descriptors(),
    }
end

local function introduce(env, options)
    local lines = machine.describe(env.cores)
    if env.server_core then
        lines[#lines + 1] = ("servers on core %d; the load generator, and Redis where there is one, on core %d")
            :format(env.server_core, env.client_core)
    else
        lines[#lines + 1] = "ONE CORE: server and load generator take it from each other; do not compare these figures"
    end
    lines[#lines + 1] = ("%d run%s of each, one process or worker each%s"):format(options.runs,
        options.runs == 1 and "" or "s", options.quick and "; QUICK: fewer connections, too short to compare" or "")
    for _, line in ipairs(lines) do say("%s", line) end
    return lines
end

-- Those that are here, with their versions said.
local function present(env, options)
    local list = {}
    for _, peer in ipairs(options.peers) do
        local missing = peer.missing and peer.missing(env)
        if missing then
            say("%-10s  left out: %s", peer.name, missing)
        else
            say("%-10s  %s", peer.name, peer.version(env) or "?")
            list[#list + 1] = peer
        end
    end
    say("")
    return list
end

-- --- one run ---

local function parse_keys(output)
    local keys = {}
    for name, value in output:gmatch "([%w_]+)[ \t]+([^\n]+)" do keys[name] = tonumber(value) or value end
    return keys
end

local function load_words(env, scenario, asked, server)
    local words = machine.pinned(env.client_core)
    local function add(...) table.move({...}, 1, select("#", ...), #words + 1, words) end
    add(env.build .. "/tests/bench/bench_load", scenario.mode, "--connections", tostring(asked.connections))
    if asked.size then add("--size", tostring(asked.size)) end
    add(table.unpack(asked.options))
    add(table.unpack(server.words))
    add("--pid", tostring(server.pid), "--format", "kv", server.address)
    return words
end

local function last_line(text) return text:match "([^\n]+)%s*$" end

-- Whether a server has ended is known a moment after the load generator has noticed.
local function ended(server)
    pcall(wait.till, function() return server.process:status() end, 1)
    return server.process:status()
end

local function measure(env, scenario, asked, peer)
    local broker = scenario.redis and redis.start() or nil
    local started, server = pcall(peer.start, env, scenario, broker)
    local run = {keys = {}, status = 1, raw = ""}
    if started then
        local words = load_words(env, scenario, asked, server)
        local output, errors, status = machine.run(words, RUN_SECONDS, env.work)
        run.keys, run.status = parse_keys(output), status
        run.error = status == 124 and "it took too long" or last_line(errors)
        run.raw = ("%s\n%s%s"):format(process.command(words), output, errors)
        if status ~= 0 then
            local log, how = server.process:log(), ended(server)
            if how then run.status, run.error = 1, "the server ended: " .. (last_line(log) or how) end
            run.raw = ("%s\nthe server's log:\n%s"):format(run.raw, log)
        end
    else
        run.error, run.raw = last_line(tostring(server)), tostring(server) .. "\n"
    end
    for _, one in ipairs(process.running()) do
        if not broker or one ~= broker.process then one:stop() end
    end
    if broker then broker:stop() end
    return run
end

local function keep_raw(options, run)
    process.write_file(("%s/raw/%s-%s-%d.txt"):format(options.results, run.scenario, run.peer, run.number), run.raw)
end

local function say_run(scenario, run, runs, asked)
    local figures = {}
    for i, metric in ipairs(scenario.metrics) do
        local value = run.keys[metric.key]
        figures[i] = report.number(value and value * (metric.scale or 1)) .. " " .. metric.label
    end
    local refusal = verdict.refusal(run, asked)
    progress("%s %d/%d  %-10s  %s", scenario.name, run.number, runs, run.peer, refusal or table.concat(figures, ", "))
end

-- --- a scenario ---

-- What each peer is asked to do.
local function ask(env, scenario, options, notes)
    local wanted = options.quick and scenario.quick or scenario.connections
    local most = math.max(env.descriptors - SPARE_DESCRIPTORS, 1)
    if wanted > most then
        notes[#notes + 1] = ("%d connections instead of %d: a process may have %d file descriptors"):format(most, wanted,
            env.descriptors)
        wanted = most
    end
    return {
        connections = wanted,
        size = scenario.size,
        options = options.quick and scenario.quick_options or scenario.options,
        fixed_work = scenario.mode == "fanout",
    }
end

local function taking_part(scenario, list, notes)
    local part = {}
    for _, peer in ipairs(list) do
        local may, why = peers.takes_part(peer, scenario)
        if may then
            part[#part + 1] = peer
            notes[#notes + 1] = peers.note(peer, scenario)
        elseif why then
            notes[#notes + 1] = ("%s is left out: %s"):format(peer.name, why)
        end
    end
    return part
end

-- Each round begins with another peer.
local function run_rounds(env, scenario, options, part, asked)
    local runs = {}
    for number = 1, options.runs do
        for i = 1, #part do
            local peer = part[(i + number - 2) % #part + 1]
            local run = measure(env, scenario, asked, peer)
            run.scenario, run.peer, run.number = scenario.name, peer.name, number
            keep_raw(options, run)
            say_run(scenario, run, options.runs, asked)
            runs[#runs + 1] = run
        end
    end
    return runs
end

local function run_scenario(env, scenario, options, list)
    local notes, order = {}, {}
    local asked = ask(env, scenario, options, notes)
    local part = taking_part(scenario, list, notes)
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
    local options = parse(arg)
    local env = prepare(options)
    os.execute("mkdir -p " .. process.quote(options.results .. "/raw"))
    local about = introduce(env, options)
    local list = present(env, options)
    local all, tables, panels = {}, {table.concat(about, "\n")}, {}
    for _, scenario in ipairs(options.scenarios) do
        local runs, lines, panel = run_scenario(env, scenario, options, list)
        table.move(runs, 1, #runs, #all + 1, all)
        tables[#tables + 1] = table.concat(lines, "\n")
        panels[#panels + 1] = panel
        -- Written after each, so that what has been measured is there even when the rest is not.
        process.write_file(options.results .. "/compare.txt", table.concat(tables, "\n\n") .. "\n")
        process.write_file(options.csv, report.csv(all))
        process.write_file(options.svg, svg.draw(panels, about))
    end
    say("written: %s, %s; these tables: %s/compare.txt; what each run printed: %s/raw", options.csv, options.svg,
        options.results, options.results)
end

main()
