-- bellhop.pusher.rest - the HTTP API of Pusher Channels, for its server libraries.
--
-- An endpoint raises { status, text } to refuse a request; serve() turns it into the answer.
local bh = require "bellhop"
local channels = require "bellhop.pusher.channels"
local wire = require "bellhop.pusher.wire"
local json = bh.json

local rest = {}

local AUTH_WINDOW = 600
-- Why a message was not published; 403 when on_publish refused it.
local STATUSES = {
    unavailable = 503, ["timed out"] = 503, ["try again later"] = 503, ["input/output error"] = 503,
    ["the payload is larger than delivery.payload_bytes allows"] = 413,
}

local function refuse(status, text, ...) error({ status, select("#", ...) > 0 and text:format(...) or text }, 0) end

local function check(condition, status, ...)
    if not condition then refuse(status, ...) end
    return condition
end

-- For operations that fail when Redis is unavailable.
local function must(value, why)
    if value == nil then refuse(503, "Service unavailable: %s", tostring(why)) end
    return value
end

-- --- authentication ---

local function url_decode(text)
    return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function query_of(req)
    local params = {}
    for pair in req.query:gmatch "[^&]+" do
        local name, value = pair:match "^([^=]*)=?(.*)$"
        params[url_decode(name):lower()] = url_decode(value)
    end
    return params
end

local function text_to_sign(req, params)
    local pairs_ = {}
    for name, value in pairs(params) do
        if name ~= "auth_signature" then pairs_[#pairs_ + 1] = { name, value } end
    end
    table.sort(pairs_, function(a, b) return a[1] < b[1] end)
    for i, pair in ipairs(pairs_) do pairs_[i] = pair[1] .. "=" .. pair[2] end
    return table.concat({ req.method, req.path, table.concat(pairs_, "&") }, "\n")
end

local function authenticate(req, app, params)
    check(params.auth_key == app.key, 401, "Unknown auth_key")
    check(params.auth_version == "1.0", 401, "auth_version must be 1.0")
    local time = math.tointeger(tonumber(params.auth_timestamp))
    check(time and math.abs(os.time() - time) <= AUTH_WINDOW, 401,
        "Timestamp expired: the given auth_timestamp (%s) is not within %d s of the server's time (%d)",
        params.auth_timestamp or "none", AUTH_WINDOW, os.time())
    if req.body ~= "" then
        check(params.body_md5 == bh.crypto.hex(bh.crypto.hash("md5", req.body)), 401,
            "Invalid body_md5: it must be the MD5 of the body, in hexadecimal digits")
    end
    local text = text_to_sign(req, params)
    check(bh.crypto.equal(params.auth_signature or "", wire.sign(app, text)), 401,
        "Invalid signature: it must be the HMAC SHA-256 of %s, in hexadecimal digits", json.encode(text) or "the request")
end

-- --- triggering ---

local function check_channels(app, names)
    check(type(names) == "table" and #names > 0, 400, "channel or channels is missing")
    check(#names <= app.event_channels, 400, "Too many channels: %d; at most %d for one event (event_channels)", #names,
        app.event_channels)
    for _, name in ipairs(names) do
        check(wire.kind(name), 400, "Invalid channel name: %s", tostring(name))
    end
    return names
end

local function check_event(app, name, data, socket_id)
    check(type(name) == "string" and name ~= "", 400, "name is missing")
    check(#name <= wire.EVENT_MAX, 400, "An event name has at most %d bytes", wire.EVENT_MAX)
    check(not name:find "^pusher:" and not name:find "^pusher_internal:", 400, "Event names that begin with pusher: are reserved")
    check(type(data) == "string", 400, "data must be a string")
    check(#data <= app.event_bytes, 413, "The event data is too large: %d bytes; at most %d (event_bytes)", #data,
        app.event_bytes)
    if socket_id == nil then return nil end
    return check(wire.connection_id(socket_id), 400, "Invalid socket_id: %s", tostring(socket_id))
end

-- data is a JSON string.
local function publish(app, names, event, data, except)
    for _, name in ipairs(names) do
        local frame = wire.quoted_frame(event, name, data)
        if wire.is_cache(name) then must(channels.put_cache(app.id, name, frame, app.cache_ttl)) end
        local ok, why = bh.publish_wait { topic = wire.topic(app.id, name), data = frame, except = except }
        if not ok then refuse(STATUSES[why] or 403, "Not published: %s", tostring(why)) end
    end
end

-- For scripts, see bellhop.pusher. Returns true, or nil and why.
function rest.trigger(app, names, event, data, except)
    local ok, why = pcall(function()
        if type(names) == "string" then names = { names } end
        check_channels(app, names)
        local excluded = check_event(app, event, data, except)
        publish(app, names, event, json.encode(data), excluded)
    end)
    if ok then return true end
    if type(why) == "table" then return nil, why[2] end
    error(why, 0)
end

-- --- channel queries ---

local function read_info(text)
    local wants = {}
    check(text == nil or type(text) == "string", 400, "info must be a string")
    for word in (text or ""):gmatch "[^,%s]+" do
        check(word == "user_count" or word == "subscription_count", 400, "Unknown info: %s", word)
        wants[word] = true
    end
    return wants
end

-- {name = {subscription_count =, user_count =}}, with the requested counts.
local function describe(app, names, wants)
    local described, presence, subscriptions, users = json.object {}, {}, nil, nil
    for _, name in ipairs(names) do
        if wire.kind(name) == "presence" then presence[#presence + 1] = name end
    end
    if wants.subscription_count then subscriptions = must(channels.subscriptions(app.id)) end
    if wants.user_count and #presence > 0 then users = must(channels.user_counts(app.id, presence)) end
    for _, name in ipairs(names) do
        described[name] = json.object {
            subscription_count = subscriptions and (subscriptions[name] or 0),
            user_count = users and users[name],
        }
    end
    return described
end

-- --- endpoints: (app, req, params) -> the body of the answer ---

local endpoints = {}

-- A field that is null is as absent: some server libraries send all fields.
local function without_nulls(object)
    for name, value in pairs(object) do
        if value == json.null then object[name] = nil end
    end
    return object
end

local function body_of(req)
    local body, why = req:json { big_integers = "string" }
    check(type(body) == "table", 400, "The body is not a JSON object: %s", why or "it is another value")
    return without_nulls(body)
end

endpoints["POST /apps/:id/events"] = function(app, req)
    local event = body_of(req)
    local names = check_channels(app, event.channels or { event.channel })
    local except = check_event(app, event.name, event.data, event.socket_id)
    local wants = read_info(event.info)
    publish(app, names, event.name, wire.raw(req.body, "data"), except)
    if not next(wants) then return json.object {} end
    return { channels = describe(app, names, wants) }
end

endpoints["POST /apps/:id/batch_events"] = function(app, req)
    local batch, checked, answers, has_info = body_of(req).batch, {}, {}, false
    check(type(batch) == "table" and #batch > 0, 400, "batch is missing")
    check(#batch <= app.batch_events, 400, "The batch is too large: %d events; at most %d (batch_events)", #batch,
        app.batch_events)
    for i, event in ipairs(batch) do
        check(type(event) == "table", 400, "Each event of a batch must be an object")
        without_nulls(event)
        local names = check_channels(app, { event.channel })
        checked[i] = {
            names = names, except = check_event(app, event.name, event.data, event.socket_id), wants = read_info(event.info),
        }
    end
    for i, one in ipairs(checked) do
        local data = wire.raw(req.body, ("batch.%d.data"):format(i - 1))
        publish(app, one.names, batch[i].name, data, one.except)
        answers[i] = describe(app, one.names, one.wants)[one.names[1]]
        has_info = has_info or next(one.wants) ~= nil
    end
    return has_info and { batch = answers } or json.object {}
end

endpoints["GET /apps/:id/channels"] = function(app, _, params)
    local prefix, wants, names = params.filter_by_prefix or "", read_info(params.info), {}
    check(not wants.user_count or prefix:find "^presence%-", 400,
        "user_count requires a filter_by_prefix that begins with presence-")
    for name in pairs(must(channels.subscriptions(app.id))) do
        if name:sub(1, #prefix) == prefix then names[#names + 1] = name end
    end
    return { channels = describe(app, names, wants) }
end

endpoints["GET /apps/:id/channels/:name"] = function(app, req, params)
    local name, wants = req.params.name, read_info(params.info)
    local kind = check(wire.kind(name), 400, "Invalid channel name: %s", name)
    check(not wants.user_count or kind == "presence", 400, "user_count is available for presence channels only")
    local subscriptions = must(channels.subscriptions(app.id))[name] or 0
    return {
        occupied = subscriptions > 0,
        subscription_count = wants.subscription_count and subscriptions or nil,
        user_count = wants.user_count and must(channels.user_counts(app.id, { name }))[name] or nil,
    }
end

endpoints["GET /apps/:id/channels/:name/users"] = function(app, req)
    local name, users = req.params.name, json.array {}
    check(wire.kind(name) == "presence", 400, "Users are available for presence channels only")
    for user in pairs(must(channels.users(app.id, name))) do users[#users + 1] = { id = user } end
    table.sort(users, function(a, b) return a.id < b.id end)
    return { users = users }
end

local function serve(endpoint, app, req)
    local ok, answer = pcall(function()
        check(app, 404, "Unknown app")
        local params = query_of(req)
        authenticate(req, app, params)
        check(app.enabled, 403, "The app is disabled")
        return endpoint(app, req, params)
    end)
    if ok then return 200, nil, answer end
    if type(answer) ~= "table" then error(answer, 0) end
    return answer[1], nil, answer[2] .. "\n"
end

-- The table `http` of a policy; find(id) returns the app.
function rest.endpoints(find)
    local http = {}
    for key, endpoint in pairs(endpoints) do
        http[key] = function(req) return serve(endpoint, find(req.params.id), req) end
    end
    return http
end

return rest
