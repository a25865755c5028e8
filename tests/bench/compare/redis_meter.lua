-- The cost of published messages in Redis, or in all masters of a cluster together: CPU and sent bytes for
-- each PUBLISH or SPUBLISH during a load, minus the base load (heartbeats, probes), which is measured before.
-- The replies to the queries of this module are subtracted, too.
local socket = require "socket"
local wait = require "wait"

local meter = {}

local TIMEOUT_SECONDS = 60 -- for connections, and for messages

-- Parses the text of INFO; at: its time.
function meter.parse(info, at)
    local function number(pattern) return tonumber(info:match("\n" .. pattern) or 0) end
    local calls, usec = info:match "\ncmdstat_publish:calls=(%d+),usec=(%d+)"
    local sharded, sharded_usec = info:match "\ncmdstat_spublish:calls=(%d+),usec=(%d+)"
    return {
        at = at,
        channels = number "pubsub_channels:(%d+)" + number "pubsubshard_channels:(%d+)",
        published = tonumber(calls or 0) + tonumber(sharded or 0),
        publish_us = tonumber(usec or 0) + tonumber(sharded_usec or 0),
        cpu_us = (number "used_cpu_user:([%d.]+)" + number "used_cpu_sys:([%d.]+)") * 1e6,
        bytes = number "total_net_output_bytes:(%d+)",
        own = #info + #("$%d\r\n\r\n"):format(#info),
    }
end

-- All servers as one; the time is that of the last.
function meter.sum(list)
    local all = {}
    for _, one in ipairs(list) do
        for key, value in pairs(one) do all[key] = key == "at" and value or (all[key] or 0) + value end
    end
    return all
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

local function nodes_of(broker) return broker.masters and broker:masters() or {broker} end

-- Returns a function that reads all servers of the broker (redis.lua or redis_cluster.lua), and one that ends it.
local function reader(broker)
    local clients = {}
    for i, node in ipairs(nodes_of(broker)) do clients[i] = assert(node:client()) end
    local function read()
        local list = {}
        for i, client in ipairs(clients) do list[i] = meter.parse(assert(client:call("INFO", "all")), wait.now()) end
        return meter.sum(list)
    end
    return read, function()
        for _, client in ipairs(clients) do client:close() end
    end
end

-- when: channels (subscriptions to wait for), quiet (seconds to skip then, and seconds to measure, before
-- the load begins), before (messages to skip), busy (seconds to measure then). Returns the figures.
function meter.watch(broker, when)
    local read, close = reader(broker)
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
    close()
    return meter.keys(quiet_from, quiet_to, from, to)
end

local ALONE_SECONDS = 1
local ALONE_BATCH = 20

-- Publishes to nobody, at a rate: the CPU of all servers for each command. The command is for a server that
-- has the slot of the channel.
local function alone(broker, node, command, channel, payload, rate)
    local read, close = reader(broker)
    local client = assert(node:client())
    local quiet_from = read()
    socket.sleep(ALONE_SECONDS)
    local quiet_to = read()
    local from, start, sent = read(), wait.now(), 0
    while wait.now() < start + ALONE_SECONDS do
        for _ = 1, ALONE_BATCH do client:write(command, channel, payload) end
        for _ = 1, ALONE_BATCH do assert(client:read()) end
        sent = sent + ALONE_BATCH
        socket.sleep(math.max(0, start + sent / rate - wait.now()))
    end
    local keys = meter.keys(quiet_from, quiet_to, from, read())
    client:close()
    close()
    return keys.redis_cpu_us_per_message
end

-- What PUBLISH and (in a cluster) SPUBLISH cost all servers together when nobody is subscribed.
function meter.alone(broker, size, rate)
    local channel, payload = "meter:nobody", ("x"):rep(size)
    local node = broker.node_of and broker:node_of(channel) or broker
    return {
        redis_alone_publish_us = alone(broker, node, "PUBLISH", channel, payload, rate),
        redis_alone_spublish_us = broker.node_of and alone(broker, node, "SPUBLISH", channel, payload, rate),
    }
end

return meter
