-- The documents: every command in README.md and docs/*.md works as it stands and prints what is shown,
-- the code for browsers works in a browser, and lists are complete.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local documents = require "documents"
local http = require "http"
local process = require "process"
local wait = require "wait"

local function read_file(path)
    local file = assert(io.open(path))
    local text = file:read "a"
    file:close()
    return text
end

-- --- commands ---

-- `...` in the expected text matches anything.
local function matches(expected, printed)
    local pattern = expected:gsub("%s+$", ""):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
    return printed:gsub("%s+$", ""):find("^" .. pattern .. "$") ~= nil
end

local function check_syntax(block)
    local path = process.temp_dir()
    local output, status = process.run {"bash", "-n", process.write_file(path .. "/block.sh", block.text)}
    os.execute("rm -rf " .. process.quote(path))
    assert.are.equal(0, status, output)
end

for _, path in ipairs(documents.files()) do
    describe("the commands of " .. path, function()
        local shell, printed

        local function close()
            if shell then shell:close() end
            shell = nil
        end
        teardown(close)

        local function run(block)
            if block.fresh then close() end
            local commands = block.instead or not block.reason and block.text
            if not commands then return end
            shell = shell or documents.shell(daemon.BIN)
            printed = shell:run(commands)
        end

        for _, block in ipairs(documents.blocks(path)) do
            if block.language == "sh" then
                it("at " .. block.name .. (block.reason and " are valid" or " work"), function()
                    check_syntax(block)
                    run(block)
                end)
            elseif block.output then
                it("print the output of " .. block.name, function()
                    local expected = shell:with_ports(block.text)
                    assert(matches(expected, printed), "expected\n" .. expected .. "got\n" .. printed)
                end)
            end
        end
    end)
end

-- --- the first page ---

local function block_of(path, language)
    for _, block in ipairs(documents.blocks(path)) do
        if block.language == language then return block.text end
    end
end

describe("README.md", function()
    teardown(daemon.stop_all)

    it("has at most 200 lines", function()
        local _, lines = read_file "README.md":gsub("\n", "")
        assert.is_true(lines <= 200, lines)
    end)

    it("shows the policy that it names", function()
        local policy = read_file "examples/policy_minimal.lua":match "\n(local .*)$" -- without its first comment
        assert.are.equal(policy, block_of("README.md", "lua"))
    end)

    local function start(port)
        return daemon.start {
            dev = false, workers = 1, listen = {"127.0.0.1:" .. (port or 0)},
            args = {"--policy", "examples/policy_minimal.lua"},
            env = {BELLHOP_AUTH_JWT_SECRET = ("s"):rep(32), BELLHOP_API_KEYS = "key"},
        }
    end

    local function reaches(d, page, text)
        wait.till(function()
            http.post(d.port, "/api/users/42/messages", text, {Authorization = "Bearer key"})
            return page:log():find("received " .. text, 1, true)
        end, 40, function() return text .. "; the browser says\n" .. page:log() end)
    end

    it("has code for browsers that survives a restart of the server", function()
        if not browser.find() then return pending "there is no Chromium" end
        local d = start()
        local token = process.run({daemon.BIN, "token", "--user", "42"}, {BELLHOP_AUTH_JWT_SECRET = ("s"):rep(32)})
        local dir = process.temp_dir()
        local code = assert(block_of("README.md", "js")):gsub("127%.0%.0%.1:8080", "127.0.0.1:" .. d.port)
        process.write_file(dir .. "/page.html", ("<script>prompt = () => %q</script><script>%s</script>")
            :format(token:match "%S+", code))
        local page = browser.open("file://" .. dir .. "/page.html", dir)
        reaches(d, page, "before")
        assert.is_truthy(page:log():find("received pong", 1, true), page:log())
        local port = d.port
        d:stop()
        d = start(port)
        reaches(d, page, "after")
        page:stop()
    end)
end)

-- --- lists ---

describe("docs/architecture.md", function()
    it("names existing files and functions", function()
        local rows = 0
        for file, functions in read_file "docs/architecture.md":gmatch "\n| `(src/[^`]+)` | ([^|]*) |" do
            local code = read_file(file)
            for name in functions:gmatch "`([%w_]+)`" do
                assert.is_truthy(code:find("%f[%w_]" .. name .. "%("), file .. " has no " .. name)
            end
            rows = rows + 1
        end
        assert.is_true(rows > 30, rows)
        for file in read_file "docs/architecture.md":gmatch "`(%l+/[%w_/]+%.%l+)`" do read_file(file) end
    end)
end)

describe("docs/operating.md", function()
    teardown(daemon.stop_all)

    it("lists all metrics, and no others", function()
        local listed, there = {}, {}
        for name in read_file "docs/operating.md":gmatch "`(bellhop_%l[%w_]+)" do listed[name] = true end
        local d = daemon.start {redis = "redis://127.0.0.1:" .. assert(os.getenv "BELLHOP_TEST_REDIS_PORT")}
        for name in d:request("GET", "/metrics").body:gmatch "\n# TYPE ([%w_]+)" do there[name] = true end
        for name in pairs(there) do assert.is_true(listed[name], name .. " is not in docs/operating.md") end
        for name in pairs(listed) do assert.is_true(there[name], name .. " is not in /metrics") end
    end)
end)
