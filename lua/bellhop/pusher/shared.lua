-- bellhop.pusher.shared - the store of an instance without Redis: members and subscription counts in bh.shared.
--
-- The members of a presence channel are one value, changed by compare-and-set. The subscription counts are one value
-- for each worker, which only this worker writes. Both are lost with the process, as are the connections. The functions
-- are the same as in bellhop.pusher.redis, which describes them.
local bh = require "bellhop"
local json, memory = bh.json, bh.shared.pusher

local store = {}
local worker, workers = 1, 1

function store.start(ctx) worker, workers = ctx.worker, ctx.workers end

function store.heartbeat() return "ok" end
function store.registered() return {} end
function store.remove_dead() end
function store.retire() end

-- --- members: {user = {info =, conns = {id, ...}}} ---

local function members_key(app_id, channel) return "m:" .. app_id .. "/" .. channel end

local function decode(text) return text and json.decode(text) or {} end

-- Applies change(members) and returns its result and the members; nil and why when the memory is full.
local function update(key, change)
    while true do
        local before = memory:get(key)
        local members = decode(before)
        local result = change(members)
        local ok, why = memory:cas(key, before, next(members) and json.encode(members) or nil)
        if ok then return result, members end
        if why ~= "changed" and why ~= "exists" then return nil, why end
    end
end

local function infos_of(members)
    local infos = {}
    for user, member in pairs(members) do infos[user] = member.info end
    return infos
end

local function count(members)
    local n = 0
    for _ in pairs(members) do n = n + 1 end
    return n
end

function store.join(m, max)
    local result, members = update(members_key(m.app, m.channel), function(members)
        local member = members[m.user]
        if not member and count(members) >= max then return "full" end
        members[m.user] = member or { info = m.info, conns = {} }
        table.insert(members[m.user].conns, m.conn)
        return member and "again" or "first"
    end)
    if not result then return nil, members end
    return result, infos_of(members)
end

function store.leave(m)
    return update(members_key(m.app, m.channel), function(members)
        local conns = members[m.user] and members[m.user].conns or {}
        for i = #conns, 1, -1 do
            if conns[i] == m.conn then table.remove(conns, i) end
        end
        local left = members[m.user] ~= nil and #conns == 0
        if left then members[m.user] = nil end
        return left
    end)
end

function store.users(app_id, channel) return infos_of(decode(memory:get(members_key(app_id, channel)))) end

function store.info(app_id, channel, user) return store.users(app_id, channel)[user] or false end

function store.user_counts(app_id, channels)
    local counts = {}
    for _, channel in ipairs(channels) do
        counts[channel] = count(decode(memory:get(members_key(app_id, channel))))
    end
    return counts
end

-- --- subscriptions: {channel = connections} of each worker ---

local function counts_key(app_id, n) return ("n:%s:%d"):format(app_id, n) end

function store.put_counts(app_id, counts, whole)
    local key = counts_key(app_id, worker)
    local all = whole and {} or decode(memory:get(key))
    for channel, n in pairs(counts) do all[channel] = n > 0 and n or nil end
    return memory:set(key, next(all) and json.encode(all) or nil)
end

function store.channels(app_id)
    local sums = {}
    for n = 1, workers do
        for channel, connections in pairs(decode(memory:get(counts_key(app_id, n)))) do
            sums[channel] = (sums[channel] or 0) + connections
        end
    end
    return sums
end

-- --- the last event of a cache channel ---

local function cache_key(app_id, channel) return "c:" .. app_id .. "/" .. channel end

function store.put_cache(app_id, channel, frame, ttl)
    return memory:set(cache_key(app_id, channel), frame, ttl)
end

function store.get_cache(app_id, channel) return memory:get(cache_key(app_id, channel)) end

return store
