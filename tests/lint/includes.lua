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
    app = set "app edge script backend core proto io base",
}

-- Header -> where it may be included; a Lua pattern each, the first that matches decides.
local rooms = {
    { "^event2/", "^io/" },
    { "^openssl/ssl%.h$", "^io/" },
    { "^openssl/", "^base/", "^io/tls" },
    { "^http_parser%.h$", "^proto/" },
    { "^zlib%.h$", "^proto/" },
    { "^hiredis/", "^backend/redis/" },
    { "^curl/", "^backend/http/" },
    { "^lua%.h$", "^script/" },
    { "^lauxlib%.h$", "^script/" },
    { "^lualib%.h$", "^script/" },
    { "^cjson/", "^base/json%.c$" },
    { "^cmocka%.h$" },
}

-- C and the system. Any other header is a library that has no room yet.
local system_folders = set "sys netinet arpa net linux"
local system = set [[
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
    stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
    wchar wctype
    dirent dlfcn endian execinfo fcntl fnmatch getopt glob grp libgen malloc netdb poll pthread pwd
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
    for _, room in ipairs(rooms) do
        if header:find(room[1]) then
            for i = 2, #room do
                if inside:find(room[i]) then return nil end
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

local function check_private(header, path, is_test, root, layer)
    if is_test then
        local other = header:match("^[%./]+/src/(%w+)/")
        if other and other ~= layer then return "a private header of " .. other end
        return nil
    end
    if header:find("/") then return "a path to a private header; those of other folders are closed" end
    if path:find("^include/") then return "a public header includes a private one" end
    local folder = path:match("^(.*/)")
    if files.exists(root .. "/" .. folder .. header) then return nil end
    for _, other in ipairs(files.list(root .. "/src")) do
        if other:match("[^/]+$") == header then return "a private header of src/" .. other:match("^(.*)/") end
    end
    return nil -- made by the build
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
                    problem = check_private(header, path, is_test, root, layer)
                end
                if problem then report(path, number, problem) end
            end)
        end
    end
end)
