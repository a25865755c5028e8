-- An HTTP service says who it is: tokens that only the backend can read, asked about once and kept.
--
-- What it shows
--   * on_handshake posts the token to app.auth.url and waits for the answer; the worker does not.
--   * bh.cache, twice: a "yes" is good for app.auth.keep seconds, any answer, so also a "no", for a
--     few. A thousand devices that come back at once with one token are one question.
--   * What is no answer (a time-out, a status 500, nonsense) is never kept, is never a "yes" and never
--     a "no": the client hears 503 and comes again.
--   * The token itself is kept nowhere; what the cache knows is its hash.
--
-- The service gets POST {"token":"..."} and answers 200 and {"user":"42","tenant":"7","topics":["news"],
-- "ttl":600} (all but the user may be missing; ttl is the life of the connection), or 401, 403, 404.
--
-- Run it, from the project's folder:
--
--     bellhop serve -c examples/http_auth/bellhop.conf.lua
--
-- Try it, with a service of three lines:
--
--     python3 -c 'from http.server import *
--     class H(BaseHTTPRequestHandler):
--         def do_POST(s): s.send_response(200); s.end_headers(); s.wfile.write(b"{\"user\":\"42\"}")
--     HTTPServer(("127.0.0.1", 9000), H).serve_forever()' &
--     wscat -c "ws://127.0.0.1:8080/ws?token=abc"
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

-- What the service says: a table, which is empty for "no"; nil and why when it says nothing. After a
-- time-out nobody asks for a second: a slow service is not helped by more questions, nor are clients
-- by waiting. (Not after a status: there may be tokens that make the service fail, and who has one
-- must not lock out others.)
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
    if status ~= 200 then return nil, "its status is " .. status end
    local answer = bh.json.decode(response.body)
    local user = type(answer) == "table" and answer.user
    if type(user) ~= "string" and math.type(user) ~= "integer" then return nil, "its answer names no user" end
    return answer
end

-- The answer, which is kept: a "no" for a shorter time. nil and why when there is none.
local function who_has(token)
    return bh.cache("http_auth", bh.crypto.hash("sha256", token), keep, function()
        local answer, why = ask(token)
        if answer then return answer, answer.user and keep or keep_no end
        return nil, why
    end)
end

-- A JSON null of the service's is no value.
local function given(value)
    if value ~= bh.json.null then return value end
end

return {
    on_init = function()
        if type(url) ~= "string" then return false, "app.auth.url is missing" end
    end,

    on_handshake = function(req)
        local token = find_token(req)
        if not token then return false, 401, problem("unauthorized", "send a token") end
        local who, why = who_has(token)
        if who and not who.user then return false, 401, problem("unauthorized", "this token is not valid") end
        if not who then
            bh.log.warn("who it is cannot be told", { why = why })
            return false, 503, problem("unavailable", "come again in a moment"), { ["Retry-After"] = "1" }
        end
        local ttl = math.type(who.ttl) == "integer" and who.ttl > 0 and who.ttl or 3600
        return {
            user = who.user,
            tenant = given(who.tenant),
            topics = given(who.topics),
            expires = os.time() + ttl,
        }
    end,
}
