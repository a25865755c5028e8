-- The files of a source tree, and one way to report what is wrong with them. For the lints here.
local files = {}

-- Paths below root, relative to it, sorted; without version control, builds and binary files.
function files.list(root)
    local quoted = "'" .. root:gsub("'", "'\\''") .. "'"
    local pipe = assert(io.popen("cd " .. quoted .. " && find . -type f "
        .. "-not -path './.git' -not -path './.git/*' -not -path './build/*' -not -path './build-*/*' | LC_ALL=C sort"))
    local found = {}
    for path in pipe:lines() do
        found[#found + 1] = path:sub(3)
    end
    assert(pipe:close(), "cannot list " .. root)
    return found
end

function files.exists(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

-- Calls fn(line, number) for each line; not at all for a file that is not text.
function files.each_line(path, fn)
    local file = assert(io.open(path, "rb"))
    local text = file:read("a")
    file:close()
    if text:find("\0", 1, true) then return end
    local number = 0
    for line in text:gmatch("([^\n]*)\n?") do
        number = number + 1
        fn(line, number)
    end
end

-- Runs check(root, report) for the tree named on the command line and exits.
function files.main(check)
    local root = arg[1] or "."
    local problems = 0
    check(root, function(path, number, message)
        problems = problems + 1
        print(("%s:%d: %s"):format(path, number, message))
    end)
    if problems > 0 then
        print(("%d problem(s)"):format(problems))
        os.exit(1)
    end
end

return files
