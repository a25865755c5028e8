-- look.lua - what a read of a stream begins with.

-- The stream as it is, or nil if it has no key: state (s; nil if only the log is left), what it says, floor, len
-- (entries that may be read).
local function look(log, meta, now)
    local fields = call("HMGET", meta, "s", "f")
    local len = call("LLEN", log)
    local top, epoch, last, bytes, removed = open_state(fields[1])
    if top then
        if len > size_max then len = size_max end
        if now - last > ttl_ms then len = 0 end -- Redis removes it up to a tenth later
        return { state = fields[1], epoch = epoch, top = top, last = last, bytes = bytes, removed = removed,
            floor = tonumber(fields[2] or 0), len = len }
    end
    top, epoch = position_of(len > 0 and call("LINDEX", log, -1))
    return top and { epoch = epoch, top = top, floor = 0, len = len, bytes = 0, removed = 0 }
end

-- Every later epoch began behind the last message that it knew. What had a larger number in the epoch
-- asked for was lost, and the number was given again.
local function resolve_older(meta, epoch, offset)
    local epochs = call("HMGET", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
    local is_known = false
    for i = 1, 8 do
        local one, begin = match(epochs[i] or "", "^(%d+) (%d+)$")
        one, begin = tonumber(one), tonumber(begin)
        if one == epoch then
            is_known = true
        elseif one and one > epoch and begin < offset then
            offset = begin
        end
    end
    return is_known and offset or nil
end

-- The offset in the current epoch up to which the holder of a position has everything; nil: unknown.
local function resolve(stream, meta, epoch, offset)
    if epoch ~= stream.epoch then return resolve_older(meta, epoch, offset) end
    if offset <= stream.top then return offset end
    -- Redis has come back older, and nothing was appended since; without that, nobody gave this number.
    if stream.state and parsed_mark == ask_mark() then return nil end
    return stream.top
end
