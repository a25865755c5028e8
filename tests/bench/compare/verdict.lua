-- Summarizes the runs of a scenario: a peer that did less work is rejected; the others are compared with
-- bellhop, with the reference, and with the goals.
--
-- A run: {peer, status (of the load generator), error (its last line on stderr), keys (its output)}.
local stats = require "stats"

local verdict = {}

local WRONG_DELIVERIES = 3 -- status of the load generator

local CLIENT_IS_BUSY = 0.95 -- of its core

local function plural(n, one, many) return ("%d %s"):format(n, n == 1 and one or many) end

-- Why a run is rejected, or nil. asked: {connections, size}. ours: the keys of bellhop's run of the same
-- number, or nil. In the closed loop of fanout the number of deliveries is fixed, so fewer are an error;
-- in a timed run fewer are the result, and only losses are an error.
function verdict.rejection(run, asked, ours)
    local keys = run.keys
    if run.status ~= 0 and run.status ~= WRONG_DELIVERIES then
        return "failed: " .. (run.error or "status " .. run.status)
    end
    if (keys.lost or 0) > 0 then
        return "rejected: " .. plural(keys.lost, "message lost", "messages lost")
    end
    if (keys.short_payloads or 0) > 0 then
        return "rejected: " .. plural(keys.short_payloads, "short payload", "short payloads")
    end
    if (keys.unexpected or 0) > 0 then
        return "rejected: " .. plural(keys.unexpected, "unexpected message", "unexpected messages")
    end
    if (keys.closed_connections or 0) > 0 then
        return "rejected: it closed " .. plural(keys.closed_connections, "connection", "connections")
    end
    if (keys.connections or 0) < asked.connections then
        return ("rejected: %d of %d connections"):format(keys.connections or 0, asked.connections)
    end
    if asked.size and keys.size and keys.size < asked.size then
        return ("rejected: payloads of %d instead of %d bytes"):format(keys.size, asked.size)
    end
    if asked.fixed_work and ours and keys.deliveries and ours.deliveries and keys.deliveries < ours.deliveries then
        return ("rejected: %d deliveries, bellhop made %d"):format(keys.deliveries, ours.deliveries)
    end
    if run.status == WRONG_DELIVERIES then return "rejected: wrong deliveries" end
    return nil
end

local function our_runs(runs)
    local ours = {}
    for _, run in ipairs(runs) do
        if run.peer == "bellhop" and run.status == 0 then ours[run.number] = run.keys end
    end
    return ours
end

-- Marks the rejected runs and summarizes the others: by peer {runs, rejection, summary by key}. One
-- rejected run rejects the peer.
function verdict.summarize(scenario, runs, asked)
    local ours, peers = our_runs(runs), {}
    for _, run in ipairs(runs) do
        local peer = peers[run.peer] or {runs = 0, rejected = 0, values = {}}
        peers[run.peer] = peer
        peer.runs = peer.runs + 1
        if (run.keys.client_cpu_share or 0) >= CLIENT_IS_BUSY then peer.client_busy = (peer.client_busy or 0) + 1 end
        run.rejection = verdict.rejection(run, asked, ours[run.number])
        if run.rejection then
            peer.rejected = peer.rejected + 1
            peer.rejection = peer.rejection or run.rejection
        end
        for _, metric in ipairs(scenario.metrics) do
            local values = peer.values[metric.key] or {}
            peer.values[metric.key] = values
            if run.keys[metric.key] then values[#values + 1] = run.keys[metric.key] * (metric.scale or 1) end
        end
    end
    for _, peer in pairs(peers) do
        peer.summary = {}
        for key, values in pairs(peer.values) do peer.summary[key] = not peer.rejection and stats.summary(values) or nil end
        if peer.rejection and peer.runs > 1 then
            peer.rejection = ("%s (%d of %d runs)"):format(peer.rejection, peer.rejected, peer.runs)
        end
    end
    return peers
end

-- A note that names the peers limited by the load generator, or nil.
function verdict.bottleneck(order, peers)
    local names = {}
    for _, name in ipairs(order) do
        local peer = peers[name]
        if peer and not peer.rejection and (peer.client_busy or 0) * 2 > peer.runs then names[#names + 1] = name end
    end
    if #names == 0 then return nil end
    return ("the core of the load generator was saturated with %s: they may be faster"):format(table.concat(names, ", "))
end

function verdict.median(peers, name, key)
    local summary = peers[name] and peers[name].summary[key]
    return summary and summary.median
end

local function find_metric(scenario, key)
    for _, metric in ipairs(scenario.metrics) do
        if metric.key == key then return metric end
    end
end

local function is_ours(name) return name:match "^bellhop" ~= nil end

-- The best peer besides bellhop and raw, and its median.
function verdict.best_other(peers, metric)
    local best, name
    for other in pairs(peers) do
        local value = not is_ours(other) and other ~= "raw" and verdict.median(peers, other, metric.key)
        if value and (not best or (metric.better == "less") == (value < best)) then best, name = value, other end
    end
    return name, best
end

-- {text, reached (nil: unknown), metric, limit (in the metric's unit)}
function verdict.goal(scenario, peers, goal)
    local metric = find_metric(scenario, goal.metric)
    local value = verdict.median(peers, goal.of, goal.metric)
    local limit, what = goal.at_most or goal.at_least, ""
    if goal.peer then
        local name, base = goal.peer, verdict.median(peers, goal.peer, goal.metric)
        if not base and goal.or_best then name, base = verdict.best_other(peers, metric) end
        what = (" of %s%s"):format(name or goal.peer,
            name ~= goal.peer and name and (" (%s is missing or rejected)"):format(goal.peer) or "")
        value = value and base and value / base
        limit = base and limit * base
    end
    local wanted = goal.at_most or goal.at_least
    local text = ("%s, %s at %s %.4g%s: "):format(goal.of, metric.label, goal.at_most and "most" or "least", wanted, what)
    if not value then return {text = text .. "unknown", metric = metric} end
    local reached
    if goal.at_most then reached = value <= wanted else reached = value >= wanted end
    local off = math.abs(value - wanted) / wanted * 100
    text = text .. ("%.3g, %s"):format(value, reached and "reached" or ("missed by %.1f %%"):format(off))
    return {text = text, reached = reached, metric = metric, limit = limit}
end

return verdict
