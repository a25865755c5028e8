-- A minimal policy: clients with a token, a topic, and replies.
--
-- What it shows
--   * on_handshake verifies a JSON Web Token from a cookie or the query. Its claims are the identity.
--   * All clients join the topic "news". "ping" is answered; other messages are published to all others.
--
-- Run it, in the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef
--     bellhop serve --policy examples/policy_minimal.lua
--
-- Try it, in another terminal with the same variable:
--
--     wscat -c "ws://127.0.0.1:8080/ws?token=$(bellhop token --user ann)"
--     > ping
local bh = require "bellhop"
local secret = bh.config("auth.jwt.secret")

return {
    on_handshake = function(req)
        local token = req:cookie("token") or req:arg("token") or ""
        local claims, why = bh.jwt.verify(token, { alg = "HS256", key = secret, require_exp = true })
        if not claims or not claims.sub then return false, 401, why or "the token has no user" end
        return { user = claims.sub, tenant = claims.tenant, topics = { "news" }, expires = claims.exp }
    end,

    on_message = function(conn, data)
        if data == "ping" then return "pong" end
        return { topic = "news", data = conn.user .. ": " .. data, except = conn.id }
    end,
}
