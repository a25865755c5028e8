-- Instructions of the hot paths, counted by callgrind: bench_hot_paths, run under valgrind, against
-- the counts of counts.baseline. Unlike times, counts are the same on a busy machine and on a quiet
-- one, so a path that has become longer shows.
--
-- They depend on the compiler and on the libraries. Where these are not those of the baseline, the
-- table is printed and nothing is judged.
--
-- Usage: lua5.4 tests/bench/counts.lua [--record] [--keep DIR] [PROGRAM]     from the root
local usage = [[
usage: lua5.4 tests/bench/counts.lua [--record] [--keep DIR] [PROGRAM]

  PROGRAM       build/bench/tests/bench/bench_hot_paths unless said otherwise
  --record      write the counts to tests/bench/counts.baseline instead of comparing
  --keep DIR    leave callgrind's files there, one a path, for callgrind_annotate

status 1: a path takes over 3 % more instructions than recorded, or a publish costs more with
100,000 users than with 1,000; 2: it could not be measured
]]

local here = arg[0]:match("^(.-)[^/]*$")
local baseline_file = here .. "counts.baseline"
local tolerance = 0.03
local flat = {
    from = "deliver: publish to one of 1,000 users",
    to = "deliver: publish to one of 100,000 users",
}

local function give_up(message, ...)
    error(message:format(...), 0)
end

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(path)
    local file = io.open(path)
    if not file then give_up("callgrind wrote no %s: was the program built without valgrind's header?", path) end
    local text = file:read("a")
    file:close()
    return text
end

-- --- measuring ---

-- Addresses are fixed, those of the stack by an empty environment; functions of libraries are
-- looked up beforehand.
local function run(program, directory)
    local command = ('env -i PATH="$PATH" LD_BIND_NOW=1 setarch -R valgrind --tool=callgrind --instr-atstart=no '
        .. "--collect-atstart=no --callgrind-out-file=%s --log-file=%s %s")
        :format(quote(directory .. "/out"), quote(directory .. "/log"), quote(program))
    local pipe = assert(io.popen(command))
    local lines = {}
    for line in pipe:lines() do lines[#lines + 1] = line end
    if not pipe:close() then
        local log = io.open(directory .. "/log")
        give_up("%s failed%s", command, log and "\n" .. log:read("a") or "")
    end
    return lines
end

-- The totals of the events of one file.
local function events_of(path)
    local text = read(path)
    local found, names = {}, {}
    for name in text:match("\nevents: ([^\n]*)"):gmatch("%S+") do names[#names + 1] = name end
    for value in text:match("\ntotals: ([^\n]*)"):gmatch("%S+") do
        found[names[#found + 1]] = tonumber(value)
        found[#found + 1] = value
    end
    return found
end

local function split(line)
    local fields = {}
    for field in line:gmatch("[^\t]+") do fields[#fields + 1] = field end
    return fields
end

-- The n-th path is in the n-th file.
local function measure(program, directory)
    local machine, paths = {}, {}
    for _, line in ipairs(run(program, directory)) do
        local fields = split(line)
        if fields[1] == "machine" then
            machine[#machine + 1] = fields[2] .. " " .. fields[3]
        else
            local path = { name = fields[2], rounds = tonumber(fields[3]), per_round = tonumber(fields[4]),
                clock_reads = tonumber(fields[5]) }
            local file = ("%s/out.%d"):format(directory, #paths + 1)
            path.events = events_of(file)
            if not read(file):find("\ndesc: Trigger: Client Request: " .. path.name .. "\n", 1, true) then
                give_up("%s is not of the path '%s'", file, path.name)
            end
            paths[#paths + 1] = path
        end
    end
    return machine, paths
end

-- What one operation costs, without what the loop around it does.
local function reduce(paths)
    local nothing = table.remove(paths, 1)
    local loop = nothing.events.Ir / nothing.rounds
    local rows = {}
    for _, path in ipairs(paths) do
        local n = path.rounds * path.per_round
        rows[#rows + 1] = {
            name = path.name,
            instructions = (path.events.Ir - loop * path.rounds) / n,
            clock_reads = path.clock_reads / n,
        }
    end
    return rows
end

-- --- the baseline ---

local function record(machine, rows)
    local file = assert(io.open(baseline_file, "w"))
    file:write("# Instructions of one operation of each hot path; `counts.lua --record` writes this.\n")
    for _, fact in ipairs(machine) do file:write("recorded with: ", fact, "\n") end
    for _, row in ipairs(rows) do file:write(("%s\t%.3f\n"):format(row.name, row.instructions)) end
    assert(file:close())
end

local function load_baseline()
    local file = io.open(baseline_file)
    local machine, counts = {}, {}
    if not file then return nil, counts end
    for line in file:lines() do
        local fact = line:match("^recorded with: (.*)$")
        local name, count = line:match("^(.+)\t([%d.]+)$")
        if fact then machine[#machine + 1] = fact end
        if name then counts[name] = tonumber(count) end
    end
    file:close()
    return machine, counts
end

-- What the baseline was recorded with, where it is not what is here.
local function differences(machine, recorded)
    local known, differ = {}, {}
    for _, fact in ipairs(machine) do known[fact] = true end
    for _, fact in ipairs(recorded) do
        if not known[fact] then differ[#differ + 1] = fact end
    end
    return differ
end

-- --- judging ---

local function print_table(rows, counts)
    local line = "%-44s %14s %12s %7s %12s"
    print(line:format("path, for one operation", "instructions", "baseline", "ratio", "clock reads"))
    for _, row in ipairs(rows) do
        local before = counts[row.name]
        print(line:format(row.name, ("%.1f"):format(row.instructions), before and ("%.1f"):format(before) or "-",
            before and ("%.3f"):format(row.instructions / before) or "-", ("%.3f"):format(row.clock_reads)))
    end
end

local function find_longer(rows, counts)
    local found = {}
    for _, row in ipairs(rows) do
        local before = counts[row.name]
        if before and row.instructions > before * (1 + tolerance) then
            found[#found + 1] = ("%s: %.1f instructions, %.1f were recorded"):format(row.name, row.instructions, before)
        end
    end
    return found
end

local function find_slope(rows)
    local cost = {}
    for _, row in ipairs(rows) do cost[row.name] = row.instructions end
    if cost[flat.to] <= cost[flat.from] * (1 + tolerance) then return nil end
    return ("%s: %.1f instructions, but %.1f with fewer users"):format(flat.to, cost[flat.to], cost[flat.from])
end

local function judge(machine, rows)
    local recorded, counts = load_baseline()
    local problems = {}
    print_table(rows, counts)
    print()
    local differ = recorded and differences(machine, recorded) or {}
    if not recorded then
        print("there is no baseline: nothing is compared (--record writes one)")
    elseif #differ > 0 then
        print("not compared, for the baseline was recorded with " .. table.concat(differ, ", ")
            .. "; here is " .. table.concat(machine, ", "))
    else
        problems = find_longer(rows, counts)
    end
    problems[#problems + 1] = find_slope(rows)
    for _, problem in ipairs(problems) do print("longer than before: " .. problem) end
    return #problems == 0
end

-- --- the command line ---

local options = { program = "build/bench/tests/bench/bench_hot_paths" }
do
    local i = 1
    while arg[i] do
        if arg[i] == "--help" or arg[i] == "-h" then
            io.write(usage)
            os.exit(0)
        elseif arg[i] == "--record" then
            options.record = true
        elseif arg[i] == "--keep" and arg[i + 1] then
            i = i + 1
            options.keep = arg[i]
        elseif arg[i]:sub(1, 1) == "-" then
            io.stderr:write(usage)
            os.exit(2)
        else
            options.program = arg[i]
        end
        i = i + 1
    end
end

local function temporary_directory()
    local pipe = assert(io.popen("mktemp -d"))
    local directory = pipe:read("l")
    pipe:close()
    return directory
end

local directory = options.keep or temporary_directory()
os.execute("mkdir -p " .. quote(directory))
local ok, machine, paths = pcall(measure, options.program, directory)
if not options.keep then os.execute("rm -rf " .. quote(directory)) end
if not ok then
    io.stderr:write("counts: ", machine, "\n")
    os.exit(2)
end
local rows = reduce(paths)
if options.record then
    record(machine, rows)
    print_table(rows, {})
    print("\nwritten to " .. baseline_file)
    os.exit(0)
end
os.exit(judge(machine, rows) and 0 or 1)
