-- base.lua - what all functions of the history share.
--
-- A stream has two keys. {<channel>}:log is a list of its last entries, oldest first: envelopes with a position
-- (include/bellhop/core/envelope.h). {<channel>}:m is a hash:
--     e, t      epoch and top (offset of the last entry), for readers of just these
--     s         64 bytes: top 8, epoch 8, time of the last append in ms 8, bytes of the log 5, the highest offset that
--               was removed by itself 6; then the rule: mark 6, revision 4 (0: not known yet), size 4, ttl 5 and
--               position_ttl 5 in ms, bytes 5
--     p0 ... p7 the last epochs: "<epoch> <top when it began>"
--     f         the floor: nothing is missing up to this offset, because it was deleted
--     i:<id>    position of the message with this id: offset 8, epoch 8, time 8
--     c:<key>   position of the message with this collapse key, and the size of its entry 4
--     w         where the sweep of i: and c: goes on, and when the next one begins
-- Up to 128 fields of 64 bytes are one compact string in Redis: so s has that length, and what is in it costs less
-- than as fields of its own.
--
-- While Redis loads a library there is nothing but redis.register_function, so the functions of Lua
-- and Redis are fetched by the first call.
local VERSION = 2
local END = 2 ^ 53 -- offsets and epochs are less: beyond it a double skips integers
local MAGIC, HEAD = "\0bh1", 24
local BODY = HEAD + 24 -- of an entry: the head and its position
local DATA, PURGE, TOMBSTONE = 0, 2, 3
local TEXT, BINARY, RAW, POSITION = 1, 2, 4, 8

local call, may, pack, read_binary, sub, byte, match, format, floor, error_reply
local purge_head, tombstone_head
local integer -- the format of an offset: %d is cheaper, but a long may have 32 bits

-- The head of an envelope without origin and filter.
local function make_head(kind, opcode, flags, id_len, ttl)
    return MAGIC .. pack(">BBBBBBHI8I4", kind, opcode, flags, 0, id_len, 0, 0, 0, ttl)
end

local function fetch()
    call, may, error_reply = redis.call, redis.acl_check_cmd, redis.error_reply
    pack, read_binary = struct.pack, struct.unpack
    sub, byte, match, format = string.sub, string.byte, string.match, string.format
    floor = math.floor
    integer = format("%d", 2 ^ 52) == "4503599627370496" and "%d" or "%.0f"
    purge_head = make_head(PURGE, TEXT, POSITION, 0, 0)
    tombstone_head = make_head(TOMBSTONE, TEXT, POSITION, 0, 0)
end

-- Redis' time in milliseconds, and as TIME gives it.
local function clock()
    local time = call("TIME")
    return time[1] * 1000 + floor(time[2] / 1000), time
end

-- --- the mark ---

-- The mark is the beginning of master_replid. Redis takes another one whenever this data set may not
-- be the one that it was: after a start, as a promoted replica, and sometimes for no loss at all.
-- It is remembered for 100 ms, because INFO is dear, and only by a master: a replica would keep that
-- of its master when it is promoted.
local mark, mark_at
local MARK_MS = 100
local rules, rule_count = {}, 0 -- see rule_of

local function ask_mark()
    local info = call("INFO", "replication")
    local high, low = match(info, "master_replid:(%x%x%x%x%x%x)(%x%x%x%x%x%x)")
    return pack(">I3I3", tonumber(high or "0", 16), tonumber(low or "0", 16)), match(info, "role:(%a+)") == "master"
end

local function current_mark(now)
    if mark and now - mark_at < MARK_MS and mark_at - now < MARK_MS then return mark end
    local asked, is_master = ask_mark()
    if asked ~= mark then rules, rule_count = {}, 0 end
    mark = is_master and asked
    mark_at = now
    return asked
end

-- --- the rule, which begins with the mark ---

-- That of the last call is kept parsed: most streams have the same one. A log may grow to slack_max entries before it
-- is trimmed, because several are removed at the cost of one; readers see the last size_max.
local parsed, parsed_mark, revision, size_max, slack_max, ttl_ms, slot_ms, position_ttl_ms, bytes_max

local function parse_rule(rule)
    parsed, parsed_mark = rule, sub(rule, 1, 6)
    revision, size_max, ttl_ms, position_ttl_ms, bytes_max = read_binary(">I4I4I5I5I5", rule, 7)
    slack_max = size_max + floor(size_max < 128 and size_max / 8 or 16)
    slot_ms = ttl_ms / 10
end

-- What s says: top, epoch, time of the last append, bytes, removed; nil if it is none. Parses its rule.
local function open_state(state)
    if not state or #state ~= 64 then return nil end
    local top, epoch, last, bytes, removed, rule = read_binary(">I8I8I8I5I6c29", state)
    if rule ~= parsed then parse_rule(rule) end
    return top, epoch, last, bytes, removed
end

local function make_state(top, epoch, last, bytes, removed, rule)
    return pack(">I8I8I8I5I6c29", top, epoch, last, bytes, removed, rule)
end

-- --- entries ---

-- Offset, epoch and time of an entry; nil if it is none.
local function position_of(entry)
    if not entry or #entry < BODY or sub(entry, 1, 4) ~= MAGIC then return nil end
    local offset, epoch, at = read_binary(">I8I8I8", entry, HEAD + 1)
    return offset, epoch, at
end

-- The tombstone of an entry, or of what begins with its position.
local function tombstone_of(entry, at)
    return tombstone_head .. sub(entry, at, at + 23)
end

local function channel_of(log) return sub(log, 2, -6) end

-- Tells the instances which entries are gone: "all", or their offsets.
local function publish_purge(publish, channel, epoch, top, now, removed)
    return call(publish, channel, purge_head .. pack(">I8I8I8", top, epoch, now) .. removed)
end

-- --- arguments ---

local function is_publish(word) return word == "PUBLISH" or word == "SPUBLISH" end

-- Redis would refuse the publish, which comes after the writes.
local function is_channel_refused(publish, channel)
    return may and not may(publish, channel, "")
end

local function refuse_channel(channel)
    return error_reply("NOPERM this user may not publish to the channel " .. channel)
end

-- An integer from 0 to 2^53 - 1, or nil.
local function natural(text)
    local n = match(text or "", "^%d+$") and tonumber(text)
    return n and n < END and n or nil
end
