-- Errors for the author of a policy: the log names the hook, the policy, and the place of the function
-- that failed; bellhop check runs the code of a policy that runs at load time.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local process = require "process"
local redis_server = require "redis"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
bh.shared.loads:incr "count"

return {
    timers = { tick = { every = 0.05, fn = function() error "in the timer" end } },
    http = {
        ["GET /answer"] = function()
            return "no status"
        end,
        ["GET /spawn"] = function()
            bh.spawn(function()
                bh.sleep(0.01)
                error "in the task"
            end)
            return 204
        end,
        ["GET /wait"] = function()
            table.sort({ 1, 2 }, function() bh.sleep(1) end)
        end,
    },
}
]]

describe("an error in a policy", function()
    after_each(daemon.stop_all)

    it("names the place of the function", function()
        local instance = daemon.start { policy = POLICY }
        local function line_of(path, text, line)
            if path then instance:request("GET", path) end
            instance:wait_log(text)
            for each in instance:log():gmatch "[^\n]+" do
                if each:find(text, 1, true) then
                    assert.matches("function=%S*policy%.lua:" .. line .. " ", each)
                    return
                end
            end
        end
        line_of("/answer", "the status must be an integer", 7)
        line_of("/spawn", "in the task", 11)
        line_of("/wait", "bh.sleep waits, which is not possible in a function", 17)
        line_of(nil, "in the timer", 5)
    end)

    it("names the endpoint, the task and the timer", function()
        local instance = daemon.start { policy = POLICY }
        local function has(text, ...)
            instance:wait_log(text)
            local line = instance:log():match("[^\n]*" .. text:gsub("%p", "%%%0") .. "[^\n]*")
            for _, field in ipairs { ... } do assert.matches(" " .. field .. " ", line, nil, true) end
        end
        instance:request("GET", "/answer")
        instance:request("GET", "/spawn")
        has("the status must be an integer", "hook=http", 'endpoint="GET /answer"')
        has("in the task", "hook=task", "task=bh.spawn", "started_by=http")
        has("in the timer", "hook=timers", "timer=tick")
    end)

    it("is found without a server", function()
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", POLICY)
        local output, status = process.run { daemon.BIN, "check", "--policy", file }
        os.execute("rm -rf " .. process.quote(dir))
        assert.equal(0, status, output)
        assert.matches("policy.lua: ok", output, nil, true)
    end)
end)

-- --- slips: a wrong script, and the line that it leaves ---

local function count(log, text)
    local n, from = 0, 1
    while true do
        local _, last = log:find(text, from, true)
        if not last then return n end
        n, from = n + 1, last + 1
    end
end

-- What runs inside an endpoint, and a part of the line about it.
local ERRORS = {
    { "bh.metric.counter 'x'", "did you mean bh.metrics?" },
    { "bh.redis.cal('GET', 'x')", "did you mean bh.redis.call?" },
    { "bh.sleeep(1)", "did you mean bh.sleep?" },
    { "redis.call('GET', 'x')", "did you mean bh.redis?" },
    { "io.open '/etc/passwd'", "scripts have no io" },
    { "os.execute 'ls'", "there is no os.execute in scripts, only time, date, clock and difftime" },
    { "os.tiem()", "did you mean os.time?" },
    { "('x'):fnd 'x'", "did you mean string:find?" },
    { "req:cokie 'x'", "did you mean req:cookie?" },
    { "bh.shared.store:gte 'x'", "did you mean shared:get?" },
    { "tosting(1)", "did you mean tostring?" },
    { "local own = {} own.metric.x = 1", "(field 'metric')\\n" }, -- no hint for a table of the script
    { "error { code = 42, message = 'no', token = 'tttt' }", "code = 42", "token = ***" },
    { "error()", "an error without a message" },
    { "error(7)", 'error="7' },
    { "error(print)", "an error object of type function" },
    { "return bh.redis.must('SUBSCRIBE', 'x')", "SUBSCRIBE was not sent: it changes the connection" },
    { "return bh.redis.must('MULTI')", "MULTI was not sent: other commands share the connection" },
    { "bh.redis.call('BLPOP', 'x', 0)", "command=BLPOP why=\"it blocks the connection" },
}

-- The key of on_handshake's table, the status, and the line.
local HANDSHAKES = {
    { "return { expires = 3600, user = 'u' }", 503, "3600 is a duration: add it to os.time()" },
    { "return { expires = os.time() * 1000, user = 'u' }", 503, "are these milliseconds?" },
    { "return { user = 'u', anonymous = true }", 503, "identity has a user and anonymous = true" },
    { "return { anonymous = 'yes' }", 503, "identity.anonymous must be true or false, not a string" },
    { "return { anonymos = true }", 503, 'did you mean \\"anonymous\\"?' },
    { "local identity = { user = 'u' }", 401, "on_handshake returned nil (a missing return?): refused with 401" },
    { "return {}", 101, "on_handshake returned no user; write anonymous = true if that is meant" },
    { "return { tenant = 't' }", 101, "on_handshake returned no user; write anonymous = true if that is meant" },
    { "return { anonymous = true }", 101, nil },
    { "return { user = 'u', anonymous = false }", 101, nil },
}

describe("a slip in a policy", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
        redis_server.stop_all()
    end)

    local function status_of(instance, path)
        local client, answer = ws.try(instance.port, path)
        return client and 101 or answer.status
    end

    it("leaves a line that names the cause and what was meant", function()
        local endpoints = {}
        for i, one in ipairs(ERRORS) do
            endpoints[i] = ('["GET /%d"] = function(req) %s end,'):format(i, one[1])
        end
        local instance = daemon.start {
            workers = 1, redis = redis_server.start():url(),
            policy = 'local bh = require "bellhop"\nreturn { http = {\n' .. table.concat(endpoints, "\n") .. "\n} }",
        }
        for i, one in ipairs(ERRORS) do
            instance:request("GET", "/" .. i)
            for _, text in ipairs { table.unpack(one, 2) } do instance:wait_log(text) end
        end
    end)

    it("in on_handshake leaves one line for each generation, whatever clients do", function()
        for _, one in ipairs(HANDSHAKES) do
            local body, status, text = one[1], one[2], one[3]
            local instance = daemon.start {
                policy = "return { on_handshake = function(req) " .. body .. " end }",
            }
            for _ = 1, 5 do assert.equal(status, status_of(instance, "/ws"), body) end
            if text then
                instance:wait_log(text)
            else
                assert.is_nil(instance:log():find("level=warn", 1, true), instance:log())
            end
            if text and status ~= 503 then assert.equal(1, count(instance:log(), text), instance:log()) end
            if text and status ~= 503 and body:find "tenant" then
                instance.process:signal "HUP"
                instance:wait_log "scripts reloaded"
                for _ = 1, 5 do status_of(instance, "/ws") end
                assert.equal(2, count(instance:log(), text), instance:log())
            end
            ws.drop_all()
            daemon.stop_all()
        end
    end)

    it("is refused with script.require_user", function()
        local instance = daemon.start {
            env = { BELLHOP_SCRIPT_REQUIRE_USER = "true" },
            policy = [[return { on_handshake = function(req)
                return { user = req:arg "user", anonymous = req:arg "anonymous" and true, topics = { "news" } }
            end }]],
        }
        for _ = 1, 3 do assert.equal(403, status_of(instance, "/ws")) end
        assert.equal(101, status_of(instance, "/ws?anonymous=1"))
        assert.equal(101, status_of(instance, "/ws?user=42"))
        assert.equal(1, count(instance:log(), "refused with 403 (script.require_user)"), instance:log())
    end)

    it("is refused with script.require_user, but not the query of --dev", function()
        local instance = daemon.start { env = { BELLHOP_SCRIPT_REQUIRE_USER = "true" } }
        assert.equal(101, status_of(instance, "/ws"))
        assert.equal(101, status_of(instance, "/ws?user=42"))
        assert.is_nil(instance:log():find("anonymous", 1, true))
    end)

    it("in on_message and endpoints leaves one line", function()
        local instance = daemon.start {
            policy = [[return {
                on_handshake = function(req) return { user = "u" } end,
                on_message = function(conn, data) if data == "sned" then conn:sned(data) end end,
                http = {
                    ["GET /none"] = function() end,
                    ["GET /nil"] = function() return nil end,
                },
            }]],
        }
        for _ = 1, 3 do
            local client = ws.connect(instance.port, "/ws")
            client:text "sned"
            client:text "x"
            assert.equal(1008, client:recv_close())
        end
        instance:wait_log "did you mean conn:send?"
        assert.equal(1, count(instance:log(), "on_message returned nil: closed with 1008"), instance:log())
        instance:request("GET", "/nil")
        assert.is_nil(instance:log():find("an endpoint returned nothing", 1, true))
        for _ = 1, 3 do assert.equal(404, instance:request("GET", "/none").status) end
        instance:wait_log 'endpoint="GET /none"'
        assert.equal(1, count(instance:log(), "an endpoint returned nothing"), instance:log())
    end)

    it("is found without a server, too", function()
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", 'local bh = require "bellhop"\nbh.metric.counter "x"\nreturn {}')
        local output, status = process.run { daemon.BIN, "check", "--policy", file }
        os.execute("rm -rf " .. process.quote(dir))
        assert.equal(1, status, output)
        assert.matches("did you mean bh.metrics?", output, nil, true)
    end)
end)
