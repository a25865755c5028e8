-- Words that this field does not use, in code, comments, texts and documents, and files that grow too
-- long to be read as one. Usage: lua5.4 words.lua ROOT
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"

local words = { "whoever", "whom", "anew", "hence", "of late" }
local texts = { c = true, h = true, lua = true, md = true, html = true, sh = true }
local max_lines = 600

-- These name the words.
local exempt = { ["tests/lint/words.lua"] = true, ["tests/lint/selftest.lua"] = true }

local function check_line(line)
    local text = line:lower()
    for _, word in ipairs(words) do
        if text:find("%f[%w_]" .. word:gsub(" ", "%%s+") .. "%f[^%w_]") then
            return ('"%s": say it plainly'):format(word)
        end
    end
    return nil
end

files.main(function(root, report)
    for _, path in ipairs(files.list(root)) do
        local is_checked = texts[path:match("[^.]*$")] and not exempt[path]
        local is_source = path:find("^src/.*%.[ch]$") or path:find("^include/.*%.h$")
        local lines = 0
        files.each_line(root .. "/" .. path, function(line, number)
            if line ~= "" then lines = number end
            local problem = is_checked and check_line(line)
            if problem then report(path, number, problem) end
        end)
        if is_source and lines > max_lines then
            report(path, lines, ("more than %d lines: split it by what it does"):format(max_lines))
        end
    end
end)
