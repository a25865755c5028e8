-- C files are laid out as clang-format does it, by .clang-format. Its versions differ in details:
-- without Debian 12's the check is skipped (status 77). Usage: lua5.4 format.lua ROOT
-- To format: git ls-files '*.[ch]' | xargs clang-format -i
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"
local root = arg[1]
local version = "14"

local function find_tool()
    for _, name in ipairs { "clang-format-" .. version, "clang-format" } do
        local pipe = assert(io.popen(name .. " --version 2>/dev/null"))
        local text = pipe:read("a")
        pipe:close()
        if text:find("version " .. version .. ".", 1, true) then return name end
    end
    return nil
end

local tool = find_tool()
if not tool then
    print("skipped: no clang-format of version " .. version)
    os.exit(77)
end
local input = assert(io.popen(("cd '%s' && xargs %s --dry-run -Werror"):format(root, tool), "w"))
for _, path in ipairs(files.list(root)) do
    if path:find("%.[ch]$") then input:write(path, "\n") end
end
os.exit(input:close() == true)
