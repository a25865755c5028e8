-- Tenants by sub-domain, each with its own secret: acme.example.com accepts only tokens of acme.
--
-- What it shows
--   * on_tenant finds the tenant of a request before authentication.
--   * Each tenant signs its tokens with its own secret (app.tenants). The token must also name the tenant, so a secret that
--     two tenants share by mistake does not open one to the other.
--   * Two tenants may both have a user 42. Their ids are "acme.42" and "globex.42", so a backend cannot reach the wrong one:
--     POST /api/users/acme.42/messages.
--   * Topics are separated in the same way: "news" and "chat" in a token become "acme/news" and "acme/chat".
--
-- Run it, in the project's folder:
--
--     export ACME_SECRET=acme-acme-acme-acme-acme-acme-32 BELLHOP_API_KEYS=change-me
--     bellhop serve -c examples/jwt_subdomain/bellhop.conf.lua
--
-- Try it, in another terminal with the same variables (browsers resolve names below localhost; wscat needs --host):
--
--     token=$(BELLHOP_AUTH_JWT_SECRET=$ACME_SECRET bellhop token --user 42 --tenant acme)
--     wscat -c ws://127.0.0.1:8101/ws --host acme.localhost -H "Authorization: Bearer $token"
--     wscat -c ws://127.0.0.1:8101/ws --host globex.localhost -H "Authorization: Bearer $token"    # 404
--     curl http://127.0.0.1:8101/api/users/acme.42/messages -H 'Authorization: Bearer change-me' -d hi
local bh = require "bellhop"

local domain = bh.config "app.domain"
local tenants = bh.config "app.tenants" or {}

local function refuse(status, code, message)
    return false, status, bh.json.encode { error = { code = code, message = message } }
end

-- "acme.example.com:8443" -> "acme"; nil for other domains.
local function sub_domain(host)
    local name, rest = host:lower():gsub(":%d+$", ""):match "^([a-z0-9][a-z0-9-]*)%.(.+)$"
    return rest == domain and name or nil
end

local function find_token(req)
    local scheme, token = (req:header "Authorization" or ""):match "^(%a+) +(%S+)$"
    if scheme and scheme:lower() == "bearer" then return token end
    return req:cookie "token" or req:arg "token"
end

-- The id of a user or topic of this tenant; nil when the name is invalid. A tenant's name has neither "." nor "/", so the
-- first of them always ends it.
local function id_in(tenant, kind, name)
    local text = bh.id.check("topic", name)
    return text and bh.id.check(kind, tenant .. (kind == "topic" and "/" or ".") .. text)
end

local function topics_of(claims, tenant)
    local topics = {}
    for i, topic in ipairs(type(claims.topics) == "table" and claims.topics or {}) do
        topics[i] = i <= 50 and id_in(tenant, "topic", topic) or nil
        if not topics[i] then return nil end
    end
    return topics
end

return {
    on_init = function()
        if not domain then return false, "app.domain is missing" end
        for name, tenant in pairs(tenants) do
            if name:find "[^a-z0-9-]" then return false, ("tenant %q is not a valid sub-domain: use a-z 0-9 -"):format(name) end
            if type(tenant.secret) ~= "string" or #tenant.secret < 32 then
                return false, ("tenant %q needs a secret of at least 32 bytes"):format(name)
            end
            if tenant.secret:find "%c" then return false, ("the secret of tenant %q has a control character"):format(name) end
        end
    end,

    -- nil (no tenant) for other hosts: API requests may use any host, on_handshake refuses clients.
    on_tenant = function(req)
        local name = sub_domain(req.host)
        if not name then return nil end
        if tenants[name] then return name end
        return refuse(404, "unknown_tenant", "unknown tenant")
    end,

    on_handshake = function(req)
        local tenant = req.tenant
        if not tenant then return refuse(404, "unknown_tenant", "connect to the sub-domain of your tenant") end
        local token = find_token(req)
        if not token then return refuse(401, "unauthorized", "send a token: Authorization: Bearer, ?token= or a cookie") end
        local claims, why = bh.jwt.verify(token, { alg = "HS256", key = tenants[tenant].secret, require_exp = true })
        if not claims then return refuse(401, "unauthorized", why) end
        if claims.tenant ~= tenant then return refuse(403, "wrong_tenant", "the token is for another tenant") end
        local user, topics = id_in(tenant, "user", claims.sub), topics_of(claims, tenant)
        if not user or not topics then
            return refuse(401, "unauthorized", "`sub` or `topics` of the token are invalid")
        end
        return { tenant = tenant, user = user, topics = topics, expires = claims.exp }
    end,
}
