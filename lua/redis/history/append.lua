-- append.lua - appends a message of an instance to the log of its topic, and publishes it.
--
-- HEAD     base.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     envelope with the flag POSITION, without the position; id or ""; size, ttl in ms,
--          position_ttl in ms, bytes, revision; how long ids are remembered in ms; collapse key or "";
--          PUBLISH or SPUBLISH
-- Returns  { offset, epoch, receivers, known }; known 1: the message with this id has been appended
--          before, with this position, and nothing was done
local function append(keys, args)
    if not call then fetch() end
    local envelope, id_ttl = args[1], tonumber(args[8])
    if #envelope < HEAD or sub(envelope, 1, 4) ~= MAGIC then return error_reply("ERR this is no envelope") end
    if not is_publish(args[10]) then return error_reply("ERR the last argument is PUBLISH or SPUBLISH") end
    if not id_ttl then return error_reply("ERR the time for ids must be a number") end
    return store(keys[1], keys[2], sub(envelope, 1, HEAD), sub(envelope, HEAD + 1), args[2], args[9], args[10], id_ttl,
        args[3], args[4], args[5], args[6], args[7])
end
