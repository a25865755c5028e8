-- Shared by compare.lua and scale.lua: command line, environment, results.
local certs = require "certs"
local machine = require "machine"
local process = require "process"
local report = require "report"
local verdict = require "verdict"

local session = {}

-- Descriptors of a server besides its connections.
session.SPARE_DESCRIPTORS = 500

function session.fail(...)
    io.stderr:write("error: ", string.format(...), "\n")
    os.exit(1)
end

function session.say(...)
    print(string.format(...))
    io.stdout:flush()
end

-- Progress, on stderr.
function session.progress(...) io.stderr:write(string.format(...), "\n") end

-- --- options ---

-- The items named in the list (a,b), in its order; all items without a list.
function session.choose(list, what, all)
    if not list then return all end
    local chosen, names, by_name = {}, {}, {}
    for i, one in ipairs(all) do
        names[i] = one.name
        by_name[one.name] = one
    end
    for name in list:gmatch "[^,]+" do
        chosen[#chosen + 1] = by_name[name]
            or session.fail("unknown %s %s; one of: %s", what, name, table.concat(names, ", "))
    end
    return chosen
end

-- Parses BUILD WORK [--quick] [--runs N] [--results DIR] and the options of `more` (names without
-- dashes, each with a value). times: the default number of runs.
function session.parse(words, times, more)
    local options = {build = words[1], work = words[2], results = "build/bench/results"}
    local known = {["--runs"] = "runs", ["--results"] = "results"}
    for _, name in ipairs(more) do known["--" .. name] = name end
    local i = 3
    while words[i] do
        if words[i] == "--quick" then
            options.quick = true
            i = i + 1
        else
            local name = known[words[i]] or session.fail("unknown option %s", words[i])
            options[name] = words[i + 1] or session.fail("%s needs a value", words[i])
            i = i + 2
        end
    end
    options.runs = math.tointeger(tonumber(options.runs or options.quick and 1 or times))
    if not options.runs or options.runs < 1 then session.fail("--runs must be a number") end
    os.execute("mkdir -p " .. process.quote(options.results .. "/raw"))
    return options
end

-- --- the environment ---

-- The environment for servers.lua and trial.lua. Moves this program, and thereby the load generator and
-- Redis, to the core of the clients.
function session.env(root, options)
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

-- Prints, and returns as lines, the conditions of the measurement. how: a few words about each run.
function session.introduce(env, options, how)
    local lines = machine.describe(env.cores)
    if env.server_core then
        lines[#lines + 1] = ("servers on core %d; load generator and Redis on core %d")
            :format(env.server_core, env.client_core)
    else
        lines[#lines + 1] = "ONE CORE, shared by server and load generator: do not compare these figures"
    end
    lines[#lines + 1] = ("%d run%s of each%s%s"):format(options.runs, options.runs == 1 and "" or "s", how,
        options.quick and "; QUICK: fewer connections, too short to compare" or "")
    for _, line in ipairs(lines) do session.say("%s", line) end
    return lines
end

-- The possible number of connections, at most `wanted`; adds a note if it is lower.
function session.connections(env, wanted, notes)
    local most = math.max(env.descriptors - session.SPARE_DESCRIPTORS, 1)
    if wanted <= most then return wanted end
    notes[#notes + 1] = ("%d connections instead of %d: the limit is %d file descriptors"):format(most, wanted,
        env.descriptors)
    return most
end

-- --- runs ---

-- Writes the output of a run of `who` to a file, and prints its figures.
function session.note(options, scenario, run, who, asked)
    local path = ("%s/raw/%s-%s-%d.txt"):format(options.results, scenario.name, who:gsub("[^%w_-]+", "-"), run.number)
    local figures = {}
    process.write_file(path, run.raw)
    for i, metric in ipairs(scenario.metrics) do
        local value = run.keys[metric.key]
        figures[i] = report.number(value and value * (metric.scale or 1)) .. " " .. metric.label
    end
    session.progress("%s %d/%d  %-10s  %s", scenario.name, run.number, options.runs, who,
        verdict.rejection(run, asked) or table.concat(figures, ", "))
end

return session
