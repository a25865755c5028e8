-- Compares lua/bellhop/meta.lua (and test/meta.lua) with the implementation, both ways: a function that is
-- added must be documented, and what is documented must exist. Run by `bellhop test`.
local here = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$"
local root = here .. "../../"
package.path = root .. "docs/?.lua;" .. here .. "?.lua;" .. package.path
local annotations = require "annotations"
local arity = require "bellhop.test.redis_arity"
local core = require "bellhop.test.core"
local schema = require "bellhop.test.schema"
local temporary = require "temporary"
local test = require "bellhop.test"

local write = temporary.write

local pages = annotations.read(root)
local index = annotations.index(pages)

local function remove_all()
    test.close()
    temporary.remove_all()
end

-- --- the documentation ---

-- The documented members of classes: their fields, and the functions of their variables.
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

-- Compares both ways; the message lists all differences.
local function same(what, there, written)
    local problems = {}
    for name, kind in pairs(there) do
        if not written[name] then
            problems[#problems + 1] = ("%s: %s (a %s) is not documented in meta.lua"):format(what, name, kind)
        elseif written[name] ~= kind then
            problems[#problems + 1] = ("%s: %s is a %s"):format(what, name, kind)
        end
    end
    for name in pairs(written) do
        if not there[name] then problems[#problems + 1] = ("%s: %s is documented but missing"):format(what, name) end
    end
    table.sort(problems)
    assert.equal("", table.concat(problems, "\n"))
end

-- --- the implementation ---

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

    it("has all hooks", function()
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

    -- Classes of the implementation (luaL_newmetatable) and their classes in meta.lua.
    local classes = {
        ["bellhop.conn"] = { "Conn" },
        ["bellhop.req"] = { "Request" },
        ["bellhop.msg"] = { "Msg" },
        ["bellhop.delivered.msg"] = { "Msg" },
        ["bellhop.metric"] = { "Counter", "Gauge", "Histogram" },
        ["bellhop.shared"] = { "Store" },
    }

    it("has all classes and members", function()
        local handle = core.env(core.encode(core.config), nil, nil, write "return {}")
        local there = handle:members()
        handle:close()
        for name in pairs(classes) do assert(there[name], name .. " is missing") end
        for name, members in pairs(there) do
            assert(classes[name], name .. " has no class in meta.lua; add it to `classes` in docs_spec.lua")
            same(name, members, documented(table.unpack(classes[name])))
        end
    end)

    local options = {
        identity = "Identity",
        publish = "Publish",
        timer = "Timer",
        fetch = "FetchOptions",
        history_read = "HistoryRead",
        history_remove = "HistoryRemove",
        jwt_verify = "JwtVerify",
        jwt_sign = "JwtSign",
        json_decode = "JsonOptions",
        json_peek = "PeekOptions",
    }

    for name, list in pairs(core.names()) do
        if name ~= "hooks" then
            it("has the fields of " .. name, function()
                same(name, set_of(list), documented((assert(options[name], "add its class to `options`"))))
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
            return { user = "u", tenant = "t", device = "d", expires = os.time() + 60, protocol = "p",
                compression = "off", format = "raw" } end }]])
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
        members.handle, members.from = nil, nil -- internal
        same("a client", members, documented "test.Client")
    end)

    it("has the options of bellhop.test", function()
        local function names(of)
            local list = {}
            for name in pairs(of) do list[#list + 1] = name end
            return set_of(list)
        end
        same("options", names(schema.load), documented "test.Options")
        local request = names(schema.request)
        for name, kind in pairs(names(schema.connect)) do request[name] = kind end
        same("a request", request, documented "test.Request")
        same("t.history", names(schema.history), documented "HistoryRead")
        local fields = set_of(core.names().publish)
        fields.conn = nil -- for policies only
        same("t.publish", fields, documented "test.Publish")
    end)

    it("has the commands of the fake Redis", function()
        local run, there = test.redis(), {}
        for name, n in pairs(arity) do
            local words = {}
            for i = 2, math.abs(n) do words[i - 1] = "1" end
            local _, why = run(name, table.unpack(words))
            if not (why and why:find("does not support " .. name, 1, true)) then there[name] = "command" end
        end
        local text
        for _, field in ipairs(index.class["bellhop.test.Options"].fields) do
            text = field.name == "redis" and field.text or text
        end
        local written = {}
        for name in text:match("It has `([%u ]+)`"):gmatch "%u+" do written[name] = "command" end
        same("the fake Redis", there, written)
    end)

    it("marks exactly the functions that wait as async", function()
        local waiting = {}
        for name, item in pairs(index["function"]) do
            if name:match "^bh%." or name:match "^conn:" then waiting[name] = item.async or false end
        end
        local calls = {}
        for name in pairs(waiting) do calls[#calls + 1] = name end
        table.sort(calls)
        -- on_deliver must not wait: functions that wait raise an error there before they check their arguments.
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
