-- write.lua - rules, epochs, and the step that appends and publishes.
--
-- Everything that can fail comes before the first write: what is half written would give two
-- messages the same number. The publish is last.
local SWEEP_EVERY, SWEEP, SWEEP_FROM, FIELDS_MAX = 32, 80, 32, 50000
local TRIM_MAX = 1000 -- entries in one call, so that a smaller size does not stop Redis for long
local MAX4, MAX5 = 2 ^ 32, 2 ^ 40
local SIZE, TTL, POSITION_TTL, BYTES = 100, 86400000, 2592000000, 1048576

-- --- rules ---

local function make_rule(now_mark, its_revision, size, ttl, position_ttl, bytes)
    return now_mark .. pack(">I4I4I5I5I5", its_revision, size, ttl, position_ttl, bytes)
end

-- The rule and id_ttl for the text that an instance sends; nil if it is wrong. Those of the last texts are kept.
local function rule_of(text, now_mark)
    local known = rules[text]
    if known then return known[1], known[2] end
    local size, ttl, position_ttl, bytes, its_revision, id_ttl = match(text, "^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$")
    size, ttl, position_ttl, bytes = natural(size), natural(ttl), natural(position_ttl), natural(bytes)
    its_revision, id_ttl = natural(its_revision), natural(id_ttl)
    if not (size and ttl and position_ttl and bytes and its_revision and id_ttl) or size < 1 or size >= MAX4 or ttl < 1
        or position_ttl < ttl or position_ttl >= MAX5 or bytes >= MAX5 or its_revision >= MAX4 then
        return nil
    end
    if rule_count >= 64 then rules, rule_count = {}, 0 end
    known = { make_rule(now_mark, its_revision, size, ttl, position_ttl, bytes), id_ttl }
    if now_mark == mark then rules[text], rule_count = known, rule_count + 1 end
    return known[1], known[2]
end

local function refuse_rule()
    return error_reply("ERR the rule is <size> <ttl_ms> <position_ttl_ms> <bytes> <revision> <id_ttl_ms>: size and ttl "
        .. "at least 1, position_ttl at least ttl")
end

-- --- epochs ---

-- The slot for another epoch among those that are kept: an empty one, or that of the oldest.
local function free_slot(epochs)
    local slot, oldest = nil, END
    for i = 1, 8 do
        local epoch = tonumber(match(epochs[i] or "0", "^%d+") or 0)
        if epoch < oldest then slot, oldest = i - 1, epoch end
    end
    return "p" .. slot
end

-- The next epoch must not be the name of one that is lost with the data, even if the clock is behind.
local function next_epoch(parent, now_mark, time)
    local micros = time[1] * 1000000 + time[2]
    if micros > parent then return micros end
    return parent + 1 + read_binary(">I2", now_mark)
end

local function count_bytes(log, len)
    local total = 0
    for from = 0, len - 1, 64 do
        for _, entry in ipairs(call("LRANGE", log, from, from + 63)) do total = total + #entry end
    end
    return total
end

-- Begins an epoch behind the top; epoch nil: there is no meta. Only reads: returns an error reply, or nil and the
-- epoch, top, time of the last append, bytes of the log, fields to be written without s, and whether the log must be removed.
local function begin_epoch(log, meta, epoch, top, last, total, now_mark, time, forget)
    local entry = call("LINDEX", log, -1)
    local offset, entry_epoch, at = position_of(entry)
    if entry and not offset then return error_reply("ERR " .. log .. " is not a log of bellhop") end
    local parent, epochs, fields = epoch, {}, {}
    if epoch then
        if not forget then epochs = call("HMGET", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7") end
    elseif entry then -- the meta is gone: go on behind the last entry
        parent, top, last, total = entry_epoch, offset, at, count_bytes(log, call("LLEN", log))
        epochs[1] = format("%.0f 0", parent)
        fields = { "p0", epochs[1] }
    else
        parent, top, last, total = 0, 0, 0, 0
    end
    local clear = entry and offset ~= top -- it is not the log of this meta
    if clear and offset > top then top = offset end
    local new = next_epoch(parent, now_mark, time)
    if new >= END then return error_reply("HISTORYOFFSET the epoch of this stream has reached 2^53") end
    local n = #fields
    fields[n + 1], fields[n + 2] = "e", new
    fields[n + 3], fields[n + 4] = free_slot(epochs), format("%.0f %.0f", new, top)
    return nil, new, top, last, total, fields, clear
end

-- The rule for a plain backend, which gives a size, a ttl, both or none: the rest is as the stream has it.
local function plain_rule(now_mark, has_state, size, ttl)
    local position_ttl = has_state and position_ttl_ms or POSITION_TTL
    ttl = ttl or has_state and ttl_ms or TTL
    if position_ttl < 2 * ttl then position_ttl = 2 * ttl end
    return make_rule(now_mark, has_state and revision or 0, size or has_state and size_max or SIZE, ttl, position_ttl,
        has_state and bytes_max or BYTES)
end

local function expire(log, meta)
    call("PEXPIRE", log, floor(ttl_ms * 1.1))
    call("PEXPIRE", meta, floor(position_ttl_ms + ttl_ms * 0.1))
end

-- Writes an epoch where there is no meta. { epoch, top } or an error reply.
local function begin_without_meta(log, meta, now_mark, time, rule)
    local refused, epoch, top, last, total, fields = begin_epoch(log, meta, nil, nil, nil, nil, now_mark, time, false)
    if refused then return refused end
    parse_rule(rule)
    call("HSET", meta, "t", top, "s", make_state(top, epoch, last, total, 0, rule), unpack(fields))
    expire(log, meta)
    return { epoch, top }
end

-- --- ids and collapse keys ---

local function is_over(field, value, now, first, id_ttl)
    local kind = byte(field)
    if kind == 105 then -- i:<id>
        local age = now - read_binary(">I8", value, 17)
        return age >= id_ttl or -age > id_ttl
    end
    return kind == 99 and read_binary(">I8", value) < first -- c:<key>
end

-- Looks at some fields, and returns those that are not needed any more (ids whose time is over, keys whose entry is
-- gone), and w. A sweep comes round to all fields as appends go on; the next one begins when the ids that are added
-- meanwhile may be over. When there are too many, ids live for a shorter time. The value of w is longer than
-- hash-max-listpack-value: so many fields are found faster in a table.
local function sweep(log, meta, now, top, id_ttl)
    local count = call("HLEN", meta)
    if count < SWEEP_FROM then return nil end
    local cursor, due = match(call("HGET", meta, "w") or "", "^(%d+) (%d+)")
    cursor, due = cursor or "0", tonumber(due) or now + id_ttl
    local is_full = count > FIELDS_MAX
    if is_full then id_ttl = count < 2 * FIELDS_MAX and id_ttl * FIELDS_MAX / (4 * count) or -1 end
    local doomed = {}
    if is_full or cursor ~= "0" or now >= due or due - now > id_ttl then
        local first = top - call("LLEN", log) + 1
        local page = call("HSCAN", meta, cursor, "COUNT", SWEEP)
        local fields = page[2]
        for i = 1, #fields, 2 do
            if is_over(fields[i], fields[i + 1], now, first, id_ttl) then doomed[#doomed + 1] = fields[i] end
        end
        cursor, due = page[1], now + id_ttl
    end
    return doomed, format("%-65s", format("%s %.0f", cursor, due))
end

-- --- append ---

-- Whether the entry that a collapse key names is still a message; only asked if some were removed.
local function is_message(log, offset, top)
    local entry = call("LINDEX", log, offset - top - 1)
    return position_of(entry) == offset and byte(entry, 5) == DATA
end

-- Removes the oldest entries: those beyond the size, and further ones until the bytes fit. Not all at once
-- if they are very many. Returns the bytes that are left.
local function trim(log, len, total)
    local over, last = len - size_max, len - 1
    if last > TRIM_MAX then last = TRIM_MAX end
    local drop = 0
    while drop < last and (drop < over or total > bytes_max) do
        local to = drop < over and over or drop + 16
        local part = call("LRANGE", log, drop, (to < last and to or last) - 1)
        for i = 1, #part do
            if drop >= over and total <= bytes_max then break end
            drop, total = drop + 1, total - #part[i]
        end
    end
    call("LTRIM", log, drop, -1)
    return total
end

-- s, the position under the id, that under the collapse key.
local function read_fields(meta, id_field, collapse_field)
    if collapse_field then
        local found = call("HMGET", meta, "s", id_field, collapse_field)
        return found[1], found[2], found[3]
    end
    if id_field == "i:" then return call("HGET", meta, "s") end
    local found = call("HMGET", meta, "s", id_field)
    return found[1], found[2]
end

local function write_fields(meta, offset, state, id_field, position, collapse_field, place)
    if id_field == "i:" then
        call("HSET", meta, "t", offset, "s", state)
        if place then call("HSET", meta, collapse_field, place) end
    elseif place then
        call("HSET", meta, "t", offset, "s", state, id_field, position, collapse_field, place)
    else
        call("HSET", meta, "t", offset, "s", state, id_field, position)
    end
end

-- What is written behind the entry. To a user who may not use one of these commands Redis answers with an error here:
-- then the entry is taken back, so that its number is not given twice.
local function write_rest(log, meta, len, total, replaced_at, place, is_other, fields, doomed, swept, offset, epoch, now,
                          removed, id_field, position, collapse_field, size)
    if replaced_at then call("LSET", log, replaced_at, tombstone_of(place, 1)) end
    if len > slack_max or total > bytes_max then total = trim(log, len, total) end
    if is_other then call("HDEL", meta, "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7") end
    if doomed then
        if doomed[1] then call("HDEL", meta, unpack(doomed)) end
        call("HSET", meta, "w", swept)
    end
    if fields and fields[1] then call("HSET", meta, unpack(fields)) end
    place = collapse_field and pack(">I8I8I8I4", offset, epoch, now, size)
    local state = make_state(offset, epoch, now, total, removed, parsed)
    write_fields(meta, offset, state, id_field, position, collapse_field, place)
end

-- Reads, checks, writes and publishes. head and rest: the envelope before and behind the place of its position.
-- rule_text: of an instance; nil: a plain backend, whose id_ttl, size and ttl follow. Returns the reply.
local function store(log, meta, head, rest, id, publish, collapse, rule_text, id_ttl, size, ttl)
    local time = call("TIME")
    local now = time[1] * 1000 + floor(time[2] / 1000)
    local now_mark = current_mark(now)
    local wanted
    if rule_text then
        wanted, id_ttl = rule_of(rule_text, now_mark)
        if not wanted then return refuse_rule() end
    end
    local id_field, collapse_field = "i:" .. id, collapse and "c:" .. collapse
    local state, seen, place = read_fields(meta, id_field, collapse_field)
    if seen then
        local offset, epoch, at = read_binary(">I8I8I8", seen)
        if now - at < id_ttl then return { offset, epoch, 0, 1 } end
    end

    local top, epoch, last, total, removed = open_state(state)
    local is_other, is_new = false, not top or parsed_mark ~= now_mark
    local fields, clear
    if is_new or wanted and wanted ~= parsed or (size and size ~= size_max) or (ttl and ttl ~= ttl_ms) then
        wanted = wanted or plain_rule(now_mark, top, size, ttl)
        is_other = top and revision > 0 and sub(wanted, 7, 10) ~= sub(parsed, 7, 10)
        fields, removed = {}, removed or 0
        if is_new or is_other then
            local refused
            refused, epoch, top, last, total, fields, clear =
                begin_epoch(log, meta, epoch, top, last, total, now_mark, time, is_other)
            if refused then return refused end
        end
        parse_rule(wanted)
    end
    local offset = top + 1
    if offset >= END then return error_reply("HISTORYOFFSET the offset of this stream has reached 2^53") end
    local channel = channel_of(log)
    if is_channel_refused(publish, channel) then return refuse_channel(channel) end
    clear = clear or now - last > ttl_ms
    local old, old_size, _ = 0, 0, nil
    if place then
        old, _, _, old_size = read_binary(">I8I8I8I4", place)
        if old <= removed and not is_message(log, old, top) then old = 0 end
    end
    local doomed, swept
    if offset % SWEEP_EVERY == 0 then doomed, swept = sweep(log, meta, now, top, id_ttl) end
    local position = pack(">I8I8I8", offset, epoch, now)
    local entry = head .. position .. rest

    if clear then call("DEL", log) end
    local len = call("RPUSH", log, entry)
    total = len > 1 and total + #entry or #entry
    local is_replaced = old > offset - len
    if is_replaced then total = total - old_size + BODY end
    local ok, why = pcall(write_rest, log, meta, len, total, is_replaced and old - offset - 1, place, is_other, fields,
        doomed, swept, offset, epoch, now, removed, id_field, position, collapse_field, #entry)
    if not ok then
        call("RPOP", log)
        error(why, 0)
    end
    if fields or len == 1 or now - now % slot_ms ~= last - last % slot_ms then expire(log, meta) end
    local receivers = call(publish, channel, entry)
    -- In a cluster the number is that of one node only.
    if is_replaced and (receivers > 0 or publish ~= "PUBLISH") then
        call(publish, channel, purge_head .. position .. format(integer, old))
    end
    return { offset, epoch, receivers, 0 }
end
