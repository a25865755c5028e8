-- RPC: a client calls methods of a backend over its WebSocket.
--
--     {"id":1,"method":"orders.list","params":{"page":2}}   request of the client
--     POST /orders/list   {"page":2}                        request to the backend, with the user in headers
--     {"id":1,"result":[...]}                               answer
--     {"id":1,"error":{"code":"busy","message":"..."}}      or an error
--
-- What it shows
--   * Only the methods in app.rpc.methods can be called; text of a client never becomes part of a URL.
--   * bh.spawn runs calls concurrently, so a slow call delays no other, and answers come in any order. conn:allow and a
--     counter limit the calls of one connection.
--   * Parameters and result are passed on as text: nothing is encoded again, and numbers stay exact.
--   * Clients get an error code when the backend fails; the details are logged.
--
-- Run it, in the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef
--     bellhop serve -c examples/rpc/bellhop.conf.lua
--
-- Try it, in another terminal with the same variable, with a backend that returns its parameters:
--
--     python3 -c 'from http.server import *
--     class H(BaseHTTPRequestHandler):
--         def do_POST(s):
--             body = s.rfile.read(int(s.headers["Content-Length"]))
--             s.send_response(200); s.end_headers(); s.wfile.write(body)
--     HTTPServer(("127.0.0.1", 9108), H).serve_forever()' &
--     wscat -c "ws://127.0.0.1:8108/ws?token=$(bellhop token --user 42)"
--     > {"id":1,"method":"echo","params":{"n":1}}
local bh = require "bellhop"

local secret = bh.config "auth.jwt.secret"
local backend = bh.config "app.rpc.backend"
local key = bh.config "app.rpc.key" or ""
local methods = bh.config "app.rpc.methods" or {}
local at_once = bh.config "app.rpc.at_once" or 4
local timeout = bh.config "app.rpc.timeout" or 5

local peek, encode = bh.json.peek, bh.json.encode
local RAW = { raw = true } -- the bytes of a value, which are passed on as they are

local function problem(id, code, message)
    return ('{"id":%s,"error":%s}'):format(id, encode { code = code, message = message })
end

-- The number of running calls by connection id. A slot is released however its call ends.
local running = {}

local slot_class = {
    __close = function(slot)
        local left = running[slot.conn] - 1
        running[slot.conn] = left > 0 and left or nil
    end,
}

local function acquire_slot(conn)
    running[conn.id] = (running[conn.id] or 0) + 1
    return setmetatable({ conn = conn.id }, slot_class)
end

-- Calls the backend and returns the answer to the client. The id is already JSON.
local function call(conn, id, path, params)
    local response, why = bh.http.fetch(backend .. path, {
        method = "POST",
        body = params,
        timeout = timeout,
        headers = {
            ["Content-Type"] = "application/json",
            ["Authorization"] = "Bearer " .. key,
            ["X-User"] = conn.user,
            ["X-Tenant"] = conn.tenant,
        },
    })
    local status = response and response.status or 0
    if status >= 400 and status < 500 then return problem(id, "rejected", "the backend returned status " .. status) end
    -- The body becomes part of the answer, so it must be one valid JSON value.
    if status == 200 and peek(response.body, "", RAW) then
        return '{"id":' .. id .. ',"result":' .. response.body .. "}"
    end
    bh.log.warn("the backend failed", { path = path, why = why or status })
    return problem(id, "unavailable", "the backend did not return a valid answer")
end

return {
    on_init = function()
        if type(backend) ~= "string" then return false, "app.rpc.backend is missing" end
        if key:find "%c" then return false, "app.rpc.key has a control character, such as a line feed" end
        for name, path in pairs(methods) do
            if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
                return false, ("app.rpc.methods: %s must be a path that begins with /"):format(name)
            end
        end
    end,

    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = secret, require_exp = true })
        if not claims then return false, 401, problem("null", "unauthorized", why) end
        if not claims.sub then return false, 401, problem("null", "unauthorized", "the token has no user") end
        return { user = claims.sub, tenant = claims.tenant, expires = claims.exp }
    end,

    on_message = function(conn, data)
        local id, id_type = peek(data, "id", RAW)
        if id_type ~= "string" and not (id_type == "number" and id:find "^%-?%d+$") then
            return problem("null", "bad_request", 'send {"id":1,"method":"...","params":{...}}')
        end
        local name = peek(data, "method")
        local path = type(name) == "string" and methods[name]
        if not path then return problem(id, "no_method", "unknown method") end
        local params, params_type = peek(data, "params", RAW)
        if params and params_type ~= "object" and params_type ~= "array" then
            return problem(id, "bad_params", "`params` must be an object or a list")
        end
        if not conn:allow("rpc", 20, 40) then return problem(id, "too_fast", "at most 20 calls a second") end
        if (running[conn.id] or 0) >= at_once then return problem(id, "busy", "too many concurrent calls") end
        local started = bh.spawn(function()
            local slot <close> = acquire_slot(conn) -- luacheck: ignore slot
            conn:send(call(conn, id, path, params or "{}"))
        end)
        return started and true or problem(id, "busy", "the server is overloaded")
    end,
}
