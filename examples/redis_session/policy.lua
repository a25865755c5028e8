-- Sessions in Redis, found by a cookie: users who are logged in on the web site are logged in here, too.
--
-- What it shows
--   * The cookie `sid` names a hash in Redis, session:<sid>, with the field user and optionally tenant. The web site writes
--     it at log-in; bellhop reads it and extends its TTL.
--   * Sliding expiry: a handshake, and messages of the client, extend the session to app.session.ttl seconds. A client that
--     only receives does not extend it.
--   * on_expire checks the session every app.session.recheck seconds and closes connections whose session is gone. If Redis
--     is unavailable, one check may fail.
--   * Log-out: the backend calls POST /sessions/logout with a key. The session is deleted, and the connections of the user are
--     closed on all instances. The user's other devices reconnect with their own sessions.
--
-- Run it, in the project's folder:
--
--     redis-server --port 6379 --save '' &
--     BELLHOP_REDIS_URL=redis://127.0.0.1:6379 LOGOUT_KEY=change-me-change-me \
--         bellhop serve -c examples/redis_session/bellhop.conf.lua
--
-- Try it, in another terminal:
--
--     redis-cli HSET session:0123456789abcdef0123456789abcdef user 42 tenant 7
--     redis-cli EXPIRE session:0123456789abcdef0123456789abcdef 900
--     wscat -c ws://127.0.0.1:8102/ws -H 'Cookie: sid=0123456789abcdef0123456789abcdef'
--     curl -i http://127.0.0.1:8102/sessions/logout -H 'Authorization: Bearer change-me-change-me' \
--         -d '{"session":"0123456789abcdef0123456789abcdef"}'
--
-- In production set websocket.origins to your pages: browsers send the cookie with requests of any page.
local bh = require "bellhop"

local cookie = bh.config "app.session.cookie" or "sid"
local ttl = bh.config "app.session.ttl" or 900
local recheck = bh.config "app.session.recheck" or 60
local logout_key = bh.config "app.session.logout_key" or ""

local LOGGED_OUT = 4001 -- close code: the page should show the log-in form

local function problem(code, message)
    return bh.json.encode { error = { code = code, message = message } }
end

-- Session ids must be long enough not to be guessed, and must not form other keys.
local function valid(sid)
    return type(sid) == "string" and #sid >= 32 and #sid <= 128 and not sid:find "[^%w_-]"
end

-- The session; nil when it does not exist; nil and why when Redis fails.
local function load(sid)
    local list, why = bh.redis.call("HGETALL", "session:" .. sid)
    if not list then return nil, why end
    local session = {}
    for i = 1, #list, 2 do session[list[i]] = list[i + 1] end
    return session.user and session or nil
end

local function extend(sid)
    local _, why = bh.redis.call("EXPIRE", "session:" .. sid, ttl)
    if why then bh.log.warn("cannot extend a session", { why = why }) end
end

local function log_out(req)
    local given = (req:header "Authorization" or ""):match "^Bearer +(.+)$" or ""
    if logout_key == "" or not bh.crypto.equal(given, logout_key) then
        return 401, nil, { error = { code = "unauthorized", message = "the log-out key is missing or wrong" } }
    end
    local body = req:json { big_integers = "string" }
    local sid = type(body) == "table" and body.session
    if not valid(sid) then return 400, nil, { error = { code = "bad_request", message = "`session` is not valid" } } end
    local session, why = load(sid)
    if why then return 503, nil, { error = { code = "unavailable", message = why } } end
    if not session then return 404, nil, { error = { code = "not_found", message = "unknown session" } } end
    -- Delete the session before closing, so that a client that reconnects does not find it.
    local _, failed = bh.redis.call("DEL", "session:" .. sid)
    if failed then return 503, nil, { error = { code = "unavailable", message = failed } } end
    bh.hub.close_user(session.user, LOGGED_OUT, "logged out")
    return 204
end

return {
    on_init = function()
        if logout_key:find "%c" then return false, "app.session.logout_key has a control character, such as a line feed" end
    end,

    on_handshake = function(req)
        local sid = req:cookie(cookie)
        if not valid(sid) then return false, 401, problem("unauthorized", "no session; log in first") end
        local session, why = load(sid)
        if why then return false, 503, problem("unavailable", "cannot read sessions now") end
        if not session then return false, 401, problem("unauthorized", "the session has expired; log in again") end
        extend(sid)
        return {
            user = session.user,
            tenant = session.tenant,
            expires = os.time() + recheck,
            tags = { session = sid }, -- for on_expire; tags are not sent to other instances
        }
    end,

    on_message = function(conn, data)
        conn.vars.active = true
        return data == "ping" and "pong" or problem("bad_request", "only `ping` is supported")
    end,

    on_expire = function(conn)
        local vars, sid = conn.vars, conn.tags.session
        local session, why = load(sid)
        if why and not vars.grace then
            vars.grace = true
            return os.time() + recheck
        end
        if not session or session.user ~= conn.user then return false end
        if vars.active then extend(sid) end
        vars.active, vars.grace = nil, nil
        return os.time() + recheck
    end,

    http = { ["POST /sessions/logout"] = log_out },
}
