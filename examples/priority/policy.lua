-- Priorities: urgent messages are always delivered, others give way when a client is slow.
--
-- What it shows
--   * on_publish reads the priority of each message - the field "priority" of the JSON in it, or the option of bh.publish - and
--     sets the delivery strategy and the TTL.
--   * on_deliver skips connections with a long send queue: first for "low", later for "normal", never for "high".
--   * on_slow decides what happens when the queue is full. A dashboard needs the latest data, so its oldest message is
--     dropped. Other clients are closed; they reconnect and load their state again.
--
--     priority   strategy      TTL    skipped when more is queued than
--     high       both          none   -
--     normal     local_first   60 s   1 MiB
--     low        local_first   5 s    64 KiB
--
-- Prefer the field in the JSON: other instances do not get the option of bh.publish, and deliver such a message as "normal".
-- Messages without a priority, and those published straight to Redis, are "normal", too.
--
-- Run it, in the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef BELLHOP_API_KEYS=change-me
--     bellhop serve --listen 127.0.0.1:8105 --policy examples/priority/policy.lua
--
-- Try it, in two other terminals with the same variables:
--
--     wscat -c "ws://127.0.0.1:8105/ws?token=$(bellhop token --user 42)&kind=dashboard"
--     for p in low normal high; do
--         curl http://127.0.0.1:8105/api/users/42/messages -H 'Authorization: Bearer change-me' \
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
local skipped = bh.metrics.counter("priority_skipped_total", "deliveries skipped for slow clients", { "priority" })

-- The field "priority" of the payload, which may be any value; nil when it is missing.
local function priority_in(msg)
    if msg.opcode ~= "text" then return nil end
    return (bh.json.peek(msg.data, "priority"))
end

-- The level for the number in bh.publish { priority = n }; 0 is none.
local function name_of_number(n)
    if n == 0 then return nil end
    return n >= levels.high.number and "high" or n >= levels.normal.number and "normal" or "low"
end

return {
    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = secret, require_exp = true })
        if claims and not claims.sub then claims, why = nil, "the token has no user" end
        if not claims then return false, 401, bh.json.encode { error = { code = "unauthorized", message = why } } end
        local kind = req:arg "kind" == "dashboard" and "dashboard" or "app"
        return { user = claims.sub, tenant = claims.tenant, expires = claims.exp, tags = { kind = kind } }
    end,

    on_publish = function(msg)
        local given = priority_in(msg)
        if given ~= nil and not levels[given] then return false, "`priority` must be high, normal or low" end
        local name = given or name_of_number(msg.priority) or "normal"
        local level = levels[name]
        -- A publisher may shorten the TTL, but not extend it.
        if level.ttl > 0 and (msg.ttl == 0 or msg.ttl > level.ttl) then msg.ttl = level.ttl end
        published:inc(1, name)
        return level.strategy
    end,

    on_deliver = function(conn, msg)
        -- The usual case: a client that keeps up gets everything, without a look at the payload.
        local queued = conn.queued
        if queued <= levels.low.skip_above then return true end
        local name = priority_in(msg)
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
