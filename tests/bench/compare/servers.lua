-- Servers in the background: starts them on a core, waits until they are ready, and describes them for
-- the load generator. They end with this program (tests/support/process.lua).
local machine = require "machine"
local process = require "process"
local tcp = require "tcp"
local wait = require "wait"

local servers = {START_SECONDS = 20}

-- Runs on env.server_core. variables: environment variables.
function servers.launch(env, argv, variables)
    local words = machine.pinned(env.server_core)
    table.move(argv, 1, #argv, #words + 1, words)
    return process.spawn(words, variables)
end

-- Raises an error with the log if the server ends, or if ready() is not true in time.
function servers.wait_for(running, what, ready)
    wait.till(function()
        if running:status() then error(("%s ended; its log:\n%s"):format(what, running:log()), 0) end
        return ready()
    end, servers.START_SECONDS, function() return what .. "; its log:\n" .. running:log() end)
end

function servers.wait_port(running, name, port)
    servers.wait_for(running, name .. " to listen", function()
        local connection = tcp.connect(port)
        if connection then connection:close() end
        return connection ~= nil
    end)
end

function servers.wait_log(running, name, pattern)
    servers.wait_for(running, name .. " to be ready", function() return running:log():find(pattern) end)
end

-- {process, pid, address, words}; words: arguments of the load generator.
function servers.server(running, port, ...)
    return {process = running, pid = running.pid, address = "127.0.0.1:" .. port, words = {...}}
end

return servers
