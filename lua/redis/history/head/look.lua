-- look.lua - what a read of a stream begins with.

-- The stream as it is, or nil if it has no key: epoch, top, floor, len (entries that may be read),
-- k (its rule; false if only the log is left), bytes.
local function look(log, meta, now)
    local state = call("HMGET", meta, "e", "t", "f", "k", "b")
    local len = call("LLEN", log)
    local last = len > 0 and call("LINDEX", log, -1)
    local offset, epoch, at = position_of(last)
    if not state[1] then
        if not offset then return nil end
        return { epoch = epoch, top = offset, floor = 0, len = len, k = false, bytes = 0 }
    end
    local top, k = tonumber(state[2]), state[4]
    if k ~= parsed then parse(k) end
    -- Half a tenth of its ttl may pass before Redis removes it. A log whose end is not the top is none.
    if offset ~= top or (ttl_ms and now - at > ttl_ms) then len = 0 end
    return { epoch = tonumber(state[1]), top = top, floor = tonumber(state[3] or 0), len = len, k = k,
        bytes = tonumber(state[5] or 0) }
end

-- Every later epoch began behind the last message that it knew. What had a larger number in the epoch
-- asked for was lost, and the number was given again.
local function resolve_older(meta, epoch, offset)
    local parents = call("HMGET", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
    local is_known = false
    for i = 1, 8 do
        local one, begin = match(parents[i] or "", "^(%d+) (%d+)$")
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
    if stream.k and k_mark == ask_mark() then return nil end
    return stream.top
end
