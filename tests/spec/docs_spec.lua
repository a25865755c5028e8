-- lua/bellhop/meta.lua against what is there, both ways, and the examples of docs/lua. Run by
-- `bellhop test`. A function that is added has to be written down, or this fails.
local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
local root = here .. "../../"
package.path = root .. "docs/?.lua;" .. package.path
local annotations = require "annotations"
local core = require "bellhop.test.core"
local test = require "bellhop.test"

local pages = annotations.read(root)
local index = annotations.index(pages)

local function read(path)
    local file = assert(io.open(path))
    local text = file:read "a"
    file:close()
    return text
end

local paths = {}
local function write(text, path)
    path = path or os.tmpname()
    paths[#paths + 1] = path
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
end

local function remove_all()
    test.close()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
end

-- --- what is written down ---

-- The members of a class: its fields, and the functions of its variable.
local function documented(...)
    local members = {}
    for _, name in ipairs { ... } do
        local class = assert(index.class["bellhop." .. name], name)
        for _, field in ipairs(class.fields) do
            if not field.name:match "^%[" then members[field.name] = "field" end
        end
        for _, item in pairs(index["function"]) do
            if class.variable and item.holder == class.variable then members[item.own] = "function" end
        end
    end
    return members
end

local function set_of(list)
    local set = {}
    for _, name in ipairs(list) do set[name] = "field" end
    return set
end

-- Both ways, with what is missing in the message.
local function same(what, there, written)
    local problems = {}
    for name, kind in pairs(there) do
        if not written[name] then
            problems[#problems + 1] = ("%s: %s (a %s) is missing in meta.lua"):format(what, name, kind)
        elseif written[name] ~= kind then
            problems[#problems + 1] = ("%s: %s is a %s"):format(what, name, kind)
        end
    end
    for name in pairs(written) do
        if not there[name] then problems[#problems + 1] = ("%s: there is no %s"):format(what, name) end
    end
    table.sort(problems)
    assert.equal("", table.concat(problems, "\n"))
end

-- --- what is there ---

-- The table of require "bellhop", as a policy sees it: name = kind, "name.member" = kind.
local LISTING = [[
    local bh, kinds = require "bellhop", {}
    for name, value in pairs(bh) do
        kinds[name] = type(value) == "function" and "function" or "field"
        if type(value) == "table" then
            for member, inner in pairs(value) do
                kinds[name .. "." .. member] = type(inner) == "function" and "function" or "field"
            end
        end
    end
    return { on_handshake = function() return {} end, on_message = function() return bh.json.encode(kinds) end }]]

local function live_table()
    local t = test.load(write(LISTING))
    return t.connect():recv("x"):last()
end

describe("meta.lua", function()
    after_each(remove_all)

    it("has every hook, and no other", function()
        same("hooks", set_of(core.names().hooks), documented "Policy")
    end)

    it("has the table of require 'bellhop'", function()
        local there, written = live_table(), {}
        for name, item in pairs(index["function"]) do
            local own = name:match "^bh%.(.+)$"
            if own then written[own] = "function" end
            assert.is_nil(own and item.method and name or nil)
        end
        for _, class in pairs(index.class) do
            local own = class.variable and class.variable:match "^bh%.?(.*)$"
            if own and own ~= "" then written[own] = "field" end
            for _, field in ipairs(own and class.fields or {}) do
                if not field.name:match "^%[" then
                    written[(own ~= "" and own .. "." or "") .. field.name] = "field"
                end
            end
        end
        same("bh", there, written)
    end)

    -- Which classes of meta.lua tell of those that luaL_newmetatable has made.
    local classes = {
        ["bellhop.conn"] = { "Conn" },
        ["bellhop.request"] = { "Request" },
        ["bellhop.msg"] = { "Msg" },
        ["bellhop.delivery"] = { "Msg" },
        ["bellhop.metric"] = { "Counter", "Gauge", "Histogram" },
        ["bellhop.shared"] = { "Store" },
    }

    it("has every class of objects, with every member", function()
        local handle = core.env(core.encode(core.config), nil, nil, write "return {}")
        local there = handle:members()
        handle:close()
        for name in pairs(classes) do assert(there[name], name .. " is not there") end
        for name, members in pairs(there) do
            assert(classes[name], name .. " is no class of meta.lua: see `classes` in docs_spec.lua")
            same(name, members, documented(table.unpack(classes[name])))
        end
    end)

    local options = {
        identity = "Identity",
        publish = "Publish",
        timer = "Timer",
        fetch = "FetchOptions",
        jwt_verify = "JwtVerify",
        jwt_sign = "JwtSign",
    }

    for name, list in pairs(core.names()) do
        if name ~= "hooks" then
            it("has the fields of " .. name, function()
                same(name, set_of(list), documented((assert(options[name], "which class is it?"))))
            end)
        end
    end

    it("has bellhop.test", function()
        local function kinds(object)
            local members = {}
            for name, value in pairs(object) do members[name] = type(value) == "function" and "function" or "field" end
            return members
        end
        local t = test.load(write [[return { on_handshake = function(req)
            if req.query == "" then return false, 403, "{}" end
            return { user = "u", tenant = "t", device = "d", expires = os.time() + 60, protocol = "p" } end }]])
        same("bellhop.test", kinds(test), documented "test")
        same("what load gives", kinds(t), documented "test.Env")
        local client = t.connect { query = "x", headers = { ["Sec-WebSocket-Protocol"] = "p" } }
        local members = kinds(client)
        for name in pairs(t.connect()) do members[name] = "field" end
        local class = debug.getmetatable(client).__index
        for i = 1, 10 do
            local of, values = debug.getupvalue(class, i)
            if of == "client_methods" or of == "client_fields" then
                for name in pairs(values) do members[name] = of == "client_methods" and "function" or "field" end
            end
        end
        members.handle, members.from = nil, nil -- its own business
        same("a client", members, documented "test.Client")
    end)

    it("has the options of load", function()
        local there = {}
        for name in read(root .. "lua/bellhop/test.lua"):gmatch "%f[%w]options%.([%w_]+)" do there[name] = "field" end
        same("options", there, documented "test.Options")
    end)

    it("says async where something waits, and only there", function()
        local waiting = {}
        for name, item in pairs(index["function"]) do
            if name:match "^bh%." or name:match "^conn:" then waiting[name] = item.async or false end
        end
        local calls = {}
        for name in pairs(waiting) do calls[#calls + 1] = name end
        table.sort(calls)
        -- on_deliver must not wait, so whatever waits says so there, whatever its arguments.
        local source = "local bh = require 'bellhop' local said = {} return {\n"
            .. "on_handshake = function() return { user = 'u' } end,\non_deliver = function(conn) said = {}\n"
        for _, name in ipairs(calls) do
            local call = name:gsub("^(conn):([%w_]+)$", "%1.%2")
            local arguments = name:match "^conn:" and "conn, 'a', 1, 1" or "1, 'b', 1, print"
            source = source .. ("do local ok, why = pcall(%s, %s) said[%q] = not ok and why:find 'must not wait' ~= nil end\n")
                :format(call, arguments, name)
        end
        local t = test.load(write(source .. "return bh.json.encode(said) end }"))
        local client = t.connect()
        t.publish { user = "u", data = "x" }
        local said = client:last()
        for _, name in ipairs(calls) do assert.equal(name .. tostring(waiting[name]), name .. tostring(said[name])) end
    end)
end)

-- --- examples ---

local function examples(path)
    local list = {}
    for text in read(path):gmatch "```lua\n(.-)```" do list[#list + 1] = text end
    return list
end

-- A part of a policy's table, or of a function, is wrapped into what is around it.
local function compiles(text)
    return load(text) or load("return {\n" .. text .. "\n}")
end

local function is_policy(text) return text:find "\nreturn {" and text:find "^local bh = require" end

describe("the examples", function()
    after_each(remove_all)

    local files = { "README.md" }
    for _, page in ipairs(pages) do files[#files + 1] = page.file end
    for _, file in ipairs(files) do
        it("of " .. file .. " are Lua, and policies load", function()
            for _, text in ipairs(examples(root .. "docs/lua/" .. file)) do
                assert(compiles(text), text)
                if is_policy(text) then assert(test.try(write(text))) end
            end
        end)
    end

    -- Runs a spec at once, with its policies looked for in the folder.
    local function run(text, folder)
        local tests = 0
        local function find() return { load = function(name) return test.load(folder .. name) end } end
        local environment = setmetatable({
            require = find,
            assert = assert,
            it = function(_, fn)
                tests = tests + 1
                fn()
            end,
        }, { __index = _G })
        assert(load(text, "=example", "t", environment))()
        assert.equal(1, tests)
    end

    it("of the guide runs its own spec", function()
        local policy, spec = table.unpack(examples(root .. "docs/lua/README.md"))
        local folder = os.tmpname()
        write(policy, folder .. "chat.lua")
        paths[#paths + 1] = folder
        run(spec, folder)
    end)

    it("of the page about tests runs", function()
        run(examples(root .. "docs/lua/testing.md")[1], root .. "examples/")
    end)
end)
