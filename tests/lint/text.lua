-- What no file of the project may hold: markers of unfinished work without a reason, paths of one
-- machine, leftovers of a merge; in sources also blanks at the end of a line, and tabs.
-- Usage: lua5.4 text.lua ROOT
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"

-- Put together here, so that this file does not hold them.
local markers = { "TO" .. "DO", "FIX" .. "ME", "XX" .. "X", "HA" .. "CK" }
local homes = { "/ho" .. "me/%w", "/ro" .. "ot/", "/Us" .. "ers/%w", "/wo" .. "rk/", "/wo" .. "rkspaces?/" }
local conflicts = { "^<<<<<<" .. "< ", "^>>>>>>" .. "> " }

local sources = { c = true, h = true, lua = true, sh = true, md = true, html = true, txt = true }

local function check_line(line)
    for _, marker in ipairs(markers) do
        -- MARKER(why it is still open) is allowed.
        if line:find("%f[%w_]" .. marker .. "%f[^%w_]") and not line:find(marker .. "%([^)]*%s[^)]*%)") then
            return marker .. " without a reason: write " .. marker .. "(why it is still open)"
        end
    end
    for _, home in ipairs(homes) do
        if line:find("%f[^%s\"'`=(:]" .. home) or line:find("^" .. home) then
            return "a path of one machine"
        end
    end
    for _, conflict in ipairs(conflicts) do
        if line:find(conflict) then return "a merge conflict" end
    end
    return nil
end

local function check_layout(line)
    if line:find("[ \t\r]$") then return "a blank at the end of the line" end
    if line:find("\t", 1, true) then return "a tab" end
    return nil
end

files.main(function(root, report)
    for _, path in ipairs(files.list(root)) do
        local is_source = sources[path:match("[^.]*$")]
        files.each_line(root .. "/" .. path, function(line, number)
            local problem = check_line(line) or is_source and check_layout(line)
            if problem then report(path, number, problem) end
        end)
    end
end)
