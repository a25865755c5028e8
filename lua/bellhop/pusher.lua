-- bellhop.pusher - a server for the Pusher Channels protocol (version 7): for clients such as pusher-js and
-- laravel-echo, and for Pusher's server libraries.
--
--     -- bellhop.conf.lua:  websocket = { paths = { "/app/:key" } }
--     local pusher = require "bellhop.pusher"
--     return pusher.policy { apps = { { id = "1", key = "app-key", secret = "app-secret" } } }
--
-- Options of pusher.policy, with defaults:
--     apps              a list of apps, each with
--         id, key, secret       the same as in your Pusher libraries; a line end at the end is removed
--         client_messages       false; true: clients may send client-* events
--         client_rate           10: client events per second and connection
--         presence_members      100: users in one presence channel
--         cache_ttl             1800: seconds for which a cache channel keeps its last event
--         event_bytes           10240: bytes of the data of an event, also of a client event
--         event_channels        100: channels of one event
--         batch_events          10: events of one batch
--         user_info_bytes       1024: bytes of the user_info of a member of a presence channel
--         authorize_within      none: seconds within which a connection must sign in or subscribe to a private
--                               or presence channel, otherwise it is closed with 4009
--         enabled               true; false: connections are closed with 4003, the API returns 403
--     activity_timeout  120: seconds without traffic after which a client sends a ping
--     lease             30: seconds after which the members of a crashed instance leave presence channels
--                       (with Redis)
--
-- The result is a table of hooks: on_init, on_handshake, on_open, on_message, on_expire, on_close,
-- on_shutdown, http, timers. To extend a hook, wrap it:
--
--     local hooks = pusher.policy { ... }
--     local on_open = hooks.on_open
--     function hooks.on_open(conn) ... return on_open(conn) end
--
-- The hooks return nil for connections of other paths, so script.files may list other policies as well.
-- on_subscribe(conn, topic) of another policy may refuse a channel; bellhop/pusher/wire.lua describes the topics.
-- Scripts trigger events with
--
--     pusher.trigger(app_id, channel or {channels}, event, data, except_socket_id) -> true, or nil and why
--
-- where data is a string, or a table, which is encoded as JSON. It waits.
--
-- Not supported: webhooks, watch lists, channel history, terminate_connections of users.
local bh = require "bellhop"
local channels = require "bellhop.pusher.channels"
local rest = require "bellhop.pusher.rest"
local wire = require "bellhop.pusher.wire"
local json = bh.json

local pusher = {}

local EXACT = { big_integers = "string" }
local HEARTBEAT = 2
local PROTOCOL_MIN, PROTOCOL_MAX = 5, 7
local REFUSALS = {
    unknown_app = { 4001, "Unknown app key" },
    disabled = { 4003, "The app is disabled" },
    malformed_protocol = { 4006, "Invalid version string format: protocol must be an integer" },
    bad_protocol = { 4007, "Unsupported protocol version" },
    no_protocol = { 4008, "The protocol version is missing" },
}

local apps_by_id, apps_by_key = {}, {}

-- --- options ---

local APP_OPTIONS = {
    id = "string", key = "string", secret = "string", client_messages = "boolean", client_rate = "number",
    presence_members = "number", cache_ttl = "number", authorize_within = "number", enabled = "boolean",
    event_bytes = "number", event_channels = "number", batch_events = "number", user_info_bytes = "number",
}
local LIMITS = { event_bytes = 10 * 1024, event_channels = 100, batch_events = 10, user_info_bytes = 1024 }
local OPTIONS = { apps = "table", activity_timeout = "number", lease = "number" }

local function check_options(where, options, known)
    for name, value in pairs(options) do
        if not known[name] then error(("%s: unknown option %s"):format(where, tostring(name)), 0) end
        if type(value) ~= known[name] then error(("%s: %s must be a %s"):format(where, name, known[name]), 0) end
    end
end

-- What comes from a file often has a line end.
local function clean(app, name)
    local text = app[name] and app[name]:gsub("\r?\n$", "") or ""
    if text == "" then error("an app of pusher.policy: " .. name .. " is missing", 0) end
    if text:find "%c" then
        error(("an app of pusher.policy: %s has a control character; only one line feed at the end is removed"):format(name), 0)
    end
    return text
end

local function set_limits(app)
    for name, default in pairs(LIMITS) do
        local limit = math.tointeger(app[name] or default)
        if not limit or limit < 1 then
            error(("an app of pusher.policy: %s must be an integer of at least 1: %s"):format(name, app[name]), 0)
        end
        app[name] = limit
    end
end

local function add_app(given)
    local app = { client_messages = false, client_rate = 10, presence_members = 100, cache_ttl = 1800, enabled = true }
    for name, value in pairs(given) do app[name] = value end
    app.id = math.type(app.id) == "integer" and tostring(app.id) or app.id
    check_options("an app of pusher.policy", app, APP_OPTIONS)
    set_limits(app)
    for _, name in ipairs { "id", "key", "secret" } do app[name] = clean(app, name) end
    if app.id:find "[^%w_%-]" or #app.id > 40 then
        error("an app's id must be 1 to 40 of A-Z a-z 0-9 _ -: " .. app.id, 0)
    end
    if apps_by_id[app.id] or apps_by_key[app.key] then error("two apps have the same id or key: " .. app.id, 0) end
    apps_by_id[app.id], apps_by_key[app.key] = app, app
end

-- --- errors ---

-- The connection stays open.
local function send_error(conn, message, code) conn:send(wire.error_frame(code, message)) end

local function close_with(conn, code, message)
    conn:send(wire.error_frame(code, message))
    conn:close(code, message)
end

local function refuse_channel(conn, channel, status, kind, message)
    local data = json.encode { type = kind, error = message, status = status }
    conn:send(wire.frame("pusher:subscription_error", channel, data))
end

-- --- connecting ---

-- Why a connection is refused: a key of REFUSALS, or nil.
local function refusal(req, app)
    local given = req:arg "protocol"
    local protocol = given and given:find "^%d+$" and tonumber(given)
    if not app then return "unknown_app" end
    if not app.enabled then return "disabled" end
    if not given then return "no_protocol" end
    if not protocol then return "malformed_protocol" end
    if protocol < PROTOCOL_MIN or protocol > PROTOCOL_MAX then return "bad_protocol" end
end

-- The protocol reports a refusal in a frame, so the connection is accepted first and closed in on_open.
local function on_handshake(req)
    local key = req.params.key
    if not key then return nil end
    local app = apps_by_key[key]
    local why = refusal(req, app)
    if why then return { anonymous = true, tags = { pusher_refused = why } } end
    return {
        anonymous = true, -- users sign in later, by pusher:signin
        tags = { pusher = app.id },
        expires = app.authorize_within and os.time() + math.ceil(app.authorize_within),
    }
end

local function on_open(conn, activity_timeout)
    local tags = conn.tags
    local why = REFUSALS[tags.pusher_refused]
    if why then
        close_with(conn, why[1], why[2])
    elseif tags.pusher then
        conn.vars.pusher = { app = tags.pusher, channels = {} }
        local hello = { socket_id = wire.socket_id(conn.id), activity_timeout = activity_timeout }
        conn:send(wire.frame("pusher:connection_established", nil, json.encode(hello)))
    end
end

local function on_authorized(conn, app)
    if app.authorize_within then conn:set_expiry(nil) end
end

-- --- subscribing ---

-- The member in channel_data, or nil and why it is invalid.
local function read_member(app, text)
    if select(2, wire.raw(text, "")) ~= "object" then return nil, "channel_data is not a JSON object" end
    local user = wire.id(text, "user_id")
    if not user or user == "" or #user > wire.USER_ID_MAX or user:find "%c" then
        return nil, "channel_data has no valid user_id"
    end
    local info = wire.raw(text, "user_info") or "null"
    if #info > app.user_info_bytes then
        return nil, ("user_info is too large: %d bytes; at most %d (user_info_bytes)"):format(#info, app.user_info_bytes)
    end
    return { user = user, info = info }
end

-- True, and the member of a presence channel; or nil, a status and the reason.
local function may_join(conn, state, app, channel, data)
    local kind, user = wire.kind(channel)
    if kind == "public" then return true end
    if kind == "user" then
        if state.user == user then return true end
        return nil, 401, "Only the signed-in user may subscribe"
    end
    local text = wire.socket_id(conn.id) .. ":" .. channel
    if kind == "presence" then
        if type(data.channel_data) ~= "string" then return nil, 400, "channel_data is missing" end
        text = text .. ":" .. data.channel_data
    end
    if not wire.is_signed(app, data.auth, text) then
        return nil, 401, "Invalid signature: it must sign " .. text
    end
    if kind == "private" then return true end
    local member, why = read_member(app, data.channel_data)
    if not member then return nil, 400, why end
    return true, member
end

local function join_topic(conn, app, channel)
    local ok, why = conn:subscribe(wire.topic(app.id, channel))
    if ok then return true end
    if why == "denied" then
        refuse_channel(conn, channel, 403, "AuthError", "Refused by the policy")
    elseif why == "too big" then
        refuse_channel(conn, channel, 400, "LimitReached", "This connection has too many channels")
    elseif why ~= "closed" then
        refuse_channel(conn, channel, 503, "ServerError", why)
    end
end

local function membership(conn, state, channel)
    local member = state.channels[channel]
    if type(member) ~= "table" then return nil end
    return { app = state.app, channel = channel, user = member.user, info = member.info, conn = conn.id, of = conn }
end

-- All members, as JSON.
local function presence_data(infos)
    local ids, hash = {}, {}
    for user in pairs(infos) do ids[#ids + 1] = user end
    table.sort(ids)
    for i, user in ipairs(ids) do hash[i] = json.encode(user) .. ":" .. infos[user] end
    return ('{"presence":{"count":%d,"ids":%s,"hash":{%s}}}'):format(#ids, json.encode(json.array(ids)),
        table.concat(hash, ","))
end

-- The data of subscription_succeeded; nil when the subscription was refused.
local function join_presence(conn, state, app, channel)
    local member = state.channels[channel]
    member.joining = true
    local infos, why = channels.join(membership(conn, state, channel), app.presence_members)
    member.joining = nil
    if infos then return presence_data(infos) end
    state.channels[channel] = nil
    conn:unsubscribe(wire.topic(app.id, channel))
    if why == "full" then
        refuse_channel(conn, channel, 403, "LimitReached", "The channel has the maximum number of members")
    else
        refuse_channel(conn, channel, 503, "ServerError", why)
    end
end

local function send_cached(conn, app, channel)
    local frame = channels.get_cache(app.id, channel)
    conn:send(frame or wire.frame("pusher:cache_miss", channel))
end

local handlers = {}

handlers["pusher:subscribe"] = function(conn, state, app, data)
    local channel = data.channel
    if not wire.kind(channel) then
        return send_error(conn, "Invalid channel name: " .. tostring(channel))
    end
    if state.channels[channel] then return send_error(conn, "Existing subscription to channel " .. channel) end
    local ok, member, why = may_join(conn, state, app, channel, data)
    if not ok then return refuse_channel(conn, channel, member, member == 401 and "AuthError" or "InvalidData", why) end
    if not join_topic(conn, app, channel) then return end
    state.channels[channel] = member or true
    local answer = "{}"
    if member then answer = join_presence(conn, state, app, channel) end
    channels.touch(app.id, channel)
    if not answer then return end
    if wire.kind(channel) ~= "public" then on_authorized(conn, app) end
    conn:send(wire.frame("pusher_internal:subscription_succeeded", channel, answer))
    if wire.is_cache(channel) then send_cached(conn, app, channel) end
end

handlers["pusher:unsubscribe"] = function(conn, state, app, data)
    local channel = data.channel
    if not state.channels[channel] then return send_error(conn, "No current subscription to channel " .. tostring(channel)) end
    local m = membership(conn, state, channel)
    state.channels[channel] = nil
    conn:unsubscribe(wire.topic(app.id, channel))
    channels.touch(app.id, channel)
    if m then channels.leave(m) end
end

-- The text with its id as a string: backends also send integers, and pusher-js accepts nothing but a string.
local function with_string_id(text, id)
    if type(json.peek(text, "id")) == "string" then return text end
    for last in text:gmatch '"id"%s*:%s*()' do
        local quoted = text:sub(1, last - 1) .. '"' .. id .. '"' .. text:sub(last + #id)
        if json.peek(quoted, "id") == id then return quoted end
    end
    return text
end

handlers["pusher:signin"] = function(conn, state, app, data)
    local text = data.user_data
    if type(text) ~= "string"
        or not wire.is_signed(app, data.auth, wire.socket_id(conn.id) .. "::user::" .. text) then
        return close_with(conn, 4009, "Invalid signature")
    end
    local id = wire.id(text, "id")
    if not id or id == "" then return close_with(conn, 4009, "user_data has no id") end
    state.user = id
    on_authorized(conn, app)
    conn:send(wire.frame("pusher:signin_success", nil, json.encode { user_data = with_string_id(text, id) }))
end

handlers["pusher:ping"] = function(conn) conn:send(wire.frame("pusher:pong", nil, "{}")) end
handlers["pusher:pong"] = function() end

-- --- client events ---

-- Why the event is refused, and an error code; nil when it is allowed.
local function client_event_fault(conn, state, app, event, channel, data)
    local kind = wire.kind(channel)
    if not app.client_messages then return "Client events are not enabled for this app" end
    if kind ~= "private" and kind ~= "presence" then
        return "Client events are for private and presence channels only"
    end
    if wire.is_encrypted(channel) then return "Client events are not supported on encrypted channels" end
    if not state.channels[channel] then return "Client events require a subscription to the channel" end
    if #event > wire.EVENT_MAX then return "The event name is too long" end
    if data and #data > app.event_bytes then
        return ("The event data is too large: %d bytes; at most %d (event_bytes)"):format(#data, app.event_bytes)
    end
    if not conn:allow("pusher.client_events", app.client_rate, math.max(app.client_rate, 1)) then
        return "Too many client events", 4301
    end
end

local function client_event(conn, state, app, event, text)
    local channel, data = json.peek(text, "channel"), wire.raw(text, "data")
    local fault, code = client_event_fault(conn, state, app, event, channel, data)
    if fault then return send_error(conn, fault, code) end
    local member = state.channels[channel]
    return {
        topic = wire.topic(app.id, channel),
        data = wire.client_frame(event, channel, data, type(member) == "table" and member.user or nil),
        except = conn.id,
    }
end

-- --- hooks ---

-- The data of a frame from a client: an object, or the text of one; {} for anything else.
local function read_data(text)
    local data = json.peek(text, "data")
    local fields = type(data) == "string" and json.decode(data, EXACT)
    return type(fields) == "table" and fields or {}
end

local function on_message(conn, text, opcode)
    local state = conn.vars.pusher
    if not state then return conn.tags.pusher_refused and true or nil end
    local app = apps_by_id[state.app]
    if not app then -- removed by a reload
        close_with(conn, 4001, REFUSALS.unknown_app[2])
        return true
    end
    local event = opcode == "text" and json.peek(text, "event")
    if type(event) ~= "string" then
        send_error(conn, "A message must be a JSON object with the field event")
        return true
    end
    if event:find "^client%-" then return client_event(conn, state, app, event, text) or true end
    local handler = handlers[event]
    if not handler then
        send_error(conn, "Unknown event: clients may send pusher: and client- events")
    else
        handler(conn, state, app, read_data(text))
    end
    return true
end

local function on_expire(conn)
    local app = apps_by_id[conn.tags.pusher]
    if not app or not app.authorize_within then return nil end
    close_with(conn, 4009, "The connection was not authorized in time")
    return false
end

local function on_close(conn)
    local state = conn.vars.pusher
    if not state then return end
    local members = {}
    for channel in pairs(state.channels) do
        members[#members + 1] = membership(conn, state, channel)
        channels.touch(state.app, channel)
    end
    state.channels = {}
    for _, m in ipairs(members) do channels.leave(m) end
end

function pusher.policy(options)
    check_options("pusher.policy", options, OPTIONS)
    if not options.apps or #options.apps == 0 then error("pusher.policy: apps is missing", 0) end
    local lease, ids = options.lease or 30, {}
    if lease < 1 then error("pusher.policy: lease must be at least 1 second", 0) end
    for _, app in ipairs(options.apps) do add_app(app) end
    for id in pairs(apps_by_id) do ids[#ids + 1] = id end
    return {
        on_init = function(ctx) channels.start(ctx, ids, math.ceil(lease)) end,
        on_handshake = on_handshake,
        on_open = function(conn) on_open(conn, options.activity_timeout or 120) end,
        on_message = on_message,
        on_expire = on_expire,
        on_close = on_close,
        on_shutdown = channels.retire,
        http = rest.endpoints(function(id) return apps_by_id[id] end),
        timers = { pusher = { every = math.min(HEARTBEAT, lease / 3), fn = channels.heartbeat } },
    }
end

function pusher.trigger(app_id, names, event, data, except)
    local app = apps_by_id[tostring(app_id)]
    if not app then return nil, "unknown app " .. tostring(app_id) end
    if type(data) == "table" then data = assert(json.encode(data)) end
    return rest.trigger(app, names, event, data, except)
end

return pusher
