-- What Redis does for messages that are published: its CPU and the bytes it sends for each PUBLISH it
-- has carried out while a load runs, less what it does in that time anyhow (heartbeats, probes), which
-- is measured before the load begins. Its answers to the questions asked here are taken off, too.
local socket = require "socket"
local wait = require "wait"

local meter = {}

local PATIENCE_SECONDS = 60 -- for connections to be there, and for messages

-- From the text of INFO; at: when that was.
function meter.parse(info, at)
    local function number(pattern) return tonumber(info:match("\n" .. pattern) or 0) end
    local calls, usec = info:match "\ncmdstat_publish:calls=(%d+),usec=(%d+)"
    return {
        at = at,
        channels = number "pubsub_channels:(%d+)",
        published = tonumber(calls or 0),
        publish_us = tonumber(usec or 0),
        cpu_us = (number "used_cpu_user:([%d.]+)" + number "used_cpu_sys:([%d.]+)") * 1e6,
        bytes = number "total_net_output_bytes:(%d+)",
        own = #info + #("$%d\r\n\r\n"):format(#info),
    }
end

-- What grew from one to the other, a second.
local function rates(from, to)
    local seconds = to.at - from.at
    return {
        seconds = seconds,
        cpu_us = (to.cpu_us - from.cpu_us) / seconds,
        bytes = (to.bytes - from.bytes - from.own) / seconds,
    }
end

-- The keys, as the load generator would print them: of what was read at both ends of a time without
-- messages, and of one with them.
function meter.keys(quiet_from, quiet_to, from, to)
    local messages = to.published - from.published
    if messages <= 0 then return {} end
    local quiet, busy = rates(quiet_from, quiet_to), rates(from, to)
    return {
        redis_messages = messages,
        redis_cpu_us_per_message = (busy.cpu_us - quiet.cpu_us) * busy.seconds / messages,
        redis_publish_us_per_message = (to.publish_us - from.publish_us) / messages,
        redis_bytes_per_message = (busy.bytes - quiet.bytes) * busy.seconds / messages,
        redis_quiet_cpu_us_per_s = quiet.cpu_us,
    }
end

-- when: channels (subscribed when all are connected), quiet (seconds from then on that are let pass,
-- and that are measured, before the load begins), before (messages that are let pass), busy (seconds
-- that are measured then). The keys.
function meter.watch(broker, when)
    local client = assert(broker:client())
    local function read() return meter.parse(assert(client:call("INFO", "all")), wait.now()) end
    local function read_when(what, is_so)
        return wait.till(function()
            local one = read()
            return is_so(one) and one
        end, PATIENCE_SECONDS, what)
    end
    read_when("connections", function(one) return one.channels >= when.channels end)
    socket.sleep(when.quiet[1])
    local quiet_from = read()
    socket.sleep(when.quiet[2])
    local quiet_to = read()
    local from = read_when("messages", function(one) return one.published >= when.before end)
    socket.sleep(when.busy)
    local to = read()
    client:close()
    return meter.keys(quiet_from, quiet_to, from, to)
end

return meter
