-- The first comment of each example says what it shows, how to run it and how to try it, and each example has its own
-- port, so that all of them can run at the same time. Run by `bellhop test`.
local root = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$" .. "../../"

local function read(path)
    local file = io.open(root .. path)
    if not file then return nil end
    local text = file:read "a"
    file:close()
    return text
end

-- The policies, and the configurations that stand alone.
local function examples()
    local list = {}
    for path in io.popen(("cd '%s' && ls examples/*.lua examples/*/policy.lua"):format(root)):lines() do
        if path ~= "examples/bellhop.conf.lua" then list[#list + 1] = path end
    end
    return list
end

local function port_of(comment)
    local config = comment:match "serve %-c (%S+)"
    if not config then return comment:match "%-%-listen 127%.0%.0%.1:(%d+)" or "8080" end
    return read(config):match 'listen = { "127%.0%.0%.1:(%d+)" }'
end

describe("examples", function()
    local users = {}

    for _, path in ipairs(examples()) do
        it(path .. " says how to run and try it, on its own port", function()
            local comment = read(path):match "^(%-%- .-)\n[^-]"
            for _, part in ipairs { "\n%-%- What it shows\n", "\n%-%- Run it, ", "\n%-%- Try it" } do
                assert.matches(part, comment)
            end
            assert.is_truthy(comment:find(path, 1, true) or comment:find(path:match "^(.*/)" .. "bellhop.conf.lua", 1, true))
            local port = port_of(comment)
            assert.matches("%f[%d]" .. port .. "%f[%D]", comment:match "\n%-%- Try it.*$")
            assert.is_nil(users[port])
            users[port] = path
        end)
    end

    it("are found", function() assert.is_true(#examples() > 10) end)
end)
