-- page.lua - a page of a stream, for people and backends; only messages that are still valid.
--
-- HEAD     base.lua look.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     asc or desc, epoch (0: no position), offset, limit of entries, limit of bytes
-- Returns  { status, epoch, top, more, now, entries... }
--          asc: those behind the position, oldest first; desc: those before it, newest first; without
--          a position from the end where the order begins. more: 1 or 0. status:
--          0 ok; 1 gap: the position is unknown, or (asc) what followed it is not kept, and the page
--          begins where it does without a position; 3 there is no key
-- Writes nothing.
local PAGE = 64

local function is_visible(entry, now)
    if byte(entry, 5) ~= DATA then return false end
    local ttl = read_binary(">I4", entry, 21)
    return ttl == 0 or read_binary(">I8", entry, HEAD + 17) + ttl > now
end

-- Fills the reply with visible entries from offset `from` on, by step 1 or -1, until `last`.
local function fill(reply, stream, log, from, last, step, limit, most, now)
    local shift = stream.top + 1 -- an entry stands at offset - shift, from the end
    local count, bytes = 0, 0
    while (last - from) * step >= 0 do
        local to = from + (PAGE - 1) * step
        if (last - to) * step < 0 then to = last end
        local low, high = from < to and from or to, from < to and to or from
        local part = call("LRANGE", log, low - shift, high - shift)
        for i = step == 1 and 1 or #part, step == 1 and #part or 1, step do
            local entry = part[i]
            if is_visible(entry, now) then
                if count >= limit or (count > 0 and bytes + #entry > most) then
                    reply[4] = 1
                    return
                end
                count, bytes = count + 1, bytes + #entry
                reply[5 + count] = entry
            end
        end
        from = to + step
    end
end

local function page(keys, args)
    if not call then fetch() end
    local order, epoch, offset = args[1], natural(args[2]), natural(args[3])
    local limit, most = natural(args[4]), natural(args[5])
    if not (order == "asc" or order == "desc") then return error_reply("ERR the order is asc or desc") end
    if not (epoch and offset and limit and most) then
        return error_reply("ERR epoch, offset, limit and bytes must be integers")
    end
    local log, meta = keys[1], keys[2]
    local now = clock()
    local stream = look(log, meta, now)
    if not stream then return { 3, 0, 0, 0, now } end
    local top = stream.top
    local first = top - stream.len + 1
    local reply = { 0, stream.epoch, top, 0, now }
    local at = epoch > 0 and resolve(stream, meta, epoch, offset)
    if epoch > 0 and not at then reply[1] = 1 end
    if order == "desc" then
        local from = top
        if at then from = at < offset and at or at - 1 end
        fill(reply, stream, log, from, first, -1, limit, most, now)
        return reply
    end
    if at and at < stream.floor then at = stream.floor end
    if at and at + 1 < first then
        reply[1], at = 1, nil
    end
    fill(reply, stream, log, at and at + 1 or first, top, 1, limit, most, now)
    return reply
end
