-- Counts the instructions of the hot paths: runs bench_hot_paths under callgrind and compares with
-- counts.baseline. Unlike times, counts do not depend on the load of the machine, so a path that got
-- longer is detected.
--
-- Counts depend on the compiler and the libraries. If they differ from those of the baseline, the table
-- is printed and nothing is judged.
--
-- Usage: lua5.4 tests/bench/counts.lua [--record] [--keep DIR] [PROGRAM]     from the root
local usage = [[
usage: lua5.4 tests/bench/counts.lua [--record] [--keep DIR] [PROGRAM]

  PROGRAM       default build/bench/tests/bench/bench_hot_paths
  --record      write the counts to tests/bench/counts.baseline instead of comparing
  --keep DIR    keep callgrind's files there, one for each path, for callgrind_annotate

status 1: a path takes over 3 % more instructions than the baseline, or a publish costs more with
100,000 users than with 1,000; 2: the measurement failed
]]

local here = arg[0]:match("^(.-)[^/]*$")
local baseline_file = here .. "counts.baseline"
local tolerance = 0.03
local flat = {
    from = "deliver: publish to one of 1,000 users",
    to = "deliver: publish to one of 100,000 users",
}

local function fail(message, ...)
    error(message:format(...), 0)
end

local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(path)
    local file = io.open(path)
    if not file then fail("callgrind wrote no %s: was the program built without valgrind's header?", path) end
    local text = file:read("a")
    file:close()
    return text
end

-- --- measuring ---

-- Addresses are fixed (setarch -R; for the stack an empty environment), and symbols of libraries are
-- bound at the start.
local function run(program, directory)
    local command = ('env -i PATH="$PATH" LD_BIND_NOW=1 setarch -R valgrind --tool=callgrind --instr-atstart=no '
        .. "--collect-atstart=no --callgrind-out-file=%s --log-file=%s %s")
        :format(quote(directory .. "/out"), quote(directory .. "/log"), quote(program))
    local pipe = assert(io.popen(command))
    local lines = {}
    for line in pipe:lines() do lines[#lines + 1] = line end
    if not pipe:close() then
        local log = io.open(directory .. "/log")
        fail("%s failed%s", command, log and "\n" .. log:read("a") or "")
    end
    return lines
end

-- The totals of one callgrind file, by the name of the event.
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

-- The n-th path has the n-th file.
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
                fail("%s does not belong to the path '%s'", file, path.name)
            end
            paths[#paths + 1] = path
        end
    end
    return machine, paths
end

-- The cost of one operation, without that of the loop around it.
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

-- Facts of the baseline that differ from this machine.
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
            found[#found + 1] = ("%s: %.1f instructions, baseline %.1f"):format(row.name, row.instructions, before)
        end
    end
    return found
end

local function find_slope(rows)
    local cost = {}
    for _, row in ipairs(rows) do cost[row.name] = row.instructions end
    if cost[flat.to] <= cost[flat.from] * (1 + tolerance) then return nil end
    return ("%s: %.1f instructions, %.1f with fewer users"):format(flat.to, cost[flat.to], cost[flat.from])
end

local function judge(machine, rows)
    local recorded, counts = load_baseline()
    local problems = {}
    print_table(rows, counts)
    print()
    local differ = recorded and differences(machine, recorded) or {}
    if not recorded then
        print("no baseline, nothing compared (--record writes one)")
    elseif #differ > 0 then
        print("not compared: the baseline was recorded with " .. table.concat(differ, ", ")
            .. "; this machine has " .. table.concat(machine, ", "))
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
