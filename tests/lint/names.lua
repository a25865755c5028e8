-- Names that other files can see begin with bh_. Usage: lua5.4 names.lua ROOT BUILD
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"
local symbols = require "symbols"

files.main(function(root, report)
    symbols.each(root, arg[2], function(source, symbol, kind)
        local is_ours = kind ~= "U" and not symbol:find("^_") -- a sanitizer's begin with __
        if is_ours and not symbol:find("^bh_") and symbol ~= "main" then
            report(source, 1, symbol .. ": begin it with bh_, or make it static")
        end
    end)
end)
