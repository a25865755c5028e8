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

local function remove_all(stream, log, meta, publish, now, micros)
    local count = count_all(stream, log)
    local epoch, top = stream.epoch, stream.top
    if not stream.k then -- the meta is gone, and the log was all that names the epoch
        local fields
        epoch, top, fields = begin_epoch(log, meta, nil, nil, current_mark(now), micros, false)
        call("DEL", log)
        call("HSET", meta, "t", top, "f", top, "b", 0, unpack(fields))
        call("PEXPIRE", meta, 2592000000)
    else
        call("DEL", log)
        call("HSET", meta, "f", top, "b", 0)
    end
    publish_purge(publish, log, epoch, top, now, "all")
    return count
end

local function remove_one(stream, log, meta, publish, now, epoch, offset)
    if offset > stream.top or offset <= stream.top - stream.len then return 0 end
    if epoch > 0 and resolve(stream, meta, epoch, offset) ~= offset then return 0 end
    local index = offset - stream.top - 1
    local entry = call("LINDEX", log, index)
    if position_of(entry) ~= offset or byte(entry, 5) ~= DATA then return 0 end
    call("LSET", log, index, tombstone_of(entry))
    if stream.k then call("HSET", meta, "b", stream.bytes - #entry + BODY) end
    publish_purge(publish, log, stream.epoch, stream.top, now, format("%.0f", offset))
    return 1
end

local function remove(keys, args)
    if not call then fetch() end
    local what, publish, epoch = args[1], args[2], natural(args[3] or "0")
    local offset = what ~= "all" and natural(what)
    if what ~= "all" and not offset or not epoch then return error_reply("ERR offset and epoch must be integers") end
    if not is_publish(publish) then return error_reply("ERR the second argument is PUBLISH or SPUBLISH") end
    local log, meta = keys[1], keys[2]
    local now, micros = clock()
    local stream = look(log, meta, now)
    if not stream then return 0 end
    if may and not may(publish, channel_of(log), "") then
        return error_reply("NOPERM this user may not publish to the channel " .. channel_of(log))
    end
    if what == "all" then return remove_all(stream, log, meta, publish, now, micros) end
    return remove_one(stream, log, meta, publish, now, epoch, offset)
end
