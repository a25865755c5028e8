-- Tenants by sub-domain, with a secret each: acme.example.com takes tokens of acme, and no others.
--
-- What it shows
--   * on_tenant says whose request it is before anybody is asked who they are.
--   * Each tenant signs its tokens with a secret of its own (app.tenants), and the token must name
--     the tenant, too: a secret that two of them share by mistake opens no door between them.
--   * Users of two tenants may both be called 42. On the inside they are "acme.42" and
--     "globex.42", so that no backend reaches the wrong one: POST /api/users/acme.42/messages.
--   * The same for topics: a token's topics "news" and "chat" become "acme/news" and "acme/chat".
--
-- Run it, from the project's folder:
--
--     export ACME_SECRET=acme-acme-acme-acme-acme-acme-32 BELLHOP_API_KEYS=change-me
--     bellhop serve -c examples/jwt_subdomain/bellhop.conf.lua
--
-- Try it (browsers know that all names below localhost are this machine; wscat is told the host):
--
--     token=$(BELLHOP_AUTH_JWT_SECRET=$ACME_SECRET bellhop token --user 42 --tenant acme)
--     wscat -c ws://127.0.0.1:8080/ws --host acme.localhost -H "Authorization: Bearer $token"
--     wscat -c ws://127.0.0.1:8080/ws --host globex.localhost -H "Authorization: Bearer $token"    # 404
--     curl http://127.0.0.1:8080/api/users/acme.42/messages -H 'Authorization: Bearer change-me' -d hi
local bh = require "bellhop"

local domain = bh.config "app.domain"
local tenants = bh.config "app.tenants" or {}

local function refuse(status, code, message)
    return false, status, bh.json.encode { error = { code = code, message = message } }
end

-- "acme.example.com:8443" -> "acme"; nil when it is not directly below our domain.
local function sub_domain(host)
    local name, rest = host:lower():gsub(":%d+$", ""):match "^([a-z0-9][a-z0-9-]*)%.(.+)$"
    return rest == domain and name or nil
end

local function find_token(req)
    local scheme, token = (req:header "Authorization" or ""):match "^(%a+) +(%S+)$"
    if scheme and scheme:lower() == "bearer" then return token end
    return req:cookie "token" or req:arg "token"
end

-- A user's or topic's name inside of its tenant, as text; nil for what can be none.
local function name_of(value)
    if math.type(value) == "integer" then value = tostring(value) end
    local fits = type(value) == "string" and #value <= 64 and value:find "^[%w_@.-]+$"
    return fits and value or nil
end

local function topics_of(claims, tenant)
    local topics = {}
    for i, topic in ipairs(type(claims.topics) == "table" and claims.topics or {}) do
        local name = name_of(topic)
        if not name or i > 50 then return nil end
        topics[i] = tenant .. "/" .. name
    end
    return topics
end

return {
    on_init = function()
        if not domain then return false, "app.domain is missing" end
        for name, tenant in pairs(tenants) do
            if name:find "[^a-z0-9-]" then return false, ("tenant %q cannot be a sub-domain"):format(name) end
            if type(tenant.secret) ~= "string" or #tenant.secret < 32 then
                return false, ("tenant %q needs a secret of at least 32 bytes"):format(name)
            end
        end
    end,

    -- Nil (no tenant) for other hosts: an API key may come by any name, a client may not.
    on_tenant = function(req)
        local name = sub_domain(req.host)
        if not name then return nil end
        if tenants[name] then return name end
        return refuse(404, "unknown_tenant", "there is no such tenant")
    end,

    on_handshake = function(req)
        local tenant = req.tenant
        if not tenant then return refuse(404, "unknown_tenant", "connect to the sub-domain of your tenant") end
        local token = find_token(req)
        if not token then return refuse(401, "unauthorized", "a token is missing") end
        local claims, why = bh.jwt.verify(token, { alg = "HS256", key = tenants[tenant].secret, require_exp = true })
        if not claims then return refuse(401, "unauthorized", why) end
        if claims.tenant ~= tenant then return refuse(403, "wrong_tenant", "this token is for another tenant") end
        local user, topics = name_of(claims.sub), topics_of(claims, tenant)
        if not user or not topics then
            return refuse(401, "unauthorized", "the token's `sub` or `topics` are no valid names")
        end
        return { tenant = tenant, user = tenant .. "." .. user, topics = topics, expires = claims.exp }
    end,
}
