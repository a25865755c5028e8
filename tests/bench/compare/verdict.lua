-- From the runs of a scenario to what may be compared: a peer that did less work is refused, and the
-- others are held against bellhop, against the reference, and against what is to be reached.
--
-- A run: {peer, status (of the load generator), error (its last word), keys (what it printed)}.
local stats = require "stats"

local verdict = {}

local DID_LESS = 3 -- the load generator's status when messages were lost

local CLIENT_IS_BUSY = 0.95 -- of its core

local function plural(n, one, many) return ("%d %s"):format(n, n == 1 and one or many) end

-- Why a run is not to be compared, or nil. asked: {connections, size}. ours: the keys of bellhop's run
-- of the same number, or nil. In the closed loop of a fan-out all have the same to deliver; where the
-- time is fixed, to deliver less is the result, and only what was lost counts.
function verdict.refusal(run, asked, ours)
    local keys = run.keys
    if run.status ~= 0 and run.status ~= DID_LESS then
        return "failed: " .. (run.error or "status " .. run.status)
    end
    if (keys.lost or 0) > 0 then
        return "refused: " .. plural(keys.lost, "message lost", "messages lost")
    end
    if (keys.short_payloads or 0) > 0 then
        return "refused: " .. plural(keys.short_payloads, "short payload", "short payloads")
    end
    if (keys.unexpected or 0) > 0 then
        return "refused: " .. plural(keys.unexpected, "message too much", "messages too much")
    end
    if (keys.closed_connections or 0) > 0 then
        return "refused: it closed " .. plural(keys.closed_connections, "connection", "connections")
    end
    if (keys.connections or 0) < asked.connections then
        return ("refused: %d of %d connections"):format(keys.connections or 0, asked.connections)
    end
    if asked.size and keys.size and keys.size < asked.size then
        return ("refused: payloads of %d instead of %d bytes"):format(keys.size, asked.size)
    end
    if asked.fixed_work and ours and keys.deliveries and ours.deliveries and keys.deliveries < ours.deliveries then
        return ("refused: %d deliveries, bellhop made %d"):format(keys.deliveries, ours.deliveries)
    end
    if run.status == DID_LESS then return "refused: it did less than it was asked" end
    return nil
end

local function our_runs(runs)
    local ours = {}
    for _, run in ipairs(runs) do
        if run.peer == "bellhop" and run.status == 0 then ours[run.number] = run.keys end
    end
    return ours
end

-- Marks each run that is refused, and sums the others up: by peer {runs, refusal, summaries by key}.
-- One refused run refuses the peer.
function verdict.summarize(scenario, runs, asked)
    local ours, peers = our_runs(runs), {}
    for _, run in ipairs(runs) do
        local peer = peers[run.peer] or {runs = 0, refused = 0, values = {}}
        peers[run.peer] = peer
        peer.runs = peer.runs + 1
        if (run.keys.client_cpu_share or 0) >= CLIENT_IS_BUSY then peer.client_busy = (peer.client_busy or 0) + 1 end
        run.refusal = verdict.refusal(run, asked, ours[run.number])
        if run.refusal then
            peer.refused = peer.refused + 1
            peer.refusal = peer.refusal or run.refusal
        end
        for _, metric in ipairs(scenario.metrics) do
            local values = peer.values[metric.key] or {}
            peer.values[metric.key] = values
            if run.keys[metric.key] then values[#values + 1] = run.keys[metric.key] * (metric.scale or 1) end
        end
    end
    for _, peer in pairs(peers) do
        peer.summary = {}
        for key, values in pairs(peer.values) do peer.summary[key] = not peer.refusal and stats.summary(values) or nil end
        if peer.refusal and peer.runs > 1 then
            peer.refusal = ("%s (%d of %d runs)"):format(peer.refusal, peer.refused, peer.runs)
        end
    end
    return peers
end

-- Those whose speed is the load generator's, as a note; nil when there are none.
function verdict.bottleneck(order, peers)
    local names = {}
    for _, name in ipairs(order) do
        local peer = peers[name]
        if peer and not peer.refusal and (peer.client_busy or 0) * 2 > peer.runs then names[#names + 1] = name end
    end
    if #names == 0 then return nil end
    return ("the load generator's core was busy with %s: as fast as it says, or faster"):format(table.concat(names, ", "))
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

-- The peer that is best in it and not bellhop, and its median.
function verdict.best_other(peers, metric)
    local best, name
    for other in pairs(peers) do
        local value = not is_ours(other) and other ~= "raw" and verdict.median(peers, other, metric.key)
        if value and (not best or (metric.better == "less") == (value < best)) then best, name = value, other end
    end
    return name, best
end

-- {text, reached (nil: cannot be said), metric, limit (in the metric's unit)}
function verdict.goal(scenario, peers, goal)
    local metric = find_metric(scenario, goal.metric)
    local value = verdict.median(peers, goal.of, goal.metric)
    local limit, what = goal.at_most or goal.at_least, ""
    if goal.peer then
        local name, base = goal.peer, verdict.median(peers, goal.peer, goal.metric)
        if not base and goal.or_best then name, base = verdict.best_other(peers, metric) end
        what = (" of %s%s"):format(name or goal.peer,
            name ~= goal.peer and name and (" (%s is not to be compared)"):format(goal.peer) or "")
        value = value and base and value / base
        limit = base and limit * base
    end
    local wanted = goal.at_most or goal.at_least
    local text = ("%s, %s at %s %.4g%s: "):format(goal.of, metric.label, goal.at_most and "most" or "least", wanted, what)
    if not value then return {text = text .. "cannot be said", metric = metric} end
    local reached
    if goal.at_most then reached = value <= wanted else reached = value >= wanted end
    local off = math.abs(value - wanted) / wanted * 100
    text = text .. ("%.3g, %s"):format(value, reached and "reached" or ("missed by %.1f %%"):format(off))
    return {text = text, reached = reached, metric = metric, limit = limit}
end

return verdict
