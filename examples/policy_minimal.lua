local bh = require "bellhop"
local secret = bh.config("auth.jwt.secret")

return {
    on_handshake = function(req)
        local token = req:cookie("token") or req:arg("token") or ""
        local claims, why = bh.jwt.verify(token, { alg = "HS256", key = secret, require_exp = true })
        if not claims then return false, 401, why end
        return { user = claims.sub, tenant = claims.tenant, topics = { "news" }, expires = claims.exp }
    end,

    on_message = function(conn, data)
        if data == "ping" then return "pong" end
        return { topic = "news", data = conn.user .. ": " .. data, except = conn.id }
    end,
}
