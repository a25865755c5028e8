-- bellhop.test.schema - checks the tables that a spec passes to bellhop.test. An unknown key is an error: a spec whose
-- misspelt option is ignored tests something else than it says.
--
-- A list of options is { name = type }. A type is a Lua type, "integer", "false", "list", or "strings" (a table of strings
-- by name); "a|b" is either. Functions return the problem as text, or nil.
local core = require "bellhop.test.core"

local schema = {}

schema.load = { config = "table", redis = "function|false", http = "function", keep = "boolean" }

-- What on_api judges has no body.
schema.api = {
    method = "string", path = "string", query = "string", host = "string", ip = "string", secure = "boolean",
    headers = "strings",
}

schema.connect = { resume = "boolean", since = "string" }
schema.request = { body = "string" }
for name, kind in pairs(schema.api) do schema.connect[name], schema.request[name] = kind, kind end

schema.history = {
    user = "string|integer", tenant = "string|integer", topic = "string|integer", all = "boolean", since = "string",
    limit = "integer", order = "string",
}

schema.response = { status = "integer", headers = "strings", body = "string" }

local phrases = {
    strings = "a table of names and strings", integer = "an integer", boolean = "true or false", ["false"] = "false",
}

local fitting = {}

fitting["false"] = function(value) return value == false end
function fitting.integer(value) return math.type(value) == "integer" end
function fitting.list(value) return type(value) == "table" and (#value > 0 or next(value) == nil) end

function fitting.strings(value)
    if type(value) ~= "table" then return false end
    for name, text in pairs(value) do
        if type(name) ~= "string" or type(text) ~= "string" then return false end
    end
    return true
end

local function fits(kind, value)
    if fitting[kind] then return fitting[kind](value) end
    return type(value) == kind
end

-- The problem of one value. kinds: "a|b".
local function mismatch(name, value, kinds)
    local list = {}
    for kind in kinds:gmatch "[^|]+" do
        if fits(kind, value) then return nil end
        list[#list + 1] = phrases[kind] or "a " .. kind
    end
    return ("%s must be %s, not a %s"):format(name, table.concat(list, " or "), type(value))
end

local function names_of(known)
    local names = {}
    for name in pairs(known) do names[#names + 1] = name end
    table.sort(names)
    return names
end

local function unknown(name, known)
    local names = names_of(known)
    local hint = core.suggest(tostring(name), names)
    if hint == "" and #names < 20 then hint = "; there are " .. table.concat(names, ", ") end
    return ("unknown key \"%s\"%s"):format(name, hint)
end

-- Checks a table against a list of options.
function schema.problem(given, known)
    if type(given) ~= "table" then return ("expected a table, not a %s"):format(type(given)) end
    for name, value in pairs(given) do
        if not known[name] then return unknown(name, known) end
        local why = mismatch(name, value, known[name])
        if why then return why end
    end
end

-- --- the configuration, whose keys and types are those of the defaults ---

local function is_section(value)
    return type(value) == "table" and #value == 0 and next(value) ~= nil
end

local function kind_of(default)
    if default == "auto" then return "number|string" end
    return type(default) == "table" and "list" or type(default)
end

-- All keys that are no sections, by their path: { ["server.workers"] = "number" }.
local function flatten(defaults, prefix, into)
    for name, value in pairs(defaults) do
        local path = prefix .. name
        if is_section(value) then
            flatten(value, path .. ".", into)
        else
            into[path] = kind_of(value)
        end
    end
    return into
end

local function config_problem(given, defaults, prefix, known)
    for name, value in pairs(given) do
        local path, default = prefix .. tostring(name), defaults[name]
        local why
        if path == "app" then
            why = mismatch(path, value, "table")
        elseif default == nil then
            why = unknown(path, known)
        elseif not is_section(default) then
            why = mismatch(path, value, known[path])
        else
            why = mismatch(path, value, "table") or config_problem(value, default, path .. ".", known)
        end
        if why then return why end
    end
end

-- Checks a part of a configuration. The section `app` is free.
function schema.config_problem(given)
    return config_problem(given, core.config, "", flatten(core.config, "", {}))
end

return schema
