-- begin.lua - gives a stream without any key an epoch, so that a client can hold a position in it.
--
-- HEAD     base.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     revision, ttl in ms, position_ttl in ms, then perhaps size, bytes
-- Returns  { epoch, top }
local function begin(keys, args)
    if not call then fetch() end
    local log, meta = keys[1], keys[2]
    local state = call("HMGET", meta, "e", "t")
    if state[1] then return { tonumber(state[1]), tonumber(state[2]) } end
    local now, micros = clock()
    local now_mark = current_mark(now)
    local k = make_rule(now_mark, args[1], args[4] or "100", args[2], args[3], args[5] or "1048576")
    if not k then return error_reply(RULE_ERROR) end
    local epoch, top, fields = begin_epoch(log, meta, nil, nil, now_mark, micros, false)
    if not epoch then return error_reply("ERR " .. log .. " is not a log of bellhop") end
    call("HSET", meta, "t", top, "k", k, "b", 0, unpack(fields))
    call("PEXPIRE", meta, floor(position_ttl_ms + ttl_ms * 0.1))
    return { epoch, top }
end
