-- write.lua - epochs, and the step that appends and publishes.
--
-- Everything that can fail comes before the first write: what is half written would give two
-- messages the same number. The publish is last.
local SWEEP_EVERY, SWEEP, FIELDS_MAX = 16, 64, 50000
local TRIM_MAX = 1000 -- entries in one call, so that a smaller size does not stop Redis for long

-- --- epochs ---

-- The slot for another epoch among those that are kept: an empty one, or that of the oldest.
local function free_slot(parents)
    local slot, oldest = nil, END
    for i = 1, 8 do
        local epoch = tonumber(match(parents[i] or "0", "^%d+"))
        if epoch < oldest then slot, oldest = i - 1, epoch end
    end
    return "p" .. slot
end

-- The next epoch must not be the name of one that is lost with the data, even if the clock is behind.
local function next_epoch(parent, now_mark, micros)
    if micros > parent then return micros end
    return parent + 1 + (tonumber(sub(now_mark, 1, 4), 16) or 0)
end

-- Begins an epoch behind the top. Only reads: returns the epoch, the top, the fields to be written
-- without k, and whether the log and the older epochs must be removed.
local function begin_epoch(log, meta, epoch, top, now_mark, micros, forget)
    local last = call("LINDEX", log, -1)
    local offset, last_epoch = position_of(last)
    if last and not offset then return nil end
    local parent, parents = epoch, {}
    local fields = {}
    if epoch then
        parents = forget and {} or call("HMGET", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7")
    elseif last then -- the meta is gone: go on behind the last entry
        parent, top = last_epoch, offset
        parents[1] = format("%.0f 0", parent)
        fields[1], fields[2] = "p0", parents[1]
    else
        parent, top = 0, 0
    end
    local log_is_other = last and offset ~= top
    if log_is_other and offset > top then top = offset end
    local new = next_epoch(parent, now_mark, micros)
    local n = #fields
    fields[n + 1], fields[n + 2] = "e", new
    fields[n + 3], fields[n + 4] = free_slot(parents), format("%.0f %.0f", new, top)
    return new, top, fields, log_is_other
end

-- --- the rule ---

-- k for the arguments; nil if they are wrong. Sets the parsed rule.
local function make_rule(now_mark, revision, size, ttl, position_ttl, bytes)
    if not (natural(revision) and natural(size) and natural(ttl) and natural(position_ttl) and natural(bytes)) then
        return nil
    end
    local k = now_mark .. " " .. revision .. " " .. size .. " " .. ttl .. " " .. position_ttl .. " " .. bytes
    parse(k)
    if not k_mark or size_max < 1 or ttl_ms < 1 or position_ttl_ms < ttl_ms then
        parse(nil)
        return nil
    end
    return k
end

local RULE_ERROR = "ERR size, ttl, position_ttl, bytes and revision must be integers, size and ttl at least 1, "
    .. "position_ttl at least ttl"

local function expire(log, meta, now)
    call("PEXPIRE", log, floor(ttl_ms * 1.1))
    call("PEXPIRE", meta, floor(position_ttl_ms + ttl_ms * 0.1))
    call("HSET", meta, "x", now)
end

-- --- ids and collapse keys ---

-- Looks at some fields, and returns those that are not needed any more: ids whose time is over, keys
-- whose entry is gone. Each field is looked at again and again as appends go on, four for each one
-- that is added. When there are too many, ids live for a shorter time.
local function sweep(log, meta, now, top, id_ttl)
    local count = call("HLEN", meta)
    if count <= SWEEP then return nil end
    if count > 2 * FIELDS_MAX then
        id_ttl = -1
    elseif count > FIELDS_MAX then
        id_ttl = id_ttl * FIELDS_MAX / (4 * count)
    end
    local first = top - call("LLEN", log) + 1
    local page = call("HSCAN", meta, call("HGET", meta, "w") or "0", "COUNT", SWEEP)
    local fields, doomed = page[2], {}
    for i = 1, #fields, 2 do
        local kind, value = sub(fields[i], 1, 2), fields[i + 1]
        local is_over = false
        if kind == "i:" then
            local age = now - read_binary(">I8", value, 17)
            is_over = age > id_ttl or -age > id_ttl
        elseif kind == "c:" then
            is_over = tonumber(value) < first
        end
        if is_over then doomed[#doomed + 1] = fields[i] end
    end
    return doomed, page[1]
end

local function remove_fields(meta, doomed, cursor)
    if #doomed > 0 then call("HDEL", meta, unpack(doomed)) end
    call("HSET", meta, "w", cursor)
end

-- --- append ---

-- What stands under the collapse key, if it can be replaced: the entry.
local function find_replaced(log, old, offset)
    local entry = call("LINDEX", log, old - offset)
    if position_of(entry) == tonumber(old) and byte(entry, 5) == DATA then return entry end
end

local function trim(log, len, bytes)
    local left = TRIM_MAX
    while (len > size_max or bytes > bytes_max) and len > 1 and left > 0 do
        bytes = bytes - #call("LPOP", log)
        len, left = len - 1, left - 1
    end
    return bytes
end

-- head, rest: the envelope before and behind the place of its position. Size and so on are texts; nil:
-- as the stream has it. Returns the reply.
local function store(log, meta, head, rest, id, collapse, publish, id_ttl, size, ttl, position_ttl, bytes, revision)
    local now, micros = clock()
    local now_mark = current_mark(now)
    local id_field, collapse_field = "i:" .. id, "c:" .. collapse
    local state
    if collapse ~= "" then
        state = call("HMGET", meta, "t", "e", "k", "b", "x", id_field, collapse_field)
    else
        state = call("HMGET", meta, "t", "e", "k", "b", "x", id_field)
    end
    local seen = state[6]
    if seen then
        local offset, epoch, at = read_binary(">I8I8I8", seen)
        if now - at < id_ttl then return { offset, epoch, 0, 1 } end
    end

    -- The epoch and the rule.
    local top, epoch, k = state[1], state[2], state[3]
    if k ~= parsed then parse(k) end
    local fields, forget, clear
    if k_mark ~= now_mark or not epoch or (size and size ~= k_size) or (ttl and ttl ~= k_ttl) or
            (position_ttl and position_ttl ~= k_position_ttl) or (bytes and bytes ~= k_bytes) or
            (revision and revision ~= k_revision) then
        local is_other = revision and k_revision and k_revision ~= "0" and revision ~= k_revision
        local is_new = k_mark ~= now_mark or not epoch or is_other
        forget = is_other
        k = make_rule(now_mark, revision or k_revision or "0", size or k_size or "100", ttl or k_ttl or "86400000",
            position_ttl or k_position_ttl or "2592000000", bytes or k_bytes or "1048576")
        if not k then return error_reply(RULE_ERROR) end
        fields = {}
        if is_new then
            epoch, top, fields, clear = begin_epoch(log, meta, tonumber(epoch), tonumber(top), now_mark, micros, forget)
            if not epoch then return error_reply("ERR " .. log .. " is not a log of bellhop") end
            if epoch >= END then return error_reply("HISTORYOFFSET the epoch of this stream has reached 2^53") end
        end
        fields[#fields + 1] = "k"
        fields[#fields + 1] = k
    end

    local offset = top + 1
    if offset >= END then return error_reply("HISTORYOFFSET the offset of this stream has reached 2^53") end
    local touched = not fields and state[5]
    local is_due = not touched or now - touched > ttl_ms * 0.1 or now - touched < 0
    if is_due and not clear then
        local _, _, at = position_of(call("LINDEX", log, -1))
        clear = at and now - at > ttl_ms
    end
    local old = not clear and state[7]
    local replaced = old and find_replaced(log, old, offset)
    local doomed, cursor
    if offset % SWEEP_EVERY == 0 and (id ~= "" or collapse ~= "") then
        doomed, cursor = sweep(log, meta, now, top, id_ttl)
    end
    local channel = channel_of(log)
    if may and not may(publish, channel, "") then
        return error_reply("NOPERM this user may not publish to the channel " .. channel)
    end
    local position = pack(">I8I8I8", offset, epoch, now)
    local entry = head .. position .. rest

    -- From here on it writes.
    if clear then call("DEL", log) end
    local len = call("RPUSH", log, entry)
    local total = len > 1 and state[4] and state[4] + #entry or #entry
    if replaced then
        call("LSET", log, old - offset - 1, tombstone_of(replaced))
        total = total - #replaced + BODY
    end
    if len > size_max or total > bytes_max then total = trim(log, len, total) end
    if forget then call("HDEL", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7") end
    if fields then call("HSET", meta, unpack(fields)) end
    if doomed then remove_fields(meta, doomed, cursor) end
    if collapse ~= "" then
        call("HSET", meta, "t", offset, "b", total, collapse_field, offset)
        if id ~= "" then call("HSET", meta, id_field, position) end
    elseif id ~= "" then
        call("HSET", meta, "t", offset, "b", total, id_field, position)
    else
        call("HSET", meta, "t", offset, "b", total)
    end
    if is_due or len == 1 then expire(log, meta, now) end
    if replaced then publish_purge(publish, log, epoch, offset - 1, now, old) end
    local receivers = call(publish, channel, entry)
    return { offset, tonumber(epoch), receivers, 0 }
end
