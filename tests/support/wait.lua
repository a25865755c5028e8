-- Waiting for a condition instead of sleeping.
local socket = require "socket"

local wait = {}

wait.now = socket.gettime

-- Calls cond until it returns a true value, and returns that; raises `what` (a string, or a function
-- that describes the state) after `seconds`.
function wait.till(cond, seconds, what)
    local deadline = wait.now() + (seconds or 10)
    local pause = 0.005
    while true do
        local result = cond()
        if result then return result end
        if wait.now() > deadline then
            if type(what) == "function" then what = what() end
            error("timeout: " .. (what or "a condition"), 2)
        end
        socket.sleep(pause)
        pause = math.min(pause * 1.5, 0.1)
    end
end

return wait
