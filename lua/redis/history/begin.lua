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
    return begin_without_meta(log, meta, now_mark, time, rule)
end
