-- append.lua - appends a message of an instance to the log of its topic, and publishes it.
--
-- HEAD     base.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     first 24 bytes of its envelope, with the flag POSITION; what follows them, without the position; id or "";
--          the rule, "<size> <ttl_ms> <position_ttl_ms> <bytes> <revision> <id_ttl_ms>"; PUBLISH or SPUBLISH; perhaps
--          a collapse key
-- Returns  { offset, epoch, receivers, known }; known 1: the message with this id has been appended
--          before, with this position, and nothing was done
local function append(keys, args)
    if not call then fetch() end
    local head, collapse = args[1], args[6]
    if #args < 5 or #head ~= HEAD or sub(head, 1, 4) ~= MAGIC then
        return error_reply("ERR the arguments are head, rest, id, rule, publish [, collapse]")
    end
    if not is_publish(args[5]) then return error_reply("ERR publish is PUBLISH or SPUBLISH") end
    if collapse == "" then collapse = nil end
    return store(keys[1], keys[2], head, args[2], args[3], args[5], collapse, args[4])
end
