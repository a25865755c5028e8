-- The programs publish.<suffix> of a folder of examples, in languages of which some may not be installed.
local process = require "process"

local languages = {}

languages.suffixes = {"sh", "py", "js", "go", "php"}

local words = {sh = "sh", py = "python3", js = "node", go = "go", php = "php"}

-- go run takes longer for its first build than process.run waits.
local function build(path, dir)
    local binary = dir .. "/publish"
    local go = process.spawn({"go", "build", "-o", binary, path}, {GOTOOLCHAIN = "local"})
    local status, log = go:wait(300), go:log()
    go:stop()
    assert(status == 0, log)
    return {binary}
end

-- What process.run runs; nil and why: the language is not installed. dir: for what is built.
function languages.command(folder, suffix, dir)
    local _, status = process.run {"sh", "-c", "command -v " .. words[suffix]}
    if status ~= 0 then return nil, words[suffix] .. " is not installed" end
    local path = folder .. "/publish." .. suffix
    if suffix == "go" then return build(path, dir) end
    return {words[suffix], path}
end

return languages
