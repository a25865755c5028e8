-- Quotas: a maximum of connections and of messages per minute for each tenant.
--
-- What it shows
--   * bh.shared counts for all workers of an instance: connections in on_open and on_close, messages in on_publish, in
--     windows of one minute.
--   * A timer corrects the count of connections with bh.tracker.count, which counts on all instances. So the limit holds for
--     the cluster, except for changes on other instances within the last app.quotas.repair seconds, and a wrong count
--     is corrected. Messages are counted on the instance that receives the publish.
--   * Ids contain their tenant (user "acme.42", topic "acme/chat"), so each publish can be charged to a tenant. Tenants that
--     are not in app.tenants are refused.
--   * Refusals and connections are exported in /metrics, by tenant.
--
-- Run it, in the project's folder:
--
--     export BELLHOP_AUTH_JWT_SECRET=0123456789abcdef0123456789abcdef BELLHOP_API_KEYS=change-me
--     bellhop serve -c examples/tenant_quotas/bellhop.conf.lua
--
-- Try it, in other terminals with the same variables (acme may have 2 connections and 5 messages a minute):
--
--     wscat -c "ws://127.0.0.1:8107/ws?token=$(bellhop token --user 42 --tenant acme)"    # the third one gets 429
--     for n in 1 2 3 4 5 6; do
--         curl http://127.0.0.1:8107/api/users/acme.42/messages -H 'Authorization: Bearer change-me' -d "$n"
--     done
--     curl -s http://127.0.0.1:8107/metrics | grep ^quota_
local bh = require "bellhop"

local secret = bh.config "auth.jwt.secret"
local tenants = bh.config "app.tenants" or {}
local repair_every = bh.config "app.quotas.repair" or 10

local connections, messages = bh.shared.quota_connections, bh.shared.quota_messages
local refused = bh.metrics.counter("quota_refused_total", "refusals by quota", { "tenant", "what" })
local open = bh.metrics.gauge("quota_connections", "connections of the tenant, on all instances", { "tenant" })

local function problem(code, message)
    return bh.json.encode { error = { code = code, message = message } }
end

-- The tenant that a message is charged to; nil for broadcasts and other ids.
local function tenant_of(msg)
    local name = msg.tenant or (msg.user or ""):match "^([^.]+)%." or (msg.topic or ""):match "^([^/]+)/"
    return tenants[name] and name or nil
end

local function repair()
    for name in pairs(tenants) do
        local before = connections:get(name) or 0
        local count, why = bh.tracker.count(name)
        if count then
            -- Add the difference: other hooks have counted during the wait.
            connections:incr(name, count - before)
            open:set(count, name)
        else
            bh.log.warn("cannot correct the count of connections", { tenant = name, why = why })
        end
    end
end

return {
    on_init = function()
        if next(tenants) == nil then return false, "app.tenants is missing" end
        for name, tenant in pairs(tenants) do
            if name:find "[^%w-]" then return false, ("tenant %q must have only letters, digits and -"):format(name) end
            if math.type(tenant.connections) ~= "integer" or math.type(tenant.messages) ~= "integer" then
                return false, ("tenant %q needs `connections` and `messages`"):format(name)
            end
        end
    end,

    on_handshake = function(req)
        local claims, why = bh.jwt.verify(req:arg "token" or req:cookie "token" or "",
            { alg = "HS256", key = secret, require_exp = true })
        if not claims then return false, 401, problem("unauthorized", why) end
        local name = claims.tenant
        local tenant = type(name) == "string" and tenants[name]
        if not tenant or not claims.sub then return false, 403, problem("forbidden", "unknown tenant, or no user") end
        -- An early check; on_open counts exactly.
        if (connections:get(name) or 0) >= tenant.connections then
            refused:inc(1, name, "connection")
            return false, 429, problem("too_many_connections", "the quota of the tenant is used up"), { ["Retry-After"] = "30" }
        end
        return { user = name .. "." .. claims.sub, tenant = name, topics = { name .. "/chat" }, expires = claims.exp }
    end,

    on_open = function(conn)
        local count = connections:incr(conn.tenant)
        if not count then return false, 1013, "cannot count connections now" end
        conn.vars.counted = true
        if count <= tenants[conn.tenant].connections then return end
        refused:inc(1, conn.tenant, "connection")
        return false, 4429, "the tenant has too many connections"
    end,

    on_close = function(conn)
        if conn.vars.counted then connections:incr(conn.tenant, -1) end
    end,

    -- Publishes to the tenant, and waits for the result, so that the client learns when the quota is used up.
    on_message = function(conn, data)
        local ok, why = bh.publish_wait { topic = conn.tenant .. "/chat", data = data, except = conn }
        return ok and true or problem("refused", why)
    end,

    on_publish = function(msg)
        local name = tenant_of(msg)
        if not name then return nil end
        local count = messages:incr(("%s:%d"):format(name, os.time() // 60), 1, 120)
        if not count then return false, "cannot count messages now" end
        if count <= tenants[name].messages then return nil end
        refused:inc(1, name, "message")
        return false, ("the quota of %d messages a minute is used up"):format(tenants[name].messages)
    end,

    timers = { quota_repair = { every = repair_every, scope = "instance", fn = repair } },
}
