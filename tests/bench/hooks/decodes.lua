-- For counts.lua: decodes 230 bytes of JSON a hundred times.
local bh = require "bellhop"

return {
    on_message = function(_, data)
        for _ = 1, 100 do
            if bh.json.decode(data).user.name ~= "Jane Doe" then error "wrong name" end
        end
        return "done"
    end,
}
