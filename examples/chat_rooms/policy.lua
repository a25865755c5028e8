-- Chat rooms: messages routed by their type, the last lines of a room for who comes in, rate limits.
--
-- What it shows
--   * A table of handlers, one for each `type`. bh.json.peek reads single fields of the text, so
--     routing builds no tables, and nobody's deeply nested object costs anything.
--   * A room is a topic, "room/<name>". Who has not joined a room neither hears nor says anything there.
--   * The last app.chat.history lines of each room: in Redis when there is one (all instances have
--     the same), else in bh.shared (all workers of this instance have the same).
--   * conn:allow: so many lines a second, and so many "is typing"; beyond, an error and no more.
--
-- Run it, from the project's folder (with --redis redis://127.0.0.1:6379, if you like):
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef
--     bellhop serve --policy examples/chat_rooms/policy.lua
--
-- Try it, in two terminals, with --user ann and --user bob:
--
--     wscat -c "ws://127.0.0.1:8080/ws?token=$(bellhop token --user ann)"
--     > {"type":"join","room":"lobby"}
--     > {"type":"say","room":"lobby","text":"hello"}
--     > {"type":"typing","room":"lobby"}
--     > {"type":"leave","room":"lobby"}
local bh = require "bellhop"

local secret = bh.config "auth.jwt.secret"
local history_max = bh.config "app.chat.history" or 50
local text_max, rooms_max, history_ttl = 2000, 20, 86400
local has_redis = #(bh.config "redis.url" or "") > 0

local peek, encode = bh.json.peek, bh.json.encode

local function problem(code, message)
    return encode { type = "error", code = code, message = message }
end

-- --- the last lines of a room: JSON texts, the oldest first ---

local function key_of(room) return "chat:" .. room end

local function recall(room)
    if has_redis then return bh.redis.call("LRANGE", key_of(room), 0, -1) end
    return bh.json.decode(bh.shared.chat:get(room) or "[]")
end

local function remember(room, line)
    if has_redis then
        local _, why = bh.redis.call("RPUSH", key_of(room), line)
        if why then return nil, why end
        local trim, expire = { "LTRIM", key_of(room), -history_max, -1 }, { "EXPIRE", key_of(room), history_ttl }
        return bh.redis.pipeline { trim, expire }
    end
    repeat -- another worker may add a line at the same moment
        local old = bh.shared.chat:get(room)
        local lines = bh.json.decode(old or "[]")
        lines[#lines + 1] = line
        if #lines > history_max then table.remove(lines, 1) end
        local done, why = bh.shared.chat:cas(room, old, encode(lines), history_ttl)
        if not done and why ~= "changed" then return nil, why end
    until done
    return true
end

-- --- what a client may say: each handler gives the reply, or true for none ---

local handlers = {}

local function publish(conn, room, event)
    event.room, event.user = room, conn.user
    return bh.publish { topic = "room/" .. room, data = encode(event), except = event.type == "typing" and conn or nil }
end

function handlers.join(conn, room, rooms)
    if rooms[room] then return problem("already", "you are in this room") end
    if #conn:topics() >= rooms_max then return problem("too_many", "leave a room first") end
    if not conn:allow("join", 1, 10) then return problem("too_fast", "wait a little") end
    -- First the room, then its history: a line may come twice, but none is missed.
    if not conn:subscribe("room/" .. room) then return problem("unavailable", "this room cannot be joined now") end
    rooms[room] = true
    local lines, why = recall(room)
    if not lines then bh.log.warn("no history", { why = why }) end
    -- The lines are JSON already, so they are put in as they are.
    conn:send(('{"type":"joined","room":"%s","history":[%s]}'):format(room, table.concat(lines or {}, ",")))
    publish(conn, room, { type = "came" })
    return true
end

function handlers.leave(conn, room, rooms)
    rooms[room] = nil
    conn:unsubscribe("room/" .. room)
    publish(conn, room, { type = "went" })
    return encode { type = "left", room = room }
end

function handlers.say(conn, room, _, data)
    local text = peek(data, "text")
    if type(text) ~= "string" or text == "" or #text > text_max then
        return problem("bad_text", ("`text` is 1 to %d bytes"):format(text_max))
    end
    if not conn:allow("say", 2, 5) then return problem("too_fast", "at most two lines a second") end
    local line = { type = "said", room = room, user = conn.user, text = text, at = os.time() }
    local kept, why = remember(room, encode(line))
    if not kept then bh.log.warn("a line was not kept", { why = why }) end
    if not publish(conn, room, line) then return problem("unavailable", "nobody could be told") end
    return true
end

function handlers.typing(conn, room)
    if conn:allow("typing", 1, 2) then publish(conn, room, { type = "typing" }) end
    return true
end

return {
    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = secret, require_exp = true })
        if not claims then return false, 401, problem("unauthorized", why) end
        if not claims.sub then return false, 401, problem("unauthorized", "this token names nobody") end
        return { user = claims.sub, expires = claims.exp }
    end,

    on_message = function(conn, data)
        local kind = peek(data, "type")
        local handler = type(kind) == "string" and handlers[kind]
        if not handler then return problem("bad_type", "`type` is one of join, leave, say, typing") end
        local room = peek(data, "room")
        if type(room) ~= "string" or #room > 32 or not room:find "^[%w-]+$" then
            return problem("bad_room", "`room` is 1 to 32 of A-Z a-z 0-9 -")
        end
        conn.vars.rooms = conn.vars.rooms or {}
        if handler ~= handlers.join and not conn.vars.rooms[room] then
            return problem("not_in", "join this room first")
        end
        return handler(conn, room, conn.vars.rooms, data)
    end,

    -- Others must hear of those who just vanish, too. The topics of a closed connection are gone, vars are not.
    on_close = function(conn)
        for room in pairs(conn.vars.rooms or {}) do publish(conn, room, { type = "went" }) end
    end,
}
