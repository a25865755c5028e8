-- Chat rooms: messages routed by type, a history for each room, rate limits.
--
-- What it shows
--   * A table of handlers, one for each `type`. bh.json.peek reads single fields, so routing decodes nothing, and large
--     messages of clients cost little.
--   * A room is the topic "room/<name>". Only clients in a room can send to it.
--   * The history is the last app.chat.history messages of a room, kept in Redis if it is configured (shared by all
--     instances), otherwise in bh.shared (shared by the workers of this instance).
--   * conn:allow limits the messages and the "typing" events of a client.
--
-- Run it, in the project's folder (optionally with --redis redis://127.0.0.1:6379):
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef
--     bellhop serve --listen 127.0.0.1:8104 --policy examples/chat_rooms/policy.lua
--
-- Try it, in two other terminals with the same variable, with --user ann and --user bob:
--
--     wscat -c "ws://127.0.0.1:8104/ws?token=$(bellhop token --user ann)"
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

-- --- history: the last lines of a room, as JSON, the oldest first ---

local function key_of(room) return "chat:" .. room end

local function load_history(room)
    if has_redis then return bh.redis.call("LRANGE", key_of(room), 0, -1) end
    return bh.json.decode(bh.shared.chat:get(room) or "[]")
end

local function add_line(room, line)
    if has_redis then
        local _, why = bh.redis.call("RPUSH", key_of(room), line)
        if why then return nil, why end
        local trim, expire = { "LTRIM", key_of(room), -history_max, -1 }, { "EXPIRE", key_of(room), history_ttl }
        return bh.redis.pipeline { trim, expire }
    end
    repeat -- another worker may add a line at the same time
        local old = bh.shared.chat:get(room)
        local lines = bh.json.decode(old or "[]")
        lines[#lines + 1] = line
        if #lines > history_max then table.remove(lines, 1) end
        local done, why = bh.shared.chat:cas(room, old, encode(lines), history_ttl)
        if not done and why ~= "changed" then return nil, why end
    until done
    return true
end

-- --- handlers: return the reply, or true for none ---

local handlers = {}

local function publish(conn, room, event)
    event.room, event.user = room, conn.user
    return bh.publish { topic = "room/" .. room, data = encode(event), except = event.type == "typing" and conn or nil }
end

function handlers.join(conn, room, rooms)
    if rooms[room] then return problem("already", "you are in this room") end
    if #conn:topics() >= rooms_max then return problem("too_many", "leave a room first") end
    if not conn:allow("join", 1, 10) then return problem("too_fast", "too many joins, try again later") end
    -- Join before loading the history: a line may arrive twice, but none is lost.
    if not conn:subscribe("room/" .. room) then return problem("unavailable", "cannot join the room now") end
    rooms[room] = true
    local lines, why = load_history(room)
    if not lines then bh.log.warn("cannot load the history", { room = room, why = why }) end
    -- The lines are already JSON.
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
        return problem("bad_text", ("`text` must be 1 to %d bytes"):format(text_max))
    end
    if not conn:allow("say", 2, 5) then return problem("too_fast", "at most two messages a second") end
    local line = { type = "said", room = room, user = conn.user, text = text, at = os.time() }
    local kept, why = add_line(room, encode(line))
    if not kept then bh.log.warn("cannot add a line to the history", { room = room, why = why }) end
    if not publish(conn, room, line) then return problem("unavailable", "cannot publish the message now") end
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
        if not claims.sub then return false, 401, problem("unauthorized", "the token has no user") end
        return { user = claims.sub, expires = claims.exp }
    end,

    on_message = function(conn, data)
        local kind = peek(data, "type")
        local handler = type(kind) == "string" and handlers[kind]
        if not handler then return problem("bad_type", "`type` must be join, leave, say or typing") end
        local room = peek(data, "room")
        if type(room) ~= "string" or #room > 32 or not room:find "^[%w-]+$" then
            return problem("bad_room", "`room` must be 1 to 32 of A-Z a-z 0-9 -")
        end
        conn.vars.rooms = conn.vars.rooms or {}
        if handler ~= handlers.join and not conn.vars.rooms[room] then
            return problem("not_in", "join this room first")
        end
        return handler(conn, room, conn.vars.rooms, data)
    end,

    -- A client may disconnect without leaving its rooms. The topics of a closed connection are gone, its vars are not.
    on_close = function(conn)
        for room in pairs(conn.vars.rooms or {}) do publish(conn, room, { type = "went" }) end
    end,
}
