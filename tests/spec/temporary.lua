-- Files that a spec writes and removes again.
local temporary = {}

local paths = {}

-- path: a name of its own unless given. Returns it.
function temporary.write(text, path)
    path = path or os.tmpname()
    paths[#paths + 1] = path
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
end

function temporary.remove_all()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
end

return temporary
