-- The default policy: clients authenticate with a JSON Web Token.
--
-- The token is sent as `Authorization: Bearer ...`, as ?token=..., or in a cookie (browsers cannot set headers on a
-- WebSocket). Its claim `sub` is the user, `tenant` the tenant, `topics` a list of topics to join, and `exp` the expiry of
-- the connection. The section auth.jwt of the configuration has the keys and the names of the claims.
-- In development mode a connection without a token takes them from the query: /ws?user=42&tenant=7&topic=news, with tags
-- for filters (&tag=platform:ios), and what clients send is sent back to them.
--
-- It uses only the API that your own policies have, so you can copy and change it.
local bh = require "bellhop"

local function setting(name, default)
    local value = bh.config("auth.jwt." .. name)
    if value == nil or value == "" then return default end
    return value
end

local cookie_name = setting("cookie", "token")
local user_claim = setting("user_claim", "sub")
local tenant_claim = setting("tenant_claim", "tenant")
local leeway = setting("leeway", 0)
local dev = bh.config("dev") == true

local jwks = setting("jwks")

-- The options of bh.jwt.verify for each source of keys: the secret verifies HS*, the public key all others, and each key
-- of a key set names its algorithm.
local function make_verifiers()
    local algorithms = setting("algorithms", { "HS256" })
    local shared, public, list, missing = {}, {}, {}, {}
    for _, alg in ipairs(algorithms) do
        local kind = alg:find("^HS") and shared or public
        kind[#kind + 1] = alg
    end
    local function add(algs, key, key_set)
        list[#list + 1] = {
            alg = algs,
            key = key,
            jwks = key_set,
            issuer = setting("issuer"),
            audience = setting("audience"),
            leeway = leeway,
        }
    end
    local function add_key(algs, name)
        if #algs == 0 then return end
        local key = setting(name)
        if key then
            add(algs, key)
        elseif not jwks then
            missing[#missing + 1] = ("auth.jwt.%s (for %s)"):format(name, table.concat(algs, ", "))
        end
    end
    add_key(shared, "secret")
    add_key(public, "public_key")
    if jwks then add(algorithms, nil, jwks) end
    return list, missing, #public > 0
end

local verifiers, missing_keys, accepts_public = make_verifiers()

local function refuse(status, code, message)
    return false, status, bh.json.encode { error = { code = code, message = message } }
end

local function unauthorized(message)
    return refuse(401, "unauthorized", message)
end

local function find_token(req)
    local header = req:header("authorization")
    if header then
        local scheme, token = header:match("^(%a+) +(%S+)$")
        if scheme and scheme:lower() == "bearer" then return token end
    end
    return req:arg("token") or req:cookie(cookie_name)
end

local function verify(token)
    local why = "the server has no key to verify tokens"
    for _, options in ipairs(verifiers) do
        local claims
        claims, why = bh.jwt.verify(token, options)
        if claims then return claims end
    end
    return nil, why
end

-- The claim as an id; nil when it is missing; nil and why when it is invalid.
local function id_claim(claims, name, kind)
    local value = claims[name]
    if value == nil or value == bh.json.null then return nil end
    local id, why = bh.id.check(kind, value)
    if id then return id end
    return nil, ("the claim `%s` of the token is not a valid id: %s"):format(name, why)
end

local function topics_claim(claims)
    local topics = claims.topics
    if topics == nil or topics == bh.json.null then return nil end
    if type(topics) ~= "table" or #topics > 256 then
        return nil, "the claim `topics` of the token must be a list of at most 256 topics"
    end
    if #topics == 0 then return nil end
    local list = {}
    for i = 1, #topics do
        local id, why = bh.id.check("topic", topics[i])
        if not id then return nil, "the claim `topics` of the token has an invalid topic: " .. why end
        list[i] = id
    end
    return list
end

-- The connection ends with its token. One that only the leeway admits ends with the leeway.
local function expiry(exp)
    if exp and exp <= os.time() then return exp + leeway end
    return exp
end

local function identity_from(claims)
    local user, bad_user = id_claim(claims, user_claim, "user")
    local tenant, bad_tenant = id_claim(claims, tenant_claim, "tenant")
    local topics, bad_topics = topics_claim(claims)
    local bad = bad_user or bad_tenant or bad_topics
    if bad then return nil, bad end
    if not user then return nil, ("the token has no claim `%s` for the user"):format(user_claim) end
    return { user = user, tenant = tenant, topics = topics, expires = expiry(claims.exp) }
end

-- ?tag=name:value, as in the filters of the API; nil when one has no name.
local function tags_from_query(req)
    local tags = {}
    for _, tag in ipairs(req:args("tag")) do
        local name, value = tag:match("^([^:]+):(.*)$")
        if not name then return nil end
        tags[name] = value
    end
    return tags
end

-- Development mode only: the query names the user.
local function identity_from_query(req)
    local user, tenant = req:arg("user"), req:arg("tenant")
    if user == "" then user = nil end
    if tenant == "" then tenant = nil end
    local given = { user = user, tenant = tenant, topics = req:args("topic") }
    local _, bad_user = id_claim(given, "user", "user")
    local _, bad_tenant = id_claim(given, "tenant", "tenant")
    local _, bad_topic = topics_claim(given)
    if bad_user then return refuse(400, "bad_request", "?user= is not a valid id") end
    if bad_tenant then return refuse(400, "bad_request", "?tenant= is not a valid id") end
    if bad_topic then return refuse(400, "bad_request", "?topic= is not a valid topic") end
    given.anonymous = user == nil
    given.tags = tags_from_query(req)
    if not given.tags then return refuse(400, "bad_request", "?tag= must be name:value") end
    return given
end

return {
    on_init = function()
        for _, name in ipairs(dev and {} or missing_keys) do
            bh.log.error("clients cannot connect: no key to verify tokens; set it in the configuration", { setting = name })
        end
        if jwks and not accepts_public then
            bh.log.warn("auth.jwt.algorithms has only HS*: public keys of the key set are not used; add their algorithms",
                { setting = "auth.jwt.jwks" })
        end
        for _, options in ipairs(verifiers) do
            local ok, why = pcall(bh.jwt.verify, "", options)
            if not ok then return false, "auth.jwt: " .. why end
        end
    end,

    on_handshake = function(req)
        local token = find_token(req)
        if not token then
            if dev then return identity_from_query(req) end
            if #verifiers == 0 then
                return refuse(503, "unavailable", "the server has no key to verify tokens")
            end
            return unauthorized("send a token: Authorization: Bearer <JWT>, ?token=<JWT> or a cookie")
        end
        local claims, why = verify(token)
        if not claims then return unauthorized(why) end
        local identity, bad = identity_from(claims)
        if not identity then return unauthorized(bad) end
        return identity
    end,

    on_message = dev and function(_, data) return data end or nil,
}
