-- Runs every Lua block of README.md, docs/*.md and docs/lua/*.md, so that what readers copy works.
-- Run by `bellhop test`. A block is one of
--
--   a spec            requires bellhop.test: its tests are run, with the policy that it names: the policy
--                     block before it on the page, or a file in examples
--   a policy          returns a table of hooks: clients connect and send, messages are published to
--                     them, time passes, its endpoints are called; no hook may fail
--   hooks             the entries of such a table: run as a policy, with an on_handshake if there is none
--   statements        run in an on_message, with bh, conn, req, data, token (docs/lua/README.md says so)
--   a configuration   a table, or entries of one, without functions: `bellhop check` must accept it
local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
local root = here .. "../../"
package.path = here .. "?.lua;" .. package.path
local temporary = require "temporary"
local test = require "bellhop.test"

local write = temporary.write

local function remove_all()
    test.close()
    temporary.remove_all()
end

-- --- blocks ---

local function pages()
    local list = {}
    for path in io.popen(("ls '%sREADME.md' '%s'docs/*.md '%s'docs/lua/*.md 2>&1"):format(root, root, root)):lines() do
        if path:find "%.md$" then list[#list + 1] = path end
    end
    return list
end

-- { text, line } for each block; blocks in lists lose their indentation.
local function blocks(path)
    local list, block, indent, number = {}, nil, nil, 0
    for line in io.lines(path) do
        number = number + 1
        if block and line:match "^%s*```%s*$" then
            list[#list + 1] = { text = table.concat(block, "\n") .. "\n", line = block.line }
            block = nil
        elseif block then
            block[#block + 1] = line:sub(1, #indent) == indent and line:sub(#indent + 1) or line
        elseif line:match "^%s*```lua%f[^%w]" then
            block, indent = { line = number + 1 }, line:match "^%s*"
        end
    end
    assert(not block, path .. ": a block has no end")
    return list
end

-- What the block is, and its text as a chunk.
local function kind_of(text)
    if text:find 'require%(?%s*"bellhop%.test"' then return "spec", text end
    local entries = "return {\n" .. text .. "\n}"
    local is_chunk = not (text:find "^%s*[%w_]+ = " and load(entries))
    local chunk = is_chunk and text or entries
    assert(load(chunk))
    if is_chunk and not ("\n" .. text):find "\nreturn%f[%W]" then return "statements", chunk end
    local is_code = text:find "%f[%w]function%f[%W]" or text:find "%f[%w]require%f[%W]"
    return is_code and "policy" or "configuration", chunk
end

-- --- policies ---

-- Around a policy: its hooks, timers and endpoints, with their errors in GET /errors.
local POLICY = [[
    local bh = require "bellhop"
    local policy = (function() %s end)()
    local errors = bh.json.array {}
    local function guard(name, fn)
        return function(...)
            local results = table.pack(pcall(fn, ...))
            if results[1] then return table.unpack(results, 2, results.n) end
            errors[#errors + 1] = name .. ": " .. tostring(results[2])
            error(results[2], 0)
        end
    end
    policy.on_handshake = policy.on_handshake or function() return { user = "ann" } end
    for name, hook in pairs(policy) do
        if type(hook) == "function" then policy[name] = guard(name, hook) end
    end
    for name, timer in pairs(policy.timers or {}) do timer.fn = guard(name, timer.fn) end
    local http = { ["GET /errors"] = function() return 200, nil, errors end }
    for key, endpoint in pairs(policy.http or {}) do http[key] = guard(key, endpoint) end
    policy.http = http
    return policy]]

local STATEMENTS = [[
    local bh = require "bellhop"
    local req
    return {
        on_handshake = function(request)
            req = request
            return { user = "ann", tenant = "acme", topics = { "news" } }
        end,
        on_message = function(conn, data)
            local token = req:arg "token"
            local ok, why = pcall(function() %s end)
            conn:send(ok and "done" or why)
            return true
        end,
    }]]

local OPTIONS = {
    config = {
        websocket = { paths = { "/ws", "/app/:key" } },
        app = { secret = "secret", push_key = "key" },
    },
    http = function() return { status = 200, body = "{}" } end,
}

local function load_block(frame, chunk)
    return test.load(write((frame:gsub("%%s", function() return chunk end))), OPTIONS)
end

local function connect(t, path)
    local token = t.jwt { sub = "ann", tenant = "acme" }
    t.redis("SET", "session:s1", "ann")
    return t.connect {
        path = path,
        query = "user=ann&name=ann&protocol=7&token=" .. token,
        headers = { cookie = "sid=s1; token=" .. token },
    }
end

local run = {}

function run.statements(chunk)
    local client = connect(load_block(STATEMENTS, chunk)):recv "hello"
    assert.equal("done", client.sent[#client.sent])
end

local function call_endpoints(t, chunk)
    for method, path in chunk:gmatch '%["(%u+) (/[^"]*)"%]' do
        local answer = t.request { method = method, path = path:gsub(":", ""), body = '{"text":"hello"}' }
        assert.is_true(answer.status < 500)
    end
end

function run.policy(chunk)
    local t = load_block(POLICY, chunk)
    local clients = {}
    for _, path in ipairs { "/ws", "/app/app-key" } do
        local client = connect(t, path)
        if client.status == 101 then clients[#clients + 1] = client end
    end
    assert.is_true(#clients > 0)
    for _, client in ipairs(clients) do client:recv '{"event":"pusher:ping","data":{}}' end
    for _, target in ipairs { { user = "ann" }, { topic = "news" }, { all = true }, { user = "nobody" } } do
        target.data = "hello"
        t.publish(target)
    end
    call_endpoints(t, chunk)
    t.advance(3601)
    for _, client in ipairs(clients) do client:close() end
    assert.same({}, t.request({ path = "/errors" }).json)
end

-- --- specs and configurations ---

-- Runs a spec at once. It may load the policy on its page by any name.
function run.spec(chunk, policy)
    local tests = 0
    local function find(name)
        local example = root .. "examples/" .. name
        local file = io.open(example)
        if file then file:close() end
        return file and example or write(assert(policy, "no policy for " .. name))
    end
    local library = setmetatable({ load = function(name, options) return test.load(find(name), options) end },
        { __index = test })
    local environment = setmetatable({
        require = function() return library end,
        assert = assert,
        it = function(_, fn)
            tests = tests + 1
            fn()
        end,
    }, { __index = _G })
    assert(load(chunk, "=spec", "t", environment))()
    assert.is_true(tests > 0)
end

function run.configuration(chunk)
    local command = ('"$(readlink /proc/$PPID/exe)" check -c \'%s\' 2>&1'):format(write(chunk))
    local program = io.popen(command)
    local output = program:read "a"
    assert(program:close(), output)
end

for _, path in ipairs(pages()) do
    local name = path:sub(#root + 1)
    describe(name, function()
        after_each(remove_all)
        local policy
        for _, block in ipairs(blocks(path)) do
            local kind, chunk = kind_of(block.text)
            local before = policy
            it(("line %d: %s"):format(block.line, kind), function() run[kind](chunk, before) end)
            if kind == "policy" then policy = chunk end
        end
    end)
end
