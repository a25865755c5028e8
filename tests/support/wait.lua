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

-- Calls step for a number of seconds, or until the condition `till` holds, which is asked from time to
-- time (at most `limit` seconds, default 15; then as wait.till).
function wait.run(step, till, limit, what)
    local seconds = type(till) == "number"
    local deadline, ask = wait.now() + (seconds and till or limit or 15), 0
    while true do
        step()
        local now = wait.now()
        if not seconds and now >= ask then
            if till() then return end
            ask = wait.now() + 0.03
        end
        if now > deadline then
            if seconds then return end
            if type(what) == "function" then what = what() end
            error("timeout: " .. (what or "a condition"), 3)
        end
    end
end

return wait
