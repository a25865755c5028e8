-- remove.lua - removes one message of a stream, or all.
--
-- HEAD     base.lua look.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     offset or all; PUBLISH or SPUBLISH; then perhaps the epoch of the offset (0: the current one)
-- Returns  the number of messages that were removed
--
-- One leaves a tombstone, so that the others keep their numbers. When all were removed, nobody misses
-- anything up to there: that is the floor. The instances are told (kind PURGE).

local function count_all(stream, log)
    local count = 0
    for from = 0, stream.len - 1, 256 do
        local part = call("LRANGE", log, from, from + 255)
        for i = 1, #part do
            if byte(part[i], 5) == DATA then count = count + 1 end
        end
    end
    return count
end

local function remove_all(stream, log, meta, publish, now, time)
    local count = count_all(stream, log)
    if not stream.state then -- the log, which is all that is left, would take the epoch with it
        local now_mark = current_mark(now)
        local begun = begin_without_meta(log, meta, now_mark, time, plain_rule(now_mark, false))
        if begun.err then return begun end
        stream.epoch, stream.top = begun[1], begun[2]
    end
    call("DEL", log)
    call("HSET", meta, "f", stream.top)
    publish_purge(publish, channel_of(log), stream.epoch, stream.top, now, "all")
    return count
end

local function remove_one(stream, log, meta, publish, now, epoch, offset)
    if offset > stream.top or offset <= stream.top - stream.len then return 0 end
    if epoch > 0 and resolve(stream, meta, epoch, offset) ~= offset then return 0 end
    local index = offset - stream.top - 1
    local entry = call("LINDEX", log, index)
    if position_of(entry) ~= offset or byte(entry, 5) ~= DATA then return 0 end
    call("LSET", log, index, tombstone_of(entry, HEAD + 1))
    if stream.state then
        local removed = offset > stream.removed and offset or stream.removed
        local bytes = stream.bytes - #entry + BODY
        call("HSET", meta, "s", make_state(stream.top, stream.epoch, stream.last, bytes, removed, parsed))
    end
    publish_purge(publish, channel_of(log), stream.epoch, stream.top, now, format(integer, offset))
    return 1
end

local function remove(keys, args)
    if not call then fetch() end
    local what, publish, epoch = args[1], args[2], natural(args[3] or "0")
    local offset = what ~= "all" and natural(what)
    if what ~= "all" and not offset or not epoch then return error_reply("ERR offset and epoch must be integers") end
    if not is_publish(publish) then return error_reply("ERR the second argument is PUBLISH or SPUBLISH") end
    local log, meta = keys[1], keys[2]
    local now, time = clock()
    local stream = look(log, meta, now)
    if not stream then return 0 end
    if is_channel_refused(publish, channel_of(log)) then return refuse_channel(channel_of(log)) end
    if what == "all" then return remove_all(stream, log, meta, publish, now, time) end
    return remove_one(stream, log, meta, publish, now, epoch, offset)
end
