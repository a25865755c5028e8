-- read.lua - the entries behind a position, all of them or none.
--
-- HEAD     base.lua look.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     epoch (0: no position), offset, limit of entries, limit of bytes; perhaps "latest": the last
--          entry is the state of the topic, and behind every position but the top
-- Returns  { status, epoch, top, since, now, entries... }; status:
--          0 ok: the entries behind `since` up to top, without holes
--          1 gap: they are not kept, or are more than the limits
--          2 new: no position was given
--          3 absent: there is no key
-- Writes nothing: clients must get what they missed while Redis refuses writes.

-- The last `count` entries. nil if they are more than `most` bytes, or not what the numbers say.
local function tail(stream, log, count, most)
    local entries, first = {}, stream.top - count + 1
    local step = stream.bytes <= most and count or 64
    local bytes = 0
    for from = -count, -1, step do
        local to = from + step - 1
        local part = call("LRANGE", log, from, to < -1 and to or -1)
        for i = 1, #part do
            bytes = bytes + #part[i]
            entries[#entries + 1] = part[i]
        end
        if bytes > most then return nil end
    end
    if #entries ~= count or position_of(entries[1]) ~= first then return nil end
    return entries
end

local function read(keys, args)
    if not call then fetch() end
    local epoch, offset, limit, most = natural(args[1]), natural(args[2]), natural(args[3]), natural(args[4])
    if not (epoch and offset and limit and most) then
        return error_reply("ERR epoch, offset, limit and bytes must be integers")
    end
    local log, meta = keys[1], keys[2]
    local now = clock()
    local stream = look(log, meta, now)
    if not stream then return { 3, 0, 0, 0, now } end
    local top = stream.top
    local since
    if args[5] == "latest" then
        local has_it = stream.len == 0 or epoch == stream.epoch and offset == top
        since = has_it and top or top - 1
    elseif epoch == 0 then
        return { 2, stream.epoch, top, top, now }
    else
        since = resolve(stream, meta, epoch, offset)
    end
    if since and since < stream.floor then since = stream.floor end
    local count = since and top - since
    if count == 0 then return { 0, stream.epoch, top, since, now } end
    local entries = count and count <= stream.len and count <= limit and tail(stream, log, count, most)
    if not entries then return { 1, stream.epoch, top, top, now } end
    local reply = { 0, stream.epoch, top, since, now }
    for i = 1, count do reply[5 + i] = entries[i] end
    return reply
end
