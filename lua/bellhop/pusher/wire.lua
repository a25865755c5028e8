-- bellhop.pusher.wire - names, signatures and frames of the Pusher Channels protocol.
--
-- The topic of a channel is "pusher/<app id>/<name>". Channel names may contain bytes that topics may not, so each
-- byte other than A-Z a-z 0-9 _ . - is written as @ and two hexadecimal digits. If this is longer than 128 bytes, the
-- topic is "pusher/<app id>/h/<SHA-256 of the name>". Only these topics have a second slash, so two channels never
-- share a topic. Topics may be longer now, but all instances of a cluster must agree on the topic of a channel.
local bh = require "bellhop"
local crypto, json = bh.crypto, bh.json

local wire = {
    NAME_MAX = 200,
    EVENT_MAX = 200,
    USER_ID_MAX = 128,
}

local RAW = { raw = true }
local TOPIC_MAX = 128
local SERVER_TO_USER = "#server-to-user-"

-- --- names ---

-- "public", "private", "presence", or "user" and the id of the user; nil for an invalid name.
function wire.kind(name)
    if type(name) ~= "string" or name == "" or #name > wire.NAME_MAX then return nil end
    if name:sub(1, #SERVER_TO_USER) == SERVER_TO_USER then
        local user = name:sub(#SERVER_TO_USER + 1)
        return user ~= "" and not user:find "%c" and "user" or nil, user
    end
    if name:find "[^%w_%-=@,.;]" then return nil end
    return name:match "^(private)%-" or name:match "^(presence)%-" or "public"
end

-- The server cannot read the data of these channels.
function wire.is_encrypted(name) return name:find "^private%-encrypted%-" ~= nil end

-- A new subscriber gets the last event.
function wire.is_cache(name)
    local rest = name:gsub("^private%-encrypted%-", ""):gsub("^private%-", ""):gsub("^presence%-", "")
    return rest:find "^cache%-" ~= nil
end

function wire.topic_prefix(app_id) return "pusher/" .. app_id .. "/" end

function wire.topic(app_id, channel)
    local topic = wire.topic_prefix(app_id) .. channel:gsub("[^%w_.%-]", function(byte)
        return ("@%02x"):format(byte:byte())
    end)
    if #topic <= TOPIC_MAX then return topic end
    return wire.topic_prefix(app_id) .. "h/" .. crypto.hex(crypto.hash("sha256", channel))
end

-- The channel of a topic of this app; nil when the topic has only a hash.
function wire.channel(app_id, topic)
    local name = topic:sub(#wire.topic_prefix(app_id) + 1)
    if name:find("/", 1, true) then return nil end
    return (name:gsub("@(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- A connection id as two 32-bit numbers, and back; nil for an invalid socket id.
function wire.socket_id(conn_id)
    return ("%d.%d"):format(string.unpack(">I4I4", crypto.unbase64url(conn_id)))
end

function wire.connection_id(socket_id)
    if type(socket_id) ~= "string" then return nil end
    local high, low = socket_id:match "^(%d+)%.(%d+)$"
    if not high or #high > 10 or #low > 10 then return nil end
    high, low = math.tointeger(high), math.tointeger(low)
    if high > 0xffffffff or low > 0xffffffff or high | low == 0 then return nil end
    return crypto.base64url(string.pack(">I4I4", high, low))
end

-- --- signatures ---

function wire.sign(app, text) return crypto.hex(crypto.hmac("sha256", app.secret, text)) end

-- Whether auth is "<key>:<signature of text>".
function wire.is_signed(app, auth, text)
    if type(auth) ~= "string" then return false end
    local key, signature = auth:match "^([^:]*):(.*)$"
    return key == app.key and crypto.equal(signature, wire.sign(app, text))
end

-- --- values of JSON texts ---

-- The value as it stands in the text, and its type. What is only passed on is read with this: it stays as it is.
function wire.raw(text, path) return json.peek(text, path, RAW) end

-- An id: a string, or the digits of an integer of any size; nil for anything else.
function wire.id(text, path)
    local raw, what = wire.raw(text, path)
    if what == "string" then return json.peek(text, path) end
    return what == "number" and raw:match "^%-?%d+$" or nil
end

-- --- frames ---

local function quote(text)
    local quoted = json.encode(text)
    return quoted or error "not UTF-8"
end

-- data is JSON text, and a string in the frame, as in Pusher's own frames.
function wire.frame(event, channel, data) return wire.quoted_frame(event, channel, data and quote(data)) end

-- The same, with data that is a JSON string already.
function wire.quoted_frame(event, channel, data)
    local parts = { '{"event":', quote(event) }
    if channel then parts[#parts + 1] = ',"channel":' .. quote(channel) end
    if data then parts[#parts + 1] = ',"data":' .. data end
    parts[#parts + 1] = "}"
    return table.concat(parts)
end

-- A client event. data is JSON text or nil, and is not quoted.
function wire.client_frame(event, channel, data, user_id)
    local parts = { '{"event":', quote(event), ',"channel":', quote(channel) }
    if data then parts[#parts + 1] = ',"data":' .. data end
    if user_id then parts[#parts + 1] = ',"user_id":' .. quote(user_id) end
    parts[#parts + 1] = "}"
    return table.concat(parts)
end

-- code is nil when the connection stays open.
function wire.error_frame(code, message)
    return json.encode { event = "pusher:error", data = { code = code or json.null, message = message } }
end

return wire
