-- base.lua - what all functions of the history share. README.md describes keys, fields and entries.
--
-- While Redis loads a library there is nothing but redis.register_function, so the functions of Lua
-- and Redis are fetched by the first call.
local VERSION = 1
local END = 2 ^ 53 -- offsets and epochs are less: beyond it a double skips integers
local MAGIC, HEAD = "\0bh1", 24
local BODY = HEAD + 24 -- of an entry: the head and its position
local DATA, PURGE, TOMBSTONE = 0, 2, 3
local TEXT, BINARY, RAW, POSITION = 1, 2, 4, 8

local call, may, pack, read_binary, sub, byte, match, format, floor, error_reply

local function fetch()
    call, may, error_reply = redis.call, redis.acl_check_cmd, redis.error_reply
    pack, read_binary = struct.pack, struct.unpack
    sub, byte, match, format, floor = string.sub, string.byte, string.match, string.format, math.floor
end

-- Redis' time in milliseconds and in microseconds.
local function clock()
    local time = call("TIME")
    return time[1] * 1000 + floor(time[2] / 1000), time[1] * 1000000 + time[2]
end

-- --- the mark ---

-- The mark is the beginning of master_replid. Redis takes another one whenever this data set may not
-- be the one that it was: after a start, as a promoted replica, and sometimes for no loss at all.
-- It is remembered for 100 ms, because INFO is dear, and only by a master: a replica would keep that
-- of its master when it is promoted.
local mark, mark_at
local MARK_MS = 100

local function ask_mark()
    local info = call("INFO", "replication")
    local id = match(info, "master_replid:(%x+)")
    return id and sub(id, 1, 12) or "0", match(info, "role:(%a+)") == "master"
end

local function current_mark(now)
    if mark and now - mark_at < MARK_MS and mark_at - now < MARK_MS then return mark end
    local asked, is_master = ask_mark()
    if not is_master then return asked end
    mark, mark_at = asked, now
    return mark
end

-- --- the rule: the field k, "<mark> <revision> <size> <ttl> <position_ttl> <bytes>" ---

-- That of the last call is kept parsed: most streams have the same one.
local parsed, k_mark, k_revision, k_size, k_ttl, k_position_ttl, k_bytes
local size_max, ttl_ms, position_ttl_ms, bytes_max

local function parse(k)
    parsed = k
    k_mark, k_revision, k_size, k_ttl, k_position_ttl, k_bytes =
        match(k or "", "^(%x+) (%d+) (%d+) (%d+) (%d+) (%d+)$")
    size_max, ttl_ms, position_ttl_ms, bytes_max =
        tonumber(k_size), tonumber(k_ttl), tonumber(k_position_ttl), tonumber(k_bytes)
end

-- --- entries ---

-- Offset, epoch and time of an entry; nil if it is none.
local function position_of(entry)
    if not entry or #entry < BODY or sub(entry, 1, 4) ~= MAGIC then return nil end
    local offset, epoch, at = read_binary(">I8I8I8", entry, HEAD + 1)
    return offset, epoch, at
end

-- The head of an envelope without origin and filter.
local function make_head(kind, opcode, flags, id_len, ttl)
    return MAGIC .. pack(">BBBBBBHI8I4", kind, opcode, flags, 0, id_len, 0, 0, 0, ttl)
end

local function tombstone_of(entry)
    return make_head(TOMBSTONE, TEXT, POSITION, 0, 0) .. sub(entry, HEAD + 1, BODY)
end

local function channel_of(log) return sub(log, 2, -6) end

-- Tells the instances which entries are gone: "all", or their offsets.
local function publish_purge(publish, log, epoch, top, now, removed)
    local head = make_head(PURGE, TEXT, POSITION, 0, 0)
    return call(publish, channel_of(log), head .. pack(">I8I8I8", top, epoch, now) .. removed)
end

-- --- arguments ---

local function is_publish(word) return word == "PUBLISH" or word == "SPUBLISH" end

-- An integer from 0 to 2^53 - 1, or nil.
local function natural(text)
    local n = match(text or "", "^%d+$") and tonumber(text)
    return n and n < END and n or nil
end
