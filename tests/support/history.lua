-- The Redis side of the history: the text of its library and scripts as the build makes it
-- (src/backend/redis/embed.cmake), and the bytes of entries.
local redis = require "redis"

local history = {}

local FOLDER = "lua/redis/history/"

local function read_file(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local text = file:read "a"
    file:close()
    return text
end

-- The text of a file behind those that it names as its heads.
local function with_heads(name)
    local text = assert(read_file(FOLDER .. name))
    local parts = {}
    for head in text:match "\n%-%- HEAD +([a-z_. ]+)\n":gmatch "[^ ]+" do
        parts[#parts + 1] = read_file(FOLDER .. "head/" .. head) or assert(read_file(FOLDER .. head))
    end
    parts[#parts + 1] = text
    return table.concat(parts)
end

function history.library()
    return "#!lua name=bellhop\n" .. with_heads "library.lua"
end

-- For EVAL: append, begin, page, read or remove; publish is here for the tests only.
function history.script(name)
    return with_heads(name .. ".lua") .. "return " .. (name == "publish" and "publish_plain" or name) .. "(KEYS, ARGV)\n"
end

-- What a Redis user needs beside the keys ~{notification:* and the channels &notification:*.
history.RIGHTS = "+fcall +function|load +eval +evalsha +info +time +hmget +hget +hset +hdel +hlen +hscan " ..
    "+rpush +lrange +lindex +llen +lset +ltrim +rpop +del +pexpire +publish"

history.DATA, history.PURGE, history.TOMBSTONE = 0, 2, 3

-- An envelope as an instance sends it for an append: what is before the place of the position, and what is behind
-- it. ttl: ms.
function history.envelope(payload, id, ttl)
    return "\0bh1" .. string.pack(">BBBBBBI2I8I4", 0, 1, 8, 4, #(id or ""), 0, 0, 0, ttl or 0), "node" .. (id or "") .. payload
end

-- The parts of an entry or of another message with a position.
function history.parse(bytes)
    local magic, kind, opcode, flags, origin, id, _, filter, _, ttl, offset, epoch, at =
        string.unpack(">c4BBBBBBI2I8I4I8I8I8", bytes)
    assert(magic == "\0bh1" and flags & 8 ~= 0, "this is no message with a position")
    local from = 49 + origin
    return {kind = kind, opcode = opcode, raw = flags & 4 ~= 0, id = bytes:sub(from, from + id - 1), ttl = ttl,
        offset = offset, epoch = epoch, at = at, payload = bytes:sub(from + id + filter)}
end

-- --- a stream in Redis ---

local stream = {}
stream.__index = stream

local DEFAULTS = {size = 100, ttl = 86400000, position_ttl = 2592000000, bytes = 1048576, revision = 1, id_ttl = 300000}
local NAMES = {"size", "ttl", "position_ttl", "bytes", "revision", "id_ttl"}

function history.rule(options)
    local words = {}
    for i, name in ipairs(NAMES) do words[i] = ("%d"):format(options and options[name] or DEFAULTS[name]) end
    return table.concat(words, " ")
end

-- how: FCALL or EVAL. client: a client of tests/support/redis.lua, or anything else with `call`.
function history.stream(client, channel, how)
    return setmetatable({client = client, channel = channel, how = how or "FCALL", log = "{" .. channel .. "}:log",
        m = "{" .. channel .. "}:m", publish_command = "PUBLISH"}, stream)
end

-- Older servers have no functions; there all is by EVAL.
history.WAYS = redis.version() >= 7 and {"FCALL", "EVAL"} or {"EVAL"}

function history.load(client)
    if redis.version() < 7 then return nil end
    return assert(client:call("FUNCTION", "LOAD", "REPLACE", history.library()))
end

local shas = {}

-- The reply, or nil and the error.
function stream:run(name, ...)
    if self.how == "FCALL" then return self.client:call("FCALL", "bellhop_" .. name, 2, self.log, self.m, ...) end
    if shas[name] then
        local reply, why = self.client:call("EVALSHA", shas[name], 2, self.log, self.m, ...)
        if reply or not why:find "NOSCRIPT" then return reply, why end
    end
    local script = history.script(name)
    local reply, why = self.client:call("EVAL", script, 2, self.log, self.m, ...)
    if reply then shas[name] = self.client:call("SCRIPT", "LOAD", script) end
    return reply, why
end

-- As an instance does it. options: id, collapse, message_ttl in ms, and those of the rule. {offset, epoch,
-- receivers, known}.
function stream:append(payload, options)
    options = options or {}
    local head, rest = history.envelope(payload, options.id, options.message_ttl)
    return self:run("append", head, rest, options.id or "", history.rule(options), self.publish_command, options.collapse)
end

function stream:publish(payload, ...) return self:run("publish", payload, ...) end

local STATUS = {[0] = "ok", "gap", "new", "absent"}

local function parsed(reply, why, fourth)
    if not reply then return nil, why end
    local result = {status = STATUS[reply[1]], epoch = reply[2], top = reply[3], [fourth] = reply[4], now = reply[5],
        payloads = {}}
    for i = 6, #reply do
        result[i - 5] = history.parse(reply[i])
        result.payloads[i - 5] = result[i - 5].kind == history.TOMBSTONE and "-" or result[i - 5].payload
    end
    return result
end

-- status, epoch, top, since, now, payloads ("-" for a tombstone), and the entries.
function stream:read(epoch, offset, limit, bytes)
    local reply, why = self:run("read", ("%d"):format(epoch), ("%d"):format(offset), limit or 1000, bytes or 1 << 30)
    return parsed(reply, why, "since")
end

-- The same with `more` instead of since.
function stream:page(order, epoch, offset, limit, bytes)
    local reply, why = self:run("page", order, ("%d"):format(epoch or 0), ("%d"):format(offset or 0), limit or 1000,
        bytes or 1 << 30)
    return parsed(reply, why, "more")
end

function stream:begin(options) return self:run("begin", history.rule(options)) end

function stream:remove(what, epoch) return self:run("remove", what, self.publish_command, epoch) end

-- Epoch and top as those see them who ask for just these; and whether the two fields are what s says.
function stream:tops()
    local found = self.client:call("HMGET", self.m, "e", "t", "s")
    if not found[1] then return nil end
    local top, epoch = string.unpack(">I8I8", found[3])
    assert(("%d"):format(epoch) == found[1] and ("%d"):format(top) == found[2] and #found[3] == 64, "the fields of m differ")
    return epoch, top
end

-- Everything that Redis has of it, to be compared.
function stream:dump()
    local parts = {}
    for _, key in ipairs {self.log, self.m} do parts[#parts + 1] = self.client:call("DUMP", key) or "" end
    return table.concat(parts, "|")
end

return history
