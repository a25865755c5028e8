-- bellhop.pusher.redis - the store of a cluster: members and subscription counts of all instances, in Redis. All
-- functions wait. When Redis fails they return nil and why.
--
-- Each worker of each instance is a *holder* with a lease in Redis, which it renews at each heartbeat. The entries of a
-- holder are listed in a key of its own, so that others can remove them when it dies: a holder with an expired lease is
-- removed from `known`, then its entries are removed one by one. The worker that removes the last connection of a user
-- announces it. A holder that is no longer known (Redis has lost data, or the holder was considered dead) registers its
-- members again. All times are those of Redis.
--
-- Keys, after tracking.key_prefix and "pusher:":
--   leases              sorted set: holder -> expiry of its lease
--   known               hash: holder -> 1
--   h:<holder>          set of "<app>\0<channel>\0<user>\0<connection>"
--   m:<app>:<channel>   sorted set of "<user>\0<connection>", all with score 0
--   i:<app>:<channel>   hash: user -> info (JSON)
--   n:<app>:<holder>    hash: channel -> subscriptions; expires with the lease
--   c:<app>:<channel>   last event of a cache channel
local bh = require "bellhop"
local redis = bh.redis

local store = {}
local PREFIX = (bh.config "tracking.key_prefix" or "ws:") .. "pusher:"
local CHUNK = 200
local holder, lease

local function key(...) return PREFIX .. table.concat({ ... }, ":") end

local function hash(list)
    local map = {}
    for i = 1, #list, 2 do map[list[i]] = list[i + 1] end
    return map
end

-- The first error of a pipeline's results.
local function failure(results, why)
    if not results then return why end
    for _, result in ipairs(results) do
        if type(result) == "table" and result.error then return result.error end
    end
end

-- `run` is random and shared by all workers of this process.
function store.start(ctx, seconds)
    local memory = bh.shared.pusher
    memory:add("run", bh.crypto.hex(bh.crypto.random(8)))
    holder = memory:get "run" .. "." .. ctx.worker
    lease = seconds
end

-- --- members ---

-- KEYS: connections and infos of the channel, entries of the holder, leases.
-- ARGV: user, connection, info, entry, maximum of users, holder, lease.
-- Returns {-1} when the channel is full, else {1 when the user is new, {user, info, ...}}.
local JOIN = [[
local new = redis.call('ZLEXCOUNT', KEYS[1], '[' .. ARGV[1] .. '\0', '(' .. ARGV[1] .. '\1') == 0
if new and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then return {-1} end
redis.call('ZADD', KEYS[1], 0, ARGV[1] .. '\0' .. ARGV[2])
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
redis.call('ZADD', KEYS[4], 'NX', redis.call('TIME')[1] + ARGV[7], ARGV[6])
return {new and 1 or 0, redis.call('HGETALL', KEYS[2])}
]]

-- KEYS: connections and infos of the channel, entries of the holder, leases.
-- ARGV: user, connection, entry, and the holder to remove the entry only if that holder is dead.
-- Returns -1 when the holder is alive, 1 when the user has left the channel, else 0.
local LEAVE = [[
local ends = ARGV[4] and redis.call('ZSCORE', KEYS[4], ARGV[4])
if ends and tonumber(ends) > tonumber(redis.call('TIME')[1]) then return -1 end
redis.call('SREM', KEYS[3], ARGV[3])
if redis.call('ZREM', KEYS[1], ARGV[1] .. '\0' .. ARGV[2]) == 0 then return 0 end
if redis.call('ZLEXCOUNT', KEYS[1], '[' .. ARGV[1] .. '\0', '(' .. ARGV[1] .. '\1') > 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
]]

local function entry_of(m) return table.concat({ m.app, m.channel, m.user, m.conn }, "\0") end

local function member_of(entry)
    local app, channel, user, conn = entry:match "^([^\0]*)\0([^\0]*)\0([^\0]*)\0([^\0]*)$"
    return { app = app, channel = channel, user = user, conn = conn }
end

local function keys_of(m, of)
    return { key("m", m.app, m.channel), key("i", m.app, m.channel), key("h", of), key "leases" }
end

-- m: app, channel, user, info, conn. Returns "first" (the user is new in the channel) or "again", and the infos of all
-- users; or "full".
function store.join(m, max)
    local answer, why = redis.eval(JOIN, keys_of(m, holder),
        { m.user, m.conn, m.info, entry_of(m), max, holder, lease })
    if not answer then return nil, why end
    if answer[1] < 0 then return "full" end
    return answer[1] == 1 and "first" or "again", hash(answer[2])
end

-- Returns whether the user has left the channel: this was the last connection.
function store.leave(m)
    local left, why = redis.eval(LEAVE, keys_of(m, holder), { m.user, m.conn, entry_of(m) })
    if not left then return nil, why end
    return left == 1
end

function store.users(app_id, channel)
    local list, why = redis.call("HGETALL", key("i", app_id, channel))
    if not list then return nil, why end
    return hash(list)
end

-- The info of one user; false when the user is not in the channel.
function store.info(app_id, channel, user)
    local info, why = redis.call("HGET", key("i", app_id, channel), user)
    if why then return nil, why end
    return info or false
end

-- {channel = users} for these channels.
function store.user_counts(app_id, channels)
    local counts = {}
    for from = 1, #channels, CHUNK do
        local commands = {}
        for i = from, math.min(from + CHUNK - 1, #channels) do
            commands[#commands + 1] = { "HLEN", key("i", app_id, channels[i]) }
        end
        local results, why = redis.pipeline(commands)
        why = failure(results, why)
        if why then return nil, why end
        for i, n in ipairs(results) do counts[channels[from + i - 1]] = n end
    end
    return counts
end

-- --- leases ---

-- KEYS: leases, known. ARGV: holder, lease. Returns 1 when the holder was not known.
local HEARTBEAT = [[
redis.call('ZADD', KEYS[1], redis.call('TIME')[1] + ARGV[2], ARGV[1])
return redis.call('HSETNX', KEYS[2], ARGV[1], 1)
]]

-- KEYS: leases, known. Removes holders with an expired lease from known, and returns them.
local EXPIRED = [[
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1], 'LIMIT', 0, 10)
for _, holder in ipairs(dead) do redis.call('HDEL', KEYS[2], holder) end
return dead
]]

-- KEYS: entries of the holder, leases. ARGV: holder. Removes the lease of a dead holder without entries.
local FORGET = [[
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends and tonumber(ends) <= tonumber(redis.call('TIME')[1]) and redis.call('SCARD', KEYS[1]) == 0 then
    return redis.call('ZREM', KEYS[2], ARGV[1])
end
return 0
]]

-- Renews the lease of this worker. Returns true when it must register its members again.
function store.heartbeat(app_ids)
    local new, why = redis.eval(HEARTBEAT, { key "leases", key "known" }, { holder, lease })
    if not new then return nil, why end
    local commands = {}
    for _, id in ipairs(app_ids) do commands[#commands + 1] = { "EXPIRE", key("n", id, holder), lease } end
    local results
    results, why = redis.pipeline(commands)
    why = failure(results, why)
    if why then return nil, why end
    return new == 1
end

-- Marks this worker as dead, before it stops.
function store.retire(app_ids)
    local commands = { { "ZADD", key "leases", 0, holder }, { "HDEL", key "known", holder } }
    for _, id in ipairs(app_ids) do commands[#commands + 1] = { "DEL", key("n", id, holder) } end
    return redis.pipeline(commands)
end

-- The entries of this worker in Redis: {entry = m}, without the infos.
function store.registered()
    local list, why = redis.call("SMEMBERS", key("h", holder))
    if not list then return nil, why end
    local entries = {}
    for _, entry in ipairs(list) do entries[entry] = member_of(entry) end
    return entries
end

store.entry = entry_of

local function remove_one(dead, on_left)
    repeat
        local entries, why = redis.call("SRANDMEMBER", key("h", dead), CHUNK)
        if not entries then return nil, why end
        for _, entry in ipairs(entries) do
            local m = member_of(entry)
            local left, reason = redis.eval(LEAVE, keys_of(m, dead), { m.user, m.conn, entry, dead })
            if not left then return nil, reason end
            if left == -1 then return true end
            if left == 1 then on_left(m) end
        end
    until #entries == 0
    return redis.eval(FORGET, { key("h", dead), key "leases" }, { dead })
end

-- Removes the entries of dead holders, and calls on_left(m) for each user who has left a channel. Several workers may do
-- this at once; each entry is removed by one of them.
function store.remove_dead(on_left)
    local dead, why = redis.eval(EXPIRED, { key "leases", key "known" })
    if not dead then return nil, why end
    for _, one in ipairs(dead) do
        local ok
        ok, why = remove_one(one, on_left)
        if not ok then return nil, why end
    end
    return true
end

-- --- subscriptions ---

-- Writes {channel = connections of this worker}. whole: replaces all counts of this worker.
function store.put_counts(app_id, counts, whole)
    local mine = key("n", app_id, holder)
    local commands = whole and { { "DEL", mine } } or {}
    local function send()
        local results, why = redis.pipeline(commands)
        commands = {}
        return failure(results, why)
    end
    for channel, n in pairs(counts) do
        commands[#commands + 1] = n > 0 and { "HSET", mine, channel, n } or { "HDEL", mine, channel }
        local why = #commands >= CHUNK and send()
        if why then return nil, why end
    end
    commands[#commands + 1] = { "EXPIRE", mine, lease }
    local why = send()
    if why then return nil, why end
    return true
end

-- {channel = subscriptions} of all workers.
function store.channels(app_id)
    local holders, why = redis.call("ZRANGE", key "leases", 0, -1)
    if not holders then return nil, why end
    local sums = {}
    for _, one in ipairs(holders) do
        local list
        list, why = redis.call("HGETALL", key("n", app_id, one))
        if not list then return nil, why end
        for channel, n in pairs(hash(list)) do sums[channel] = (sums[channel] or 0) + math.tointeger(n) end
    end
    return sums
end

-- --- the last event of a cache channel ---

function store.put_cache(app_id, channel, frame, ttl)
    return redis.call("SET", key("c", app_id, channel), frame, "EX", ttl)
end

function store.get_cache(app_id, channel) return redis.call("GET", key("c", app_id, channel)) end

return store
