-- Messages for offline users go to a webhook: signed, and with retries.
--
-- What it shows
--   * on_offline runs when a message for a user was delivered to no connection, on any instance. The publisher already has
--     its answer.
--   * bh.http.fetch posts JSON: {"id","user","data","attempt"}, with "base64":true when the data is binary. Status 2xx means
--     handled, 4xx means never. Everything else is retried with an exponential back-off, or after Retry-After.
--   * Before each attempt bellhop checks whether the user is online, and delivers the message if so. It drops the message
--     after 10 attempts. Waiting messages are in memory, so a restart loses them.
--   * The signature covers the time and the body, so that requests cannot be forged or replayed later:
--     X-Bellhop-Signature: sha256=hex(hmac_sha256(secret, X-Bellhop-Timestamp .. "." .. body)).
--
-- Run it, in the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef BELLHOP_API_KEYS=change-me
--     WEBHOOK_SECRET=change-me-change-me bellhop serve -c examples/offline_webhook/bellhop.conf.lua
--
-- Try it, in another terminal. The webhook may be started after the message:
--
--     curl http://127.0.0.1:8106/api/users/42/messages -H 'Authorization: Bearer change-me' -d 'are you there?'
--     python3 -c 'from http.server import *
--     class H(BaseHTTPRequestHandler):
--         def do_POST(s):
--             print(s.headers, s.rfile.read(int(s.headers["Content-Length"])), flush=True)
--             s.send_response(204); s.end_headers()
--     HTTPServer(("127.0.0.1", 9106), H).serve_forever()'
local bh = require "bellhop"

local jwt_secret = bh.config "auth.jwt.secret"
local url = bh.config "app.webhook.url"
local secret = bh.config "app.webhook.secret" or ""
local timeout = bh.config "app.webhook.timeout" or 5
local first, longest = 2, 300 -- seconds between attempts

local calls = bh.metrics.counter("webhook_calls_total", "requests to the webhook", { "result" })

local function body_of(msg, attempt)
    local text = msg.opcode == "text"
    return bh.json.encode {
        id = msg.id,
        user = msg.user,
        data = text and msg.data or bh.crypto.base64(msg.data),
        base64 = not text or nil,
        attempt = attempt,
    }
end

local function post(msg, attempt)
    local body, now = body_of(msg, attempt), tostring(os.time())
    return bh.http.fetch(url, {
        method = "POST",
        body = body,
        timeout = timeout,
        headers = {
            ["Content-Type"] = "application/json",
            ["Idempotency-Key"] = msg.id,
            ["X-Bellhop-Timestamp"] = now,
            ["X-Bellhop-Signature"] = "sha256=" .. bh.crypto.hex(bh.crypto.hmac("sha256", secret, now .. "." .. body)),
        },
    })
end

-- 2, 4, 8 ... seconds, +/- 25 %, so that messages that failed together are not retried together.
local function back_off(attempt, response)
    local asked = response and tonumber(response.headers["retry-after"])
    if asked and asked >= 0 then return math.min(asked, longest) end
    return math.min(first * 2 ^ (attempt - 1), longest) * (0.75 + math.random() / 2)
end

local function is_final(status)
    return status >= 400 and status < 500 and status ~= 408 and status ~= 425 and status ~= 429
end

return {
    on_init = function()
        if type(url) ~= "string" then return false, "app.webhook.url is missing" end
        if #secret < 16 then return false, "app.webhook.secret must have at least 16 bytes" end
        if secret:find "%c" then return false, "app.webhook.secret has a control character, such as a line feed" end
    end,

    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = jwt_secret, require_exp = true })
        if claims and not claims.sub then claims, why = nil, "the token has no user" end
        if not claims then return false, 401, bh.json.encode { error = { code = "unauthorized", message = why } } end
        return { user = claims.sub, tenant = claims.tenant, expires = claims.exp }
    end,

    on_offline = function(msg, attempt)
        if msg.kind ~= "user" then return "drop" end -- not for topics and tenants without connections
        local response, why = post(msg, attempt)
        local status = response and response.status or 0
        if status >= 200 and status < 300 then
            calls:inc(1, "ok")
            return true
        elseif is_final(status) then
            calls:inc(1, "refused")
            bh.log.error("the webhook refused a message; it is dropped", { id = msg.id, status = status })
            return "drop"
        end
        calls:inc(1, "failed")
        bh.log.warn("the webhook failed; trying again", { id = msg.id, attempt = attempt, why = why or status })
        return { retry = back_off(attempt, response) }
    end,
}
