-- Background processes that end with the test, even if it is killed.
--
-- A small shell is the parent: it writes the pid and later the exit status to files, and it kills the
-- process when the pipe to this program breaks. It closes inherited descriptors (sockets of clients):
-- otherwise a socket closed by a spec would stay open in a daemon.
local wait = require "wait"

local process = {}
process.__index = process

local running = {}

local script = [=[
for f in /proc/$$/fd/*; do
    n=${f##*/}
    [ "$n" -gt 2 ] && eval "exec $n>&-"
done
dir=$1
shift
exec 3<&0
"$@" </dev/null >>"$dir/log" 2>&1 3<&- &
pid=$!
echo $pid >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
(cat <&3 >/dev/null; [ -e "$dir/status" ] || kill -9 $pid) >/dev/null 2>&1 &
exec 3<&-
wait $pid 2>/dev/null
echo $? >"$dir/status.new" && mv "$dir/status.new" "$dir/status"
]=]

function process.quote(s)
    return "'" .. tostring(s):gsub("'", "'\\''") .. "'"
end

local function read_all(path)
    local f = io.open(path, "rb")
    if not f then return nil end
    local text = f:read "a"
    f:close()
    return text
end

function process.command(argv)
    local words = {}
    for i, word in ipairs(argv) do words[i] = process.quote(word) end
    return table.concat(words, " ")
end

-- Variables of the tests themselves, of which bellhop would warn.
local OWN = {}
for _, name in ipairs {"BIN", "OTHER_BIN", "TEST_REDIS", "TEST_REDIS_PORT", "TEST_REDIS_SERVER"} do
    OWN[#OWN + 1] = "-u"
    OWN[#OWN + 1] = "BELLHOP_" .. name
end

-- Runs a command: output (both streams), exit status.
function process.run(argv, env)
    local assignments = {}
    for name, value in pairs(env or {}) do
        assignments[#assignments + 1] = process.quote(name .. "=" .. value)
    end
    local pipe = assert(io.popen("timeout 30 env " .. table.concat(OWN, " ") .. " " .. table.concat(assignments, " ") .. " " ..
        process.command(argv) .. " 2>&1 </dev/null"))
    local output = pipe:read "a"
    local _, _, status = pipe:close()
    return output, status
end

function process.temp_dir()
    local pipe = assert(io.popen "mktemp -d")
    local dir = pipe:read "l"
    pipe:close()
    return dir
end

function process.write_file(path, text)
    local f = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    return path
end

-- argv: the command; env: environment variables. The process runs when this returns.
function process.spawn(argv, env)
    local self = setmetatable({dir = process.temp_dir()}, process)
    local words = {"bash", "-c", script, "spawn", self.dir, "env", table.unpack(OWN)}
    for name, value in pairs(env or {}) do words[#words + 1] = name .. "=" .. value end
    for _, word in ipairs(argv) do words[#words + 1] = word end
    self.pipe = assert(io.popen("exec " .. process.command(words), "w"))
    running[self] = true
    self.pid = wait.till(function() return read_all(self.dir .. "/pid") end, 10, "a process to start"):match "%d+"
    return self
end

function process:log()
    return read_all(self.dir .. "/log") or ""
end

-- The exit status, 128 + signal if one ended it; nil while it runs.
function process:status()
    local text = not self.last_status and read_all(self.dir .. "/status")
    return text and tonumber(text) or self.last_status
end

function process:signal(name)
    if not self:status() then os.execute("kill -" .. name .. " " .. self.pid .. " 2>/dev/null") end
end

function process:wait(seconds)
    return wait.till(function() return self:status() end, seconds or 20, function()
        return "the end of process " .. self.pid .. "; its log:\n" .. self:log()
    end)
end

-- Sends TERM, after a timeout KILL. Returns the exit status and the log.
function process:stop(signal)
    if not running[self] then return self.last_status, self.last_log end
    self:signal(signal or "TERM")
    local ended, status = pcall(self.wait, self, 20)
    if not ended then
        self:signal "KILL"
        status = self:wait(10)
    end
    running[self] = nil
    self.last_status, self.last_log = status, self:log()
    self.pipe:close()
    os.execute("rm -rf " .. process.quote(self.dir))
    return status, self.last_log
end

function process.running()
    local list = {}
    for p in pairs(running) do list[#list + 1] = p end
    return list
end

return process
