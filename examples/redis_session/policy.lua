-- Sessions in Redis, found by a cookie: what the web site logs in is logged in here as well.
--
-- What it shows
--   * The cookie `sid` names a hash in Redis, session:<sid>, with the fields user and (perhaps)
--     tenant. Whoever logs people in writes it; bellhop only reads it and prolongs its life.
--   * Sliding expiry: a handshake, and a message from the client, give the session another
--     app.session.ttl seconds. Who only listens does not.
--   * on_expire asks again every app.session.recheck seconds, so a session that is gone ends its
--     connections, too, even when nobody has told us. While Redis is away it has one grace.
--   * Log-out: the backend calls POST /sessions/logout, signed with a key; the session is deleted and
--     the user's connections are closed on all instances. Their other devices just come back.
--
-- Run it, from the project's folder:
--
--     redis-server --port 6379 --save '' &
--     BELLHOP_REDIS_URL=redis://127.0.0.1:6379 LOGOUT_KEY=change-me-change-me \
--         bellhop serve -c examples/redis_session/bellhop.conf.lua
--
-- Try it:
--
--     redis-cli HSET session:0123456789abcdef0123456789abcdef user 42 tenant 7
--     redis-cli EXPIRE session:0123456789abcdef0123456789abcdef 900
--     wscat -c ws://127.0.0.1:8080/ws -H 'Cookie: sid=0123456789abcdef0123456789abcdef'
--     curl -i http://127.0.0.1:8080/sessions/logout -H 'Authorization: Bearer change-me-change-me' \
--         -d '{"session":"0123456789abcdef0123456789abcdef"}'
--
-- On the open internet name your pages in websocket.origins: a cookie comes with every page's request.
local bh = require "bellhop"

local cookie = bh.config "app.session.cookie" or "sid"
local ttl = bh.config "app.session.ttl" or 900
local recheck = bh.config "app.session.recheck" or 60
local logout_key = bh.config "app.session.logout_key" or ""

local GONE = 4001 -- the close code that tells a page to show the log-in again

local function problem(code, message)
    return bh.json.encode { error = { code = code, message = message } }
end

-- Nothing that could name another kind of key, and nothing that can be guessed.
local function valid(sid)
    return type(sid) == "string" and #sid >= 32 and #sid <= 128 and not sid:find "[^%w_-]"
end

-- The session; nil when there is none; nil and why when Redis cannot tell.
local function load(sid)
    local list, why = bh.redis.call("HGETALL", "session:" .. sid)
    if not list then return nil, why end
    local session = {}
    for i = 1, #list, 2 do session[list[i]] = list[i + 1] end
    return session.user and session or nil
end

local function prolong(sid)
    local _, why = bh.redis.call("EXPIRE", "session:" .. sid, ttl)
    if why then bh.log.warn("a session was not prolonged", { why = why }) end
end

local function log_out(req)
    local given = (req:header "Authorization" or ""):match "^Bearer +(.+)$" or ""
    if logout_key == "" or not bh.crypto.equal(given, logout_key) then
        return 401, nil, { error = { code = "unauthorized", message = "the log-out key is missing or wrong" } }
    end
    local body = req:json()
    local sid = type(body) == "table" and body.session
    if not valid(sid) then return 400, nil, { error = { code = "bad_request", message = "no valid `session`" } } end
    local session, why = load(sid)
    if why then return 503, nil, { error = { code = "unavailable", message = why } } end
    if not session then return 404, nil, { error = { code = "not_found", message = "no such session" } } end
    -- First the key: whoever comes back afterwards must not find it.
    local _, failed = bh.redis.call("DEL", "session:" .. sid)
    if failed then return 503, nil, { error = { code = "unavailable", message = failed } } end
    bh.hub.close_user(session.user, GONE, "logged out")
    return 204
end

return {
    on_handshake = function(req)
        local sid = req:cookie(cookie)
        if not valid(sid) then return false, 401, problem("unauthorized", "no session: log in first") end
        local session, why = load(sid)
        if why then return false, 503, problem("unavailable", "sessions cannot be looked up now") end
        if not session then return false, 401, problem("unauthorized", "the session has ended: log in again") end
        prolong(sid)
        return {
            user = session.user,
            tenant = session.tenant,
            expires = os.time() + recheck,
            tags = { session = sid }, -- for on_expire; tags stay on this instance
        }
    end,

    on_message = function(conn, data)
        conn.vars.active = true
        return data == "ping" and "pong" or problem("bad_request", "only `ping` is understood here")
    end,

    on_expire = function(conn)
        local vars, sid = conn.vars, conn.tags.session
        local session, why = load(sid)
        if why and not vars.grace then
            vars.grace = true
            return os.time() + recheck
        end
        if not session or session.user ~= conn.user then return false end
        if vars.active then prolong(sid) end
        vars.active, vars.grace = nil, nil
        return os.time() + recheck
    end,

    http = { ["POST /sessions/logout"] = log_out },
}
