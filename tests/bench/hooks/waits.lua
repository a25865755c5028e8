-- For counts.lua: a hook that waits once before it replies.
local bh = require "bellhop"

return {
    on_message = function(_, data)
        bh.sleep(0.001)
        return data
    end,
}
