-- bellhop.pusher.redis - the store of a cluster: members and subscription counts of all instances, in Redis. All
-- functions wait. When Redis fails they return nil and why.
--
-- Each worker of each instance is a *holder* with a lease in Redis, which it renews at each heartbeat. The entries of a
-- holder are listed in a key of its own, so that others can remove them when it dies: a holder with an expired lease is
-- moved from `known` to `dead`, then its entries are removed one by one. The worker that removes the last connection of a
-- user announces it. A holder that was considered dead registers its members again, and announces them. All times are
-- those of Redis.
--
-- Redis may lose data: FLUSHALL, a restart without or with an older snapshot, a failover. In `known` each holder counts its
-- writes; one that finds fewer than it knows of, and is not dead, has found a *loss*. It empties `known`, so that all
-- others find the loss, too. Each registers its members again, without an announcement, because clients know them. Until
-- as many holders are back as there were, at most for HOLD, the lists of members are not whole: functions that read or
-- change them return "lost", and no holder is considered dead.
--
-- Keys, after tracking.key_prefix and "pusher:" (in a Redis Cluster these are a hash tag, because each script has
-- several keys: "{ws:pusher:}leases"):
--   leases              sorted set: holder -> expiry of its lease
--   known               hash: holder -> number of its writes
--   dead                sorted set: holder -> when its lease was found expired; kept for a day
--   loss                hash: id and until (ms), expected and back (holders) of the last loss; at, the last heartbeat of
--                       any holder; calm, until when no holder is considered dead (ms)
--   h:<holder>          set of "<app>\0<channel>\0<user>\0<connection>"
--   m:<app>:<channel>   sorted set of "<user>\0<connection>", all with score 0
--   i:<app>:<channel>   hash: user -> info (JSON)
--   n:<app>:<holder>    hash: channel -> subscriptions; expires with the lease
--   c:<app>:<channel>   last event of a cache channel
local bh = require "bellhop"
local redis = bh.redis

local store = {}
local PREFIX = bh.config "tracking.key_prefix" or ""
PREFIX = (PREFIX == "" and "ws:" or PREFIX) .. "pusher:"
if (bh.config "redis.url.1" or ""):find "^rediss?%+cluster:" and not PREFIX:find "{[^}]" then
    PREFIX = "{" .. PREFIX .. "}"
end
local CHUNK = 200
local HOLD_MS = 8000 -- what a holder needs to return: the back-off of its link, and a heartbeat
local DEAD_S = 86400
local holder, lease
local retired = false
local writes, holders, loss = 0, 1, 0 -- writes of this holder, holders when all were there, the last loss; as known here

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

-- --- scripts of a holder ---

-- KEYS: leases, known, dead, loss, then those of the script.
-- ARGV: holder, lease, writes and loss that it knows of, holders it has seen, ms to hold back, then those of the script.
-- Scripts return { status, writes, holders, loss, more... }.
local HEAD = [[
local leases, known, dead, loss = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holder, lease, hold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local OK, NEW, LOST, WAITS = 0, 1, 2, 3
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local written = tonumber(redis.call('HGET', known, holder) or 0)
local lost = tonumber(ARGV[3]) > written and not redis.call('ZSCORE', dead, holder)
if lost and tonumber(redis.call('HGET', loss, 'id') or 0) <= tonumber(ARGV[4]) then
    redis.call('DEL', known)
    redis.call('HSET', loss, 'id', math.max(now, ARGV[4] + 1), 'until', now + hold, 'expected', ARGV[5], 'back', 0)
end
local seen = redis.call('HMGET', loss, 'id', 'until', 'expected', 'back', 'calm')
local id = tonumber(seen[1] or 0)
local function is_whole()
    return id == 0 or now >= tonumber(seen[2]) or tonumber(seen[4]) >= tonumber(seen[3])
end
local function answer(status, more)
    local all = status ~= LOST and is_whole() and redis.call('HLEN', known) or ARGV[5]
    return { status, written, tonumber(all), id, more }
end
local function wrote()
    if written > 0 then written = redis.call('HINCRBY', known, holder, 1) end
end
]]

-- For scripts that need all members.
local GUARD = HEAD .. [[
if lost then return answer(LOST) end
if not is_whole() then return answer(WAITS) end
]]

local OK, NEW, LOST, WAITS = 0, 1, 2, 3
local STATES = { [OK] = "ok", [NEW] = "new", [LOST] = "lost", [WAITS] = "waiting" }
local HEAD_KEYS = { key "leases", key "known", key "dead", key "loss" }

local function append(list, more) return table.move(more or {}, 1, #(more or {}), #list + 1, list) end

local function eval(script, keys, args)
    return redis.eval(script, append({ table.unpack(HEAD_KEYS) }, keys),
        append({ holder, lease, writes, loss, holders, HOLD_MS }, args))
end

-- Returns a status and what the script returns; nil and why.
local function run(script, keys, args)
    local answer, why = eval(script, keys, args)
    if not answer then return nil, why end
    local status, known_writes, all, id = table.unpack(answer, 1, 4)
    if status ~= LOST and not retired then -- answers of concurrent calls may come in another order
        local counts_on = status ~= NEW and id == loss
        writes = counts_on and math.max(writes, known_writes) or known_writes
        holders, loss = all, math.max(loss, id)
    end
    return status, answer[5], id
end

-- The same for guarded scripts: what the script returns, "lost", or nil and why.
local function run_guarded(script, keys, args)
    local status, result = run(script, keys, args)
    if not status then return nil, result end
    if status ~= OK then return "lost" end
    return result
end

-- --- members ---

-- KEYS: connections and infos of the channel, entries of the holder.
-- ARGV: user, connection, info, entry, maximum of users.
-- Returns {-1} when the channel is full, else {1 when the user is new, {user, info, ...}}.
local JOIN = GUARD .. [[
local conns, infos, entries = KEYS[5], KEYS[6], KEYS[7]
local user, conn, info, entry, max = ARGV[7], ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local new = redis.call('ZLEXCOUNT', conns, '[' .. user .. '\0', '(' .. user .. '\1') == 0
if new and redis.call('HLEN', infos) >= max then return answer(OK, { -1 }) end
redis.call('ZADD', conns, 0, user .. '\0' .. conn)
redis.call('HSETNX', infos, user, info)
redis.call('SADD', entries, entry)
redis.call('ZADD', leases, 'NX', time[1] + lease, holder)
wrote()
return answer(OK, { new and 1 or 0, redis.call('HGETALL', infos) })
]]

-- KEYS: connections and infos of the channel, entries of the holder.
-- ARGV: user, connection, entry, and another holder to remove its entry only if it is dead.
-- Returns -1 when that holder is alive, 1 when the user has left the channel, else 0.
local REMOVE = [[
local conns, infos, entries = KEYS[5], KEYS[6], KEYS[7]
local user, conn, entry, other = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local ends = other and redis.call('ZSCORE', leases, other)
if ends and tonumber(ends) > tonumber(time[1]) then return answer(OK, -1) end
redis.call('SREM', entries, entry)
wrote()
if redis.call('ZREM', conns, user .. '\0' .. conn) == 0 then return answer(OK, 0) end
if redis.call('ZLEXCOUNT', conns, '[' .. user .. '\0', '(' .. user .. '\1') > 0 then return answer(OK, 0) end
redis.call('HDEL', infos, user)
return answer(OK, 1)
]]
local LEAVE, REMOVE_OLD = GUARD .. REMOVE, HEAD .. REMOVE

-- KEYS: infos of the channel.
local USERS = GUARD .. "return answer(OK, redis.call('HGETALL', KEYS[5]))"

-- KEYS: infos of the channel. ARGV: user. Returns {} or {info}.
local INFO = GUARD .. "return answer(OK, { redis.call('HGET', KEYS[5], ARGV[7]) or nil })"

-- KEYS: infos of each channel. Returns the number of users of each.
local COUNTS = GUARD .. [[
local counts = {}
for i = 5, #KEYS do counts[i - 4] = redis.call('HLEN', KEYS[i]) end
return answer(OK, counts)
]]

-- Returns all holders with a lease.
local HOLDERS = GUARD .. "return answer(OK, redis.call('ZRANGE', leases, 0, -1))"

local function entry_of(m) return table.concat({ m.app, m.channel, m.user, m.conn }, "\0") end

local function member_of(entry)
    local app, channel, user, conn = entry:match "^([^\0]*)\0([^\0]*)\0([^\0]*)\0([^\0]*)$"
    return { app = app, channel = channel, user = user, conn = conn }
end

local function keys_of(m, of)
    return { key("m", m.app, m.channel), key("i", m.app, m.channel), key("h", of) }
end

-- m: app, channel, user, info, conn. Returns "first" (the user is new in the channel) or "again", and the infos of all
-- users; or "full", or "lost".
function store.join(m, max)
    local answer, why = run_guarded(JOIN, keys_of(m, holder), { m.user, m.conn, m.info, entry_of(m), max })
    if not answer then return nil, why end
    if answer == "lost" then return answer end
    if answer[1] < 0 then return "full" end
    return answer[1] == 1 and "first" or "again", hash(answer[2])
end

-- Returns whether the user has left the channel: this was the last connection; or "lost".
function store.leave(m)
    local left, why = run_guarded(LEAVE, keys_of(m, holder), { m.user, m.conn, entry_of(m) })
    if not left then return nil, why end
    if left == "lost" then return left end
    return left == 1
end

-- {user = info}, or "lost".
function store.users(app_id, channel)
    local list, why = run_guarded(USERS, { key("i", app_id, channel) })
    if not list then return nil, why end
    return list == "lost" and list or hash(list)
end

-- The info of one user; false when the user is not in the channel; or "lost", which is no JSON.
function store.info(app_id, channel, user)
    local found, why = run_guarded(INFO, { key("i", app_id, channel) }, { user })
    if not found then return nil, why end
    if found == "lost" then return found end
    return found[1] or false
end

-- {channel = users} for these channels, or "lost".
function store.user_counts(app_id, channels)
    local counts = {}
    for from = 1, #channels, CHUNK do
        local keys = {}
        for i = from, math.min(from + CHUNK - 1, #channels) do keys[#keys + 1] = key("i", app_id, channels[i]) end
        local results, why = run_guarded(COUNTS, keys)
        if not results then return nil, why end
        if results == "lost" then return results end
        for i, n in ipairs(results) do counts[channels[from + i - 1]] = n end
    end
    return counts
end

-- --- leases ---

-- When Redis was away for so long that leases may have expired, others had no chance to renew theirs.
local HEARTBEAT = HEAD .. [[
redis.call('ZADD', leases, time[1] + lease, holder)
local at = redis.call('HGET', loss, 'at')
if at and now - at > lease * 500 then redis.call('HSET', loss, 'calm', now + hold) end
redis.call('HSET', loss, 'at', now)
if lost then return answer(LOST) end
local new = written == 0
redis.call('ZREM', dead, holder)
written = redis.call('HINCRBY', known, holder, 1)
return answer(new and NEW or is_whole() and OK or WAITS)
]]

local STATE = HEAD .. "return answer(lost and LOST or is_whole() and OK or WAITS)"

-- ARGV: id of the loss after which this holder has registered its members. LOST: there was another one.
local RETURNED = HEAD .. [[
if id ~= tonumber(ARGV[7]) then return answer(LOST) end
redis.call('ZADD', leases, time[1] + lease, holder)
written = redis.call('HINCRBY', known, holder, 1)
seen[4] = redis.call('HINCRBY', loss, 'back', 1)
return answer(is_whole() and OK or WAITS)
]]

-- ARGV: seconds to remember the dead. Moves holders with an expired lease from known to dead, and returns them.
local EXPIRED = GUARD .. [[
if now < tonumber(seen[5] or 0) then return answer(OK, {}) end
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', time[1], 'LIMIT', 0, 10)
for _, one in ipairs(expired) do
    redis.call('HDEL', known, one)
    redis.call('ZADD', dead, time[1], one)
end
for _, one in ipairs(redis.call('ZRANGEBYSCORE', dead, '-inf', time[1] - ARGV[7])) do redis.call('ZREM', dead, one) end
return answer(OK, expired)
]]

-- KEYS: entries of the holder, leases. ARGV: holder. Removes the lease of a dead holder without entries.
local FORGET = [[
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends and tonumber(ends) <= tonumber(redis.call('TIME')[1]) and redis.call('SCARD', KEYS[1]) == 0 then
    return redis.call('ZREM', KEYS[2], ARGV[1])
end
return 0
]]

-- Renews the lease of this worker. Returns "ok"; "new": it must register its members, and announce them; "lost": it must
-- restore its members; "waiting": others have not restored theirs yet. nil and why.
function store.heartbeat(app_ids)
    local status, why = run(HEARTBEAT)
    if not status then return nil, why end
    local commands = {}
    for _, id in ipairs(app_ids) do commands[#commands + 1] = { "EXPIRE", key("n", id, holder), lease } end
    local results
    results, why = redis.pipeline(commands)
    why = failure(results, why)
    if why then return nil, why end
    return STATES[status]
end

-- Marks this worker as dead, before it stops. Then it no longer finds a loss.
function store.retire(app_ids)
    retired, writes = true, 0
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

local function write_members(members, from, to)
    local commands = {}
    for i = from, to do
        local m = members[i]
        local keys = keys_of(m, holder)
        commands[#commands + 1] = { "ZADD", keys[1], 0, m.user .. "\0" .. m.conn }
        commands[#commands + 1] = { "HSETNX", keys[2], m.user, m.info }
        commands[#commands + 1] = { "SADD", keys[3], entry_of(m) }
    end
    local results, why = redis.pipeline(commands)
    return failure(results, why)
end

-- Members that have left since the snapshot that Redis has loaded.
local function remove_old(members)
    local old, why = store.registered()
    if not old then return why end
    for _, m in ipairs(members) do old[entry_of(m)] = nil end
    for entry, m in pairs(old) do
        local ok
        ok, why = eval(REMOVE_OLD, keys_of(m, holder), { m.user, m.conn, entry })
        if not ok then return why end
    end
end

-- Writes all members of this worker after a loss. Returns "lost" (there was another one), "waiting" or "ok"; nil and why.
function store.restore(members)
    local status, why, id = run(STATE)
    if not status then return nil, why end
    if status ~= LOST then return STATES[status] end
    why = remove_old(members)
    for from = 1, #members, CHUNK do
        why = why or write_members(members, from, math.min(from + CHUNK - 1, #members))
    end
    if why then return nil, why end
    status, why = run(RETURNED, nil, { id })
    if not status then return nil, why end
    return STATES[status]
end

local function remove_one(dead, on_left)
    repeat
        local entries, why = redis.call("SRANDMEMBER", key("h", dead), CHUNK)
        if not entries then return nil, why end
        for _, entry in ipairs(entries) do
            local m = member_of(entry)
            local left, reason = run_guarded(LEAVE, keys_of(m, dead), { m.user, m.conn, entry, dead })
            if not left then return nil, reason end
            if left == -1 or left == "lost" then return true end
            if left == 1 then on_left(m) end
        end
    until #entries == 0
    return redis.eval(FORGET, { key("h", dead), key "leases" }, { dead })
end

-- Removes the entries of dead holders, and calls on_left(m) for each user who has left a channel. Several workers may do
-- this at once; each entry is removed by one of them.
function store.remove_dead(on_left)
    local dead, why = run_guarded(EXPIRED, nil, { DEAD_S })
    if not dead then return nil, why end
    if dead == "lost" then return true end
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

-- {channel = subscriptions} of all workers, or "lost".
function store.channels(app_id)
    local all, why = run_guarded(HOLDERS)
    if not all then return nil, why end
    if all == "lost" then return all end
    local sums = {}
    for _, one in ipairs(all) do
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
