-- The machine: its description, its cores, and running programs on them.
local process = require "process"

local machine = {}

-- The output of a shell command without the final line break; nil if it is empty.
function machine.ask(command)
    local pipe = assert(io.popen("(" .. command .. ") 2>/dev/null </dev/null"))
    local output = pipe:read("a"):gsub("%s+$", "")
    pipe:close()
    return output ~= "" and output or nil
end

local function grep(path, pattern)
    local file = io.open(path)
    local text = file and file:read "a" or ""
    if file then file:close() end
    return text:match(pattern)
end

-- "0,2-4" is {0, 2, 3, 4}.
function machine.parse_cores(list)
    local cores = {}
    for from, to in list:gmatch "(%d+)%-?(%d*)" do
        for core = math.tointeger(from), math.tointeger(to) or math.tointeger(from) do cores[#cores + 1] = core end
    end
    return cores
end

-- The cores of this process.
function machine.cores()
    return machine.parse_cores(grep("/proc/self/status", "Cpus_allowed_list:%s*(%S+)") or "0")
end

-- The pid of this process.
function machine.pid() return math.tointeger(grep("/proc/self/stat", "^(%d+)")) end

function machine.descriptors() return tonumber(machine.ask "ulimit -n") or math.huge end

-- Lines to print: the machine, then the compiler. allowed: the number of usable cores.
function machine.describe(allowed)
    local memory = tonumber(grep("/proc/meminfo", "MemTotal:%s*(%d+)") or 0)
    local flags = grep("/proc/cpuinfo", "flags%s*:%s*([^\n]*)") or ""
    return {
        ("%d cores (%s may be used) of %s%s"):format(tonumber(machine.ask "nproc --all") or 0, allowed,
            grep("/proc/cpuinfo", "model name%s*:%s*([^\n]*)") or machine.ask "uname -m" or "an unknown model",
            (" " .. flags .. " "):find " hypervisor " and ", virtual" or ""),
        ("%.0f GiB of memory, Linux %s, %s, %s file descriptors a process"):format(memory / 1024 / 1024,
            machine.ask "uname -r" or "?", grep("/etc/os-release", 'PRETTY_NAME="([^"]*)"') or "?",
            machine.descriptors()),
        ("built with %s; load average before it began: %s"):format(
            machine.ask "gcc --version | head -n 1" or "an unknown compiler", grep("/proc/loadavg", "^(%S+)") or "?"),
    }
end

-- The words before a command that pin it to a core; none without a core.
function machine.pinned(core)
    return core and {"taskset", "-c", tostring(core)} or {}
end

-- Runs a program for at most `seconds`: stdout, stderr, status (124: timeout). Calls meanwhile(), if
-- given, while it runs.
function machine.run(argv, seconds, dir, meanwhile)
    local errors = dir .. "/stderr"
    local pipe = assert(io.popen(("timeout --foreground --kill-after=5 %d %s 2>%s </dev/null"):format(seconds,
        process.command(argv), process.quote(errors))))
    if meanwhile then meanwhile() end
    local output = pipe:read "a"
    local _, _, status = pipe:close()
    local file = io.open(errors)
    local said = file and file:read "a" or ""
    if file then file:close() end
    return output, said, status or 0
end

return machine
