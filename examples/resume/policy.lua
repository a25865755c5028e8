-- Clients that come back: a page that gets what it missed, over server-sent events and over a JSON WebSocket.
--
-- What it shows
--   * A history for users and for the topic news, in the configuration. The policy needs nothing for it.
--   * on_gap tells a raw WebSocket (/ws without format=json) that messages are missing. Other clients are told by bellhop.
--   * The page, index.html, has a switch for each connection, and marks what it missed. It needs no build step and no library.
--     The policy serves it, so the configuration has script.trusted, which scripts need to read files.
--
-- Run it, in the project's folder (optionally with --redis redis://127.0.0.1:6379):
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef BELLHOP_API_KEYS=change-me
--     bellhop serve -c examples/resume/bellhop.conf.lua
--
-- Try it, in another terminal with the same variables. Open the page that this prints, switch a connection off:
--
--     echo "http://127.0.0.1:8110/?token=$(bellhop token --user 42)"
--
-- Publish, and switch it on:
--
--     curl -X POST http://127.0.0.1:8110/api/users/42/messages -H 'Authorization: Bearer change-me' -d 'for you'
--     curl -X POST http://127.0.0.1:8110/api/topics/news/messages -H 'Authorization: Bearer change-me' -d '{"n":1}'
--
-- The history of news has 20 messages: publish more while it is off to see a gap.
local bh = require "bellhop"

local secret = bh.config "auth.jwt.secret"
local page = "scripts cannot read files: set script.trusted"
if io then
    local file = assert(io.open "examples/resume/index.html")
    page = file:read "a"
    file:close()
end

return {
    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or "", { alg = "HS256", key = secret, require_exp = true })
        if not claims or not claims.sub then return false, 401, why or "the token has no user" end
        return { user = claims.sub, topics = { "news" }, expires = claims.exp }
    end,

    on_gap = function(conn, topic, reason) conn:send_json { type = "reload", topic = topic, reason = reason } end,

    http = {
        ["GET /"] = function() return 200, { ["Content-Type"] = "text/html; charset=utf-8" }, page end,
    },
}
