-- The arrows of the house: which layer may include which, private headers, and third-party
-- libraries, each in its one room. Usage: lua5.4 includes.lua ROOT
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"

local function set(names)
    local result = {}
    for name in names:gmatch("%S+") do result[name] = true end
    return result
end

local may_include = {
    base = set "base",
    io = set "io base",
    proto = set "proto base",
    core = set "core io base",
    backend = set "backend core io base",
    script = set "script core io base",
    edge = set "edge core proto io base",
    spec = set "spec script core io base",
    app = set "app edge spec script backend core proto io base",
}

-- The rooms of a layer and which of the others each may include. The files beside the rooms are the
-- layer's roof: they may include all of them, and no room includes the roof.
local rooms_of = {
    script = {
        hooks = set "hooks bind run lua",
        bind = set "bind run lua",
        run = set "run lua",
        sandbox = set "sandbox lua",
        lua = set "lua",
    },
    ["backend/redis"] = {
        link = set "link",
        broker = set "broker link",
        tracker = set "tracker cluster broker link",
        history = set "history broker link",
        cluster = set "cluster broker link",
    },
    edge = {
        limits = set "limits",
        http = set "http limits",
        client = set "client limits",
        ws = set "ws client http limits",
        sse = set "sse client http limits",
        api = set "api client http limits",
    },
}

-- Header -> where it may be included; a Lua pattern each, the first that matches decides.
local libraries = {
    { "^event2/", "^io/" },
    { "^openssl/ssl%.h$", "^io/" },
    { "^openssl/", "^base/", "^io/tls", "^io/test_tls" },
    { "^zlib%.h$", "^proto/" },
    { "^hiredis/", "^backend/redis/" },
    { "^curl/", "^backend/http/" },
    { "^lua%.h$", "^script/", "^spec/" },
    { "^lauxlib%.h$", "^script/", "^spec/" },
    { "^lualib%.h$", "^script/", "^spec/" },
    { "^cjson/", "^base/json%.c$" },
    { "^cmocka%.h$" },
}

-- C and the system. Any other header is a library that has no room yet.
local system_folders = set "sys netinet arpa net linux"
local system = set [[
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
    stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
    wchar wctype
    dirent dlfcn endian execinfo fcntl fnmatch ftw getopt glob grp libgen malloc netdb poll pthread pwd
    regex sched semaphore spawn strings syslog termios ucontext unistd ]]

-- Where a file stands: its path below its layer's root (base/json.c), the layer, whether a test.
local function place(path)
    local inside = path:match("^src/(.+)$") or path:match("^include/bellhop/(.+)$")
    if inside then return inside, inside:match("^(%w+)/"), false end
    inside = path:match("^tests/unit/(.+)$")
    if not inside then return nil end
    inside = inside:gsub("^memory/", "backend/memory/"):gsub("^redis/", "backend/redis/")
        :gsub("^http/", "backend/http/")
    return inside, inside:match("^(%w+)/"), true
end

local function check_library(header, inside, is_test)
    if header == "cmocka.h" and is_test then return nil end
    for _, library in ipairs(libraries) do
        if header:find(library[1]) then
            for i = 2, #library do
                if inside:find(library[i]) then return nil end
            end
            return "<" .. header .. "> does not belong in this room"
        end
    end
    local folder = header:match("^([^/]+)/")
    if folder and system_folders[folder] or not folder and system[header:match("^(.-)%.h$") or ""] then
        return nil
    end
    return "<" .. header .. "> is a library without a room: give it one in tests/lint/includes.lua"
end

-- Folders whose private headers a file may include, the nearest first. A private header is included
-- by its path below the layer's folder; `spec` stands above `script` and sees its rooms.
local function private_folders(inside)
    local folder = inside:match("^backend/%w+/") or inside:match("^%w+/")
    return folder == "spec/" and { folder, "script/" } or { folder }
end

local function room_of(folder, path)
    return rooms_of[folder:sub(1, -2)], path:match("^([%w_]+)/")
end

local function check_private(header, path, inside, is_test, root)
    if header:find("%.%./") then return "a path to a private header; name it from its layer's folder" end
    if path:find("^include/") then return "a public header includes a private one" end
    if is_test and files.exists(root .. "/" .. path:match("^(.*/)") .. header) then return nil end
    for _, folder in ipairs(private_folders(inside)) do
        if files.exists(root .. "/src/" .. folder .. header) then
            local rooms, target = room_of(folder, header)
            local _, room = room_of(folder, inside:sub(#folder + 1))
            if is_test or not rooms or not room or inside:sub(1, #folder) ~= folder then return nil end
            if not rooms[room] then return "a room that the lint does not know: " .. folder .. room end
            if target and rooms[room][target] then return nil end
            return ("%s%s may not include %s"):format(folder, room, target or "the layer's roof")
        end
    end
    for _, other in ipairs(files.list(root .. "/src")) do
        if ("/" .. other):sub(-#header - 1) == "/" .. header then
            return "a private header of src/" .. other:match("^(.*)/")
        end
    end
    return nil -- made by the build, or in tests/support
end

files.main(function(root, report)
    for _, path in ipairs(files.list(root)) do
        local inside, layer, is_test = place(path)
        if inside and path:find("%.[ch]$") then
            files.each_line(root .. "/" .. path, function(line, number)
                local kind, header = line:match('^%s*#%s*include%s*([<"])([^>"]+)[>"]')
                local problem
                local target = header and header:match("^bellhop/(%w+)/")
                if not header then
                    problem = line:find("^%s*#%s*include") and "an #include that cannot be read"
                elseif not may_include[layer] then
                    problem = "a layer that the design does not know: " .. tostring(layer)
                elseif target then
                    problem = not may_include[layer][target] and layer .. " may not include " .. target
                elseif kind == "<" then
                    problem = check_library(header, inside, is_test)
                else
                    problem = check_private(header, path, inside, is_test, root)
                end
                if problem then report(path, number, problem) end
            end)
        end
    end
end)
