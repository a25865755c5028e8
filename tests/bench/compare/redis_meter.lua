-- What Redis does for the messages that are published while a load runs: its CPU and the bytes it
-- sends, between two moments, for each PUBLISH it has carried out. All that goes on besides is in it
-- (heartbeats, probes), but not its answers to the questions asked here.
local socket = require "socket"
local wait = require "wait"

local meter = {}

local BEGIN_SECONDS = 60 -- at most, until something is published

-- From the text of INFO.
function meter.parse(info)
    local function number(pattern) return tonumber(info:match("\n" .. pattern) or 0) end
    local calls, usec = info:match "\ncmdstat_publish:calls=(%d+),usec=(%d+)"
    return {
        published = tonumber(calls or 0),
        publish_us = tonumber(usec or 0),
        cpu_us = (number "used_cpu_user:([%d.]+)" + number "used_cpu_sys:([%d.]+)") * 1e6,
        bytes = number "total_net_output_bytes:(%d+)",
        own = #info + #("$%d\r\n\r\n"):format(#info),
    }
end

-- The keys of two such, as the load generator would print them.
function meter.difference(from, to)
    local messages = to.published - from.published
    if messages <= 0 then return {} end
    return {
        redis_messages = messages,
        redis_cpu_us_per_message = (to.cpu_us - from.cpu_us) / messages,
        redis_publish_us_per_message = (to.publish_us - from.publish_us) / messages,
        redis_bytes_per_message = (to.bytes - from.bytes - from.own) / messages,
    }
end

-- Waits until `before` messages are through, then for the seconds, and returns the keys of that time.
function meter.watch(broker, before, seconds)
    local client = assert(broker:client())
    local from
    wait.till(function()
        from = meter.parse(assert(client:call("INFO", "all")))
        return from.published >= before
    end, BEGIN_SECONDS, "messages to be published")
    socket.sleep(seconds)
    local keys = meter.difference(from, meter.parse(assert(client:call("INFO", "all"))))
    client:close()
    return keys
end

return meter
