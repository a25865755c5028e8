-- The global symbols of a build's objects. For the lints here that need more than the text.
local files = require "files"

local symbols = {}

-- The set of the objects that the build makes; nil when it does not say.
local function objects_of(build)
    local commands = io.open(build .. "/compile_commands.json")
    if not commands then return nil end
    local made = {}
    for object in commands:read("a"):gmatch(" %-o (src/%S+) ") do made[object] = true end
    commands:close()
    return made
end

-- Calls fn(source, symbol, type) for each global symbol of each object of src, in the order of the
-- paths; type is the letter of nm, "U" for a symbol that is used and not defined. Objects whose source
-- is not in the tree (generated, or left over from before a move), and those that the build no longer
-- makes, are skipped. nm cannot read objects of link-time optimisation: the build must be without.
function symbols.each(root, build, fn)
    local folder = build .. "/src/CMakeFiles/"
    local pipe = assert(io.popen(("find '%s' -name '*.c.o' -print0 | LC_ALL=C sort -z | xargs -0r nm -gAP")
        :format(folder)))
    local made, found = objects_of(build), false
    for line in pipe:lines() do
        local object, symbol, kind = line:match("^(.-): (%S+) (%a)")
        local source = object and "src/" .. object:sub(#folder + 1):match("^[^/]+%.dir/(.*)%.o$")
        local is_made = object and (not made or made[object:sub(#build + 2)])
        if source and is_made and files.exists(root .. "/" .. source) then
            found = true
            fn(source, symbol, kind)
        end
    end
    assert(pipe:close(), "nm failed for the objects of " .. build)
    assert(found, "no symbols in the objects of " .. build)
end

return symbols
