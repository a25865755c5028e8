-- Authentication by an HTTP service: for tokens that only the backend can verify.
--
-- What it shows
--   * on_handshake posts the token to app.auth.url and waits for the answer without blocking the worker.
--   * bh.cache caches valid tokens for app.auth.keep seconds, and invalid ones for app.auth.keep_no seconds. When a thousand
--     devices connect at once with one token, the service gets one request.
--   * Failures (a timeout, status 500, an invalid answer) are not cached and are neither a yes nor a no: the client gets 503
--     and should try again.
--   * The cache keeps the hash of a token, never the token.
--
-- The service gets POST {"token":"..."}. It answers 200 with {"user":"42","tenant":"7","topics":["news"],"ttl":600} (only user
-- is required; ttl is the life of the connection in seconds), or 401, 403 or 404.
--
-- Run it, in the project's folder:
--
--     bellhop serve -c examples/http_auth/bellhop.conf.lua
--
-- Try it, with a small service:
--
--     python3 -c 'from http.server import *
--     class H(BaseHTTPRequestHandler):
--         def do_POST(s): s.send_response(200); s.end_headers(); s.wfile.write(b"{\"user\":\"42\"}")
--     HTTPServer(("127.0.0.1", 9103), H).serve_forever()' &
--     wscat -c "ws://127.0.0.1:8103/ws?token=abc"
local bh = require "bellhop"

local url = bh.config "app.auth.url"
local keep = bh.config "app.auth.keep" or 60
local keep_no = bh.config "app.auth.keep_no" or 5
local timeout = bh.config "app.auth.timeout" or 2

local function problem(code, message)
    return bh.json.encode { error = { code = code, message = message } }
end

local function find_token(req)
    local scheme, token = (req:header "Authorization" or ""):match "^(%a+) +(%S+)$"
    if not scheme or scheme:lower() ~= "bearer" then token = req:cookie "token" or req:arg "token" end
    return token and token ~= "" and #token <= 4096 and token or nil
end

-- Asks the service. Returns its answer, {} for an invalid token, or nil and why. After a timeout the service is not asked for
-- one second, so that it can recover and clients do not wait. An error status has no such pause: a token that makes the
-- service fail must not lock out other clients.
local function ask(token)
    local down = bh.shared.http_auth:get "down"
    if down then return nil, down end
    local response, why = bh.http.fetch(url, { method = "POST", json = { token = token }, timeout = timeout })
    if not response then
        bh.shared.http_auth:set("down", why, 1)
        return nil, why
    end
    local status = response.status
    if status == 401 or status == 403 or status == 404 then return {} end
    if status ~= 200 then return nil, "the service returned status " .. status end
    local answer = bh.json.decode(response.body, { big_integers = "string" })
    local user = type(answer) == "table" and answer.user
    if type(user) ~= "string" and math.type(user) ~= "integer" then return nil, "the answer of the service has no user" end
    return answer
end

-- The cached answer, or nil and why.
local function find_user(token)
    return bh.cache("http_auth", bh.crypto.hash("sha256", token), keep, function()
        local answer, why = ask(token)
        if answer then return answer, answer.user and keep or keep_no end
        return nil, why
    end)
end

-- A value of the answer; nil for JSON's null.
local function value_of(value)
    if value ~= bh.json.null then return value end
end

return {
    on_init = function()
        if type(url) ~= "string" then return false, "app.auth.url is missing" end
    end,

    on_handshake = function(req)
        local token = find_token(req)
        if not token then return false, 401, problem("unauthorized", "send a token: header, ?token= or cookie") end
        local who, why = find_user(token)
        if who and not who.user then return false, 401, problem("unauthorized", "the token is not valid") end
        if not who then
            bh.log.warn("the authentication service failed", { url = url, why = why })
            return false, 503, problem("unavailable", "authentication is not available, try again"), { ["Retry-After"] = "1" }
        end
        local ttl = math.type(who.ttl) == "integer" and who.ttl > 0 and who.ttl or 3600
        return {
            user = who.user,
            tenant = value_of(who.tenant),
            topics = value_of(who.topics),
            expires = os.time() + ttl,
        }
    end,
}
