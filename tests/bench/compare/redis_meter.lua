-- The cost of published messages in Redis: CPU and sent bytes for each PUBLISH during a load, minus the
-- base load (heartbeats, probes), which is measured before. The replies to the queries of this module
-- are subtracted, too.
local socket = require "socket"
local wait = require "wait"

local meter = {}

local TIMEOUT_SECONDS = 60 -- for connections, and for messages

-- Parses the text of INFO; at: its time.
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

-- The growth from one reading to another, per second.
local function rates(from, to)
    local seconds = to.at - from.at
    return {
        seconds = seconds,
        cpu_us = (to.cpu_us - from.cpu_us) / seconds,
        bytes = (to.bytes - from.bytes - from.own) / seconds,
    }
end

-- The figures, in the format of the load generator's keys, from readings at both ends of an interval
-- without messages and of one with messages.
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

-- when: channels (subscriptions to wait for), quiet (seconds to skip then, and seconds to measure, before
-- the load begins), before (messages to skip), busy (seconds to measure then). Returns the figures.
function meter.watch(broker, when)
    local client = assert(broker:client())
    local function read() return meter.parse(assert(client:call("INFO", "all")), wait.now()) end
    local function read_when(what, is_so)
        return wait.till(function()
            local one = read()
            return is_so(one) and one
        end, TIMEOUT_SECONDS, what)
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
