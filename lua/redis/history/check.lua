-- check.lua - which rights the user of Redis lacks for the history.
--
-- HEAD     base.lua
-- KEYS     {<channel>}:log, {<channel>}:m; or none: in a cluster another master may have them
-- ARGV     PUBLISH or SPUBLISH; then the keys, if they are not among KEYS
-- Returns  the commands that this user may not use on these keys, or on the channel; before Redis 7
--          only an error tells
-- Writes nothing.
local function check(keys, args)
    if not call then fetch() end
    local log, meta = keys[1] or args[2], keys[2] or args[3]
    local missing = {}
    if not may then
        call("HMGET", meta, "e")
        return missing
    end
    local commands = "DEL HDEL HGET HLEN HMGET HSCAN HSET INFO LINDEX LLEN LRANGE LSET LTRIM PEXPIRE RPOP RPUSH TIME"
    for command in string.gmatch(commands, "%u+") do
        if not may(command, command == "INFO" and "replication" or meta) then
            missing[#missing + 1] = command
        end
    end
    if not may(args[1], channel_of(log), "") then missing[#missing + 1] = args[1] end
    return missing
end
