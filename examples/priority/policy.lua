-- Priorities: what is urgent goes every way there is, what is not gives way to it.
--
-- What it shows
--   * on_publish, asked once for each message, reads its priority - the field "priority" of the
--     JSON in it, or that of bh.publish - and picks the delivery strategy and the time to live.
--   * on_deliver, asked for each receiver, spares those whose queue grows: first "low" is left out
--     for them, later "normal"; "high" always goes.
--   * on_slow has the last word on a client whose queue is full. A dashboard shows the present:
--     the oldest goes. Anybody else is closed, comes back and loads anew.
--
--     priority   strategy      lives    left out when so much waits for the client
--     high       both          for ever
--     normal     local_first   60 s     1 MiB
--     low        local_first   5 s      64 KiB
--
-- Write the priority into the payload whenever you can: instances pass on nothing else of it, so
-- that of bh.publish picks strategy and life, and on delivery the message counts as "normal". So does
-- what has none, and what a backend publishes straight to Redis.
--
-- Run it, from the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef BELLHOP_API_KEYS=change-me
--     bellhop serve --policy examples/priority/policy.lua
--
-- Try it:
--
--     wscat -c "ws://127.0.0.1:8080/ws?token=$(bellhop token --user 42)&kind=dashboard"
--     for p in low normal high; do
--         curl http://127.0.0.1:8080/api/users/42/messages -H 'Authorization: Bearer change-me' \
--             -d "{\"priority\":\"$p\",\"text\":\"hello\"}"
--     done
local bh = require "bellhop"

local secret = bh.config "auth.jwt.secret"
local KiB, MiB = 1024, 1024 * 1024

local levels = {
    high = { strategy = "both", ttl = 0, number = 200 },
    normal = { strategy = "local_first", ttl = 60, skip_above = 1 * MiB, number = 100 },
    low = { strategy = "local_first", ttl = 5, skip_above = 64 * KiB, number = 1 },
}

local published = bh.metrics.counter("priority_published_total", "messages by priority", { "priority" })
local skipped = bh.metrics.counter("priority_skipped_total", "deliveries left out for busy clients", { "priority" })

-- What the payload says: a level's name, something else, or nil.
local function written_in(msg)
    if msg.opcode ~= "text" then return nil end
    return (bh.json.peek(msg.data, "priority"))
end

-- The number of bh.publish { priority = n }; 0 is none.
local function name_of_number(n)
    if n == 0 then return nil end
    return n >= levels.high.number and "high" or n >= levels.normal.number and "normal" or "low"
end

return {
    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = secret, require_exp = true })
        if not claims then return false, 401, bh.json.encode { error = { code = "unauthorized", message = why } } end
        local kind = req:arg "kind" == "dashboard" and "dashboard" or "app"
        return { user = claims.sub, tenant = claims.tenant, expires = claims.exp, tags = { kind = kind } }
    end,

    on_publish = function(msg)
        local written = written_in(msg)
        if written ~= nil and not levels[written] then return false, "`priority` is high, normal or low" end
        local name = written or name_of_number(msg.priority) or "normal"
        local level = levels[name]
        -- Whoever publishes may ask for less time, never for more.
        if level.ttl > 0 and (msg.ttl == 0 or msg.ttl > level.ttl) then msg.ttl = level.ttl end
        published:inc(1, name)
        return level.strategy
    end,

    on_deliver = function(conn, msg)
        -- For almost everybody this is all: no message is looked into for a client that keeps up.
        local queued = conn.queued
        if queued <= levels.low.skip_above then return true end
        local name = written_in(msg)
        if not levels[name] then name = "normal" end
        local limit = levels[name].skip_above
        if not limit or queued <= limit then return true end
        skipped:inc(1, name)
        return false
    end,

    on_slow = function(conn)
        return conn.tags.kind == "dashboard" and "drop_oldest" or "close"
    end,
}
