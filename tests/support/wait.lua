-- Waiting for a condition, never for luck: everything that takes its time goes through here.
local socket = require "socket"

local wait = {}

wait.now = socket.gettime

-- Asks cond until it is true, and returns what it returned; raises after `seconds` with `what`
-- (a string, or a function that says how things stand).
function wait.till(cond, seconds, what)
    local deadline = wait.now() + (seconds or 10)
    local pause = 0.005
    while true do
        local result = cond()
        if result then return result end
        if wait.now() > deadline then
            if type(what) == "function" then what = what() end
            error("waited in vain for " .. (what or "a condition"), 2)
        end
        socket.sleep(pause)
        pause = math.min(pause * 1.5, 0.1)
    end
end

return wait
