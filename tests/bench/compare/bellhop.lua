-- Starts bellhop for a measurement.
local http = require "http"
local machine = require "machine"
local process = require "process"
local servers = require "servers"

local bellhop = {}

-- how: policy (a path from the root); optional: workers (default one), redis (a running one), tls,
-- instance, config (a file), variables (environment). Returns a ready server as in servers.lua, with `plain`, its address
-- without TLS. The caller sets its words.
function bellhop.start(env, how)
    local argv = {env.build .. "/src/bellhop", "serve", "--workers", tostring(how.workers or 1), "--listen",
        how.tls and "127.0.0.1:0,tls:127.0.0.1:0" or "127.0.0.1:0", "--policy", env.root .. "/" .. how.policy}
    local function add(...) table.move({...}, 1, select("#", ...), #argv + 1, argv) end
    if how.redis then add("--redis", how.redis:url()) end
    if how.config then add("--config", how.config) end
    if how.instance then add("--instance", how.instance) end
    -- The probe pings more often than the default allows.
    local variables = {BELLHOP_SERVER_BACKLOG = "4096", BELLHOP_WEBSOCKET_CONTROL_PER_SECOND = "1000"}
    if how.tls then
        variables.BELLHOP_TLS_CERTIFICATES, variables.BELLHOP_TLS_KEYS = env.certs.crt, env.certs.key
    end
    for name, value in pairs(how.variables or {}) do variables[name] = value end
    local running = servers.launch(env, argv, variables)
    local ports
    servers.wait_for(running, "bellhop to listen", function()
        ports = {}
        for port in running:log():gmatch 'listening[^\n]-address"?[=:]"?127%.0%.0%.1:(%d+)' do ports[#ports + 1] = port end
        return #ports == (how.tls and 2 or 1)
    end)
    servers.wait_for(running, "bellhop to be ready", function()
        local answer = http.request(tonumber(ports[1]), "GET", "/readyz")
        return answer and answer.status == 200
    end)
    local server = servers.server(running, ports[#ports])
    server.plain = "127.0.0.1:" .. ports[1]
    return server
end

function bellhop.version(env) return machine.ask(process.quote(env.build .. "/src/bellhop") .. " --version") end

return bellhop
