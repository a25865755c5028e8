-- For fairness.lua: replies at once to honest clients; JSON, which the attackers send, costs some
-- microseconds.
local bh = require "bellhop"

return {
    on_handshake = function() return { anonymous = true } end,
    on_message = function(_, data)
        local first = data:byte()
        if first ~= 123 and first ~= 91 then return data end
        local value, why = bh.json.decode(data)
        if not value then return false, 1003, why end
        return true
    end,
    http = {
        ["GET /work"] = function()
            return 200, nil, bh.json.encode { work = "done" }
        end,
    },
}
