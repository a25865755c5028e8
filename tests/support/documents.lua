-- The code blocks of a Markdown document, and how those for a shell are run.
--
-- Blocks that begin with ```sh are commands. All of one document run in one bash, in their order, so
-- that variables and servers in the background stay for the blocks behind. Comments of their own line
-- say what is special:
--
--     <!-- fresh shell -->                         the servers are stopped, a new bash goes on
--     <!-- not run: REASON -->                     the next block is not run
--     <!-- not run: REASON; instead: COMMANDS -->  these are run in its place
--
-- A block whose fence has the word `output` (```json output) is what the block before it prints; `...`
-- in it stands for any text.
--
-- Ports are replaced, so that tests can run side by side: each of TENS (808x) by ten free ports in a row
-- (127.0.0.1:8081 becomes 127.0.0.1:40331, and 808$n becomes 4033$n), each of OTHERS by a free one.
local process = require "process"
local redis = require "redis"
local tcp = require "tcp"
local wait = require "wait"

local documents = {}

local TENS = {"808", "700"}
local OTHERS = {"8443", "6379", "6001"}

-- --- reading ---

local function read_file(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "a"
    file:close()
    return text
end

-- What a comment before a block says, put into `about`.
local function read_comment(line, about)
    local text = line:match "^<!%-%- (.-) %-%->$"
    if text == "fresh shell" then about.fresh = true end
    local reason = text and text:match "^not run: (.+)$"
    if reason then
        about.reason = reason:match "^(.-); instead: " or reason
        about.instead = reason:match "; instead: (.+)$"
    end
end

-- The blocks of a document: {name = "README.md:12", language, output, text, fresh, reason, instead}.
function documents.blocks(path)
    local list, about, block, number = {}, {}, nil, 0
    for line in (read_file(path) .. "\n"):gmatch "(.-)\n" do
        number = number + 1
        local fence = line:match "^```(.*)$"
        if block and fence then
            block.text = table.concat(block.lines, "\n") .. "\n"
            list[#list + 1], block, about = block, nil, {}
        elseif block then
            block.lines[#block.lines + 1] = line
        elseif fence then
            block = about
            block.name, block.lines = path .. ":" .. number, {}
            block.language, block.output = fence:match "^%w*", fence:find "%f[%w]output$" ~= nil
        elseif line:find "^<!%-%-" then
            read_comment(line, about)
        elseif line ~= "" then
            about = {}
        end
    end
    assert(not block, path .. ": a code block does not end")
    return list
end

-- The documents that tests run.
function documents.files()
    local list = {"README.md", "CONTRIBUTING.md"}
    for path in io.popen("ls docs/*.md"):lines() do list[#list + 1] = path end
    return list
end

-- --- ports ---

local function choose_ports()
    local ports, taken = {}, {}
    local function choose(name, find, size)
        local port
        repeat port = find() // size until not taken[port * size // 10]
        taken[port * size // 10] = true
        ports[name] = tostring(port)
    end
    for _, tens in ipairs(TENS) do choose(tens, tcp.ten_free_ports, 10) end
    for _, port in ipairs(OTHERS) do choose(port, tcp.free_port, 1) end
    return ports
end

local function with_ports(text, ports)
    for _, tens in ipairs(TENS) do text = text:gsub("%f[%d]" .. tens .. "([%d$])", ports[tens] .. "%1") end
    for _, port in ipairs(OTHERS) do text = text:gsub("%f[%d]" .. port .. "%f[%D]", ports[port]) end
    return text
end

-- --- a shell ---

local shell = {}
shell.__index = shell

-- Runs 1.sh, 2.sh, ... as they appear. A command that fails ends it.
local LOOP = [[
cd "$1"
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'exit 0' TERM
set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
bh_step=1
while :; do
    while [ ! -e "$bh_step.sh" ]; do sleep 0.02; done
    . "./$bh_step.sh" >"$bh_step.out" 2>&1
    for bh_job in $(jobs -pr); do # a server that has just begun has no log yet
        for bh_try in $(seq 1000); do
            if [ -e "$DOCS/$bh_job.log" ] || ! kill -0 "$bh_job" 2>/dev/null; then break; fi
            sleep 0.02
        done
    done
    mv "$bh_step.out" "$bh_step.done"
    bh_step=$((bh_step + 1))
done
]]

-- Servers write to logs of their own, so that a block prints what its commands print.
local BELLHOP = [[
case " $* " in *" serve "*) exec >"$DOCS/$$.log" 2>&1 ;; esac
case " $* " in *" -c "*) unset BELLHOP_SERVER_LISTEN ;; esac # the file says where to listen
exec "$BINARY" "$@"
]]
local REDIS_SERVER = 'exec "$REDIS_SERVER" "$@" >"$DOCS/$$.log" 2>&1\n'
local REDIS_CLI = 'exec "$REDIS_CLI" -p "$REDIS_PORT" "$@"\n'

local function first_line(command)
    local pipe = assert(io.popen(command))
    local line = pipe:read "l"
    pipe:close()
    return line
end

local function write_program(path, text)
    process.write_file(path, "#!/bin/sh\n" .. text)
    assert(os.execute("chmod +x " .. process.quote(path)))
end

-- A folder that looks like the project's, with other ports in its examples.
local function make_folder(ports)
    local dir, root = process.temp_dir(), first_line "pwd"
    local quoted = process.quote(dir)
    assert(os.execute(("ln -s %s/* %s && rm %s/examples && cp -r examples %s"):format(process.quote(root), quoted, quoted,
        quoted)))
    for path in io.popen("ls examples/*.lua examples/*/*.lua"):lines() do
        process.write_file(dir .. "/" .. path, with_ports(read_file(path), ports))
    end
    assert(os.execute("mkdir " .. quoted .. "/bin"))
    write_program(dir .. "/bin/bellhop", BELLHOP)
    write_program(dir .. "/bin/redis-server", REDIS_SERVER)
    write_program(dir .. "/bin/redis-cli", REDIS_CLI)
    return dir
end

-- binary: the program that documents call bellhop.
function documents.shell(binary)
    local ports = choose_ports()
    local dir = make_folder(ports)
    local self = setmetatable({dir = dir, ports = ports, steps = 0}, shell)
    if binary:sub(1, 1) ~= "/" then binary = first_line "pwd" .. "/" .. binary end
    self.process = process.spawn({"bash", "-c", LOOP, "docs", dir}, {
        PATH = dir .. "/bin:" .. os.getenv "PATH",
        DOCS = dir,
        BINARY = binary,
        BELLHOP_SERVER_LISTEN = "127.0.0.1:" .. ports["808"] .. "0",
        BELLHOP_SERVER_WORKERS = "1",
        BUILD = binary:gsub("/src/bellhop$", ""),
        REDIS_SERVER = first_line("command -v " .. process.quote(redis.SERVER)),
        REDIS_CLI = first_line("command -v " .. process.quote(redis.CLI)),
        REDIS_PORT = ports["6379"],
    })
    return self
end

function shell:with_ports(text) return with_ports(text, self.ports) end

local function exists(path)
    local file = io.open(path)
    return file and file:close()
end

-- Every server that has begun is ready, as it would be before a reader types the next command.
function shell:wait_servers()
    for path in io.popen("ls " .. process.quote(self.dir) .. "/*.log 2>/dev/null"):lines() do
        wait.till(function() return read_file(path):find "%f[%w][Rr]eady" end, 20, function()
            return "a server to be ready:\n" .. read_file(path)
        end)
    end
end

-- What the commands print; raises when one of them fails.
function shell:run(commands)
    if self.process:status() then error("a block before it has failed", 0) end
    self.steps = self.steps + 1
    local step = self.dir .. "/" .. self.steps
    process.write_file(step .. ".new", self:with_ports(commands))
    assert(os.rename(step .. ".new", step .. ".sh"))
    wait.till(function() return exists(step .. ".done") or self.process:status() end, 60, "the commands")
    if not exists(step .. ".done") then
        error(("a command fails in\n%s\nit printed\n%s"):format(commands, read_file(step .. ".out")), 0)
    end
    self:wait_servers()
    return read_file(step .. ".done")
end

function shell:close()
    self.process:stop()
    os.execute("rm -rf " .. process.quote(self.dir))
end

return documents
