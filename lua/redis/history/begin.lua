-- begin.lua - gives a stream without any key an epoch, so that a client can hold a position in it.
--
-- HEAD     base.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     the rule, as for append.lua
-- Returns  { epoch, top }
local function begin(keys, args)
    if not call then fetch() end
    local log, meta = keys[1], keys[2]
    local top, epoch = open_state(call("HGET", meta, "s"))
    if top then return { epoch, top } end
    local now, time = clock()
    local now_mark = current_mark(now)
    local rule = rule_of(args[1] or "", now_mark)
    if not rule then return refuse_rule() end
    local refused, last, total, fields
    refused, epoch, top, last, total, fields = begin_epoch(log, meta, nil, nil, nil, nil, now_mark, time, false)
    if refused then return refused end
    parse_rule(rule)
    call("HSET", meta, "t", top, "s", make_state(top, epoch, last, total, 0, rule), unpack(fields))
    expire(log, meta)
    return { epoch, top }
end
