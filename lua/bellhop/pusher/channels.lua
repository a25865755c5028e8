-- bellhop.pusher.channels - presence members and subscription counts of channels, over all workers and instances.
--
-- The channels of a connection are in conn.vars.pusher.channels, {name = true or {user =, info =}}. This is the source
-- of truth; the store (Redis, or bh.shared without Redis) follows it. After a failed write or a reload, the next heartbeat
-- writes everything again.
--
-- When Redis has lost data, each worker restores its members at once and without announcements, because clients know
-- them. Until all workers have done so, the store returns "lost": joins and lists wait, so that they are whole; a leave
-- is noted, its member is restored with the others, and leaves afterwards, so that it is announced.
--
-- When two instances announce at the same time that a user joins and leaves, either event may arrive last. So after an
-- announcement the store is read again, and the announcement is corrected if it is no longer true: the last event that
-- is published was still true after it was published. Announcements go through Redis, so all instances see one order.
--
-- An instance that stops does not remove its members one by one, which could take too long. It marks itself as dead, and
-- the other instances remove its members at their next heartbeat, except users who have reconnected.
local bh = require "bellhop"
local wire = require "bellhop.pusher.wire"

local channels = {}

local FLUSH_AFTER = 0.1
local RETRY_AFTER = 0.2
local CORRECTIONS = 5
local WAIT, POLL = 9, 0.2 -- for a store that has lost data; script.hook_timeout is 10

local url = bh.config "redis.url"
local has_redis = type(url) == "table" and #url > 0 or type(url) == "string" and url ~= ""
local store = has_redis and require "bellhop.pusher.redis" or require "bellhop.pusher.shared"

local app_ids = {}
local retired = false
local out_of_sync = true -- the store may differ from the connections
local touched, flushing = {}, false
local recovering = false
local departed = {} -- by key_of: members who have left, and may still be in the store

channels.put_cache, channels.get_cache = store.put_cache, store.get_cache

local function key_of(m) return table.concat({ m.app, m.channel, m.user, m.conn }, "\0") end

-- --- a store that has lost data ---

local recover

local function start_recovery()
    if recovering or retired then return end
    recovering = true
    if bh.spawn(recover) then return end
    recovering, out_of_sync = false, true
end

-- Calls fn until the store has all members again; nil and why when that takes too long.
local function when_whole(fn, ...)
    for _ = 0, WAIT, POLL do
        if not recovering then
            local result, more = fn(...)
            if result ~= "lost" then return result, more end
            start_recovery()
        end
        bh.sleep(POLL)
    end
    return nil, "try again later"
end

function channels.users(...) return when_whole(store.users, ...) end
function channels.user_counts(...) return when_whole(store.user_counts, ...) end
function channels.subscriptions(...) return when_whole(store.channels, ...) end

-- --- events of members ---

-- Publishes member_added with this info (JSON), or member_removed when info is false.
local function publish(m, info, except)
    local data = '{"user_id":' .. bh.json.encode(m.user)
    if info and info ~= "null" then data = data .. ',"user_info":' .. info end
    local event = info and "pusher_internal:member_added" or "pusher_internal:member_removed"
    return bh.publish_wait {
        topic = wire.topic(m.app, m.channel),
        data = wire.frame(event, m.channel, data .. "}"),
        strategy = "redis",
        except = except,
    }
end

-- Publishes the event, and corrects it if the store has changed meanwhile.
local function announce(m, info, except)
    for _ = 1, CORRECTIONS do
        local ok, why = publish(m, info, except)
        local now
        if ok then now, why = when_whole(store.info, m.app, m.channel, m.user) end
        if now == nil then
            bh.log.warn("cannot announce a member of a presence channel", { channel = m.channel, why = why })
            return
        end
        if (now == false) == (info == false) then return end
        info, except = now, nil
    end
end

-- --- joining and leaving ---

-- m: app, channel, user, info, conn, of (the connection). Returns the infos of all users in the channel, or nil and why ("full").
function channels.join(m, max)
    local result, infos = when_whole(store.join, m, max)
    if not result then
        out_of_sync = true -- Redis may have executed it
        return nil, infos
    end
    if result == "full" then return nil, "full" end
    if result == "first" then bh.spawn(function() announce(m, m.info, m.conn) end) end
    return infos
end

function channels.leave(m)
    if retired then return end
    local key = key_of(m)
    departed[key] = m
    if recovering then return end
    local left, why = store.leave(m)
    if left == "lost" then
        start_recovery()
    elseif left == nil then
        out_of_sync = true
        bh.log.warn("cannot remove a member of a presence channel; trying again", { channel = m.channel, why = why })
    else
        departed[key] = nil
        if left then announce(m, false) end
    end
end

-- --- counts ---

local function flush()
    local now = touched
    touched, flushing = {}, false
    if retired then return end
    for app_id, names in pairs(now) do
        local counts = {}
        for name in pairs(names) do counts[name] = bh.hub.subscribers(wire.topic(app_id, name)) end
        if not store.put_counts(app_id, counts) then out_of_sync = true end
    end
end

-- A connection of this worker has joined or left this channel: its count is written soon.
function channels.touch(app_id, channel)
    if retired then return end
    touched[app_id] = touched[app_id] or {}
    touched[app_id][channel] = true
    if flushing then return end
    flushing = bh.after(FLUSH_AFTER, flush) ~= nil
    out_of_sync = out_of_sync or not flushing
end

-- --- synchronization ---

-- Calls visit(conn, channel, member) for all connections in a topic.
local function visit_topic(app_id, topic, visit)
    for _, conn in ipairs(bh.hub.by_topic(topic)) do
        local mine = conn.vars.pusher
        for name, member in pairs(mine and mine.channels or {}) do
            if wire.topic(app_id, name) == topic then visit(conn, name, member) end
        end
    end
end

-- The state of this worker's connections: returns {channel = subscriptions} and appends to `members`. Connections are
-- visited only where the topic is not enough: for hashed names, and for members.
local function collect(app_id, members)
    local counts = {}
    for topic, n in pairs(bh.hub.topics(wire.topic_prefix(app_id))) do
        local name = wire.channel(app_id, topic)
        if name then counts[name] = n end
        if not name or wire.kind(name) == "presence" then
            visit_topic(app_id, topic, function(conn, channel, member)
                counts[channel] = n
                if type(member) ~= "table" then return end
                members[#members + 1] = {
                    app = app_id, channel = channel, user = member.user, info = member.info, conn = conn.id, of = conn,
                    joining = member.joining,
                }
            end)
        end
    end
    return counts
end

-- Collects the members of all apps, and writes the counts.
local function collect_all()
    local members = {}
    for _, app_id in ipairs(app_ids) do
        local ok, why = store.put_counts(app_id, collect(app_id, members), true)
        if not ok then return nil, why end
    end
    return members
end

local function is_member(m)
    local mine = m.of and not m.of.closed and m.of.vars.pusher
    return mine and mine.channels[m.channel] ~= nil
end

-- Writes the state of this worker to the store. The store is read first, and connections change before the store: an
-- entry that no connection has by now is removed. Returns true, "lost", or nil and why.
local function sync()
    local registered, why = store.registered()
    if not registered then return nil, why end
    local members
    members, why = collect_all()
    if not members then return nil, why end
    if not has_redis then return true end
    for key in pairs(departed) do
        if not registered[key] then departed[key] = nil end
    end
    for _, m in ipairs(members) do
        local key = key_of(m)
        if not registered[key] and is_member(m) then
            local result
            result, why = store.join(m, math.maxinteger)
            if not result or result == "lost" then return result, why end
            if not is_member(m) then
                channels.leave(m)
            elseif result == "first" then
                announce(m, m.info)
            end
        end
        registered[key] = nil
    end
    for _, m in pairs(registered) do channels.leave(m) end
    return true
end

-- Writes all members that clients know of to a store that has lost data, those who have left included. One who is joining
-- has not been announced.
local function restore()
    local members, why = collect_all()
    if not members then return nil, why end
    local known = {}
    for _, m in ipairs(members) do
        if not m.joining then known[#known + 1] = m end
    end
    for _, m in pairs(departed) do
        if m.info then known[#known + 1] = m end
    end
    return store.restore(known)
end

-- Restores the members of this worker, and waits for the other workers.
function recover()
    local state = "lost"
    while not retired and (state == "lost" or state == "waiting") do
        local next_state, why = (state == "lost" and restore or store.heartbeat)(app_ids)
        if next_state == nil then
            bh.log.warn("cannot restore the members of presence channels; trying again", { why = why })
        end
        state = next_state or "lost"
        if state ~= "ok" then bh.sleep(RETRY_AFTER) end
    end
    recovering = false
    out_of_sync = out_of_sync or state == "new"
    local leaving = departed
    departed = {}
    for _, m in pairs(leaving) do
        if not is_member(m) then channels.leave(m) end
    end
end

-- Runs periodically in each worker.
function channels.heartbeat()
    if retired or recovering then return end
    local state, why = store.heartbeat(app_ids)
    if state == nil then
        out_of_sync = true
    elseif state == "ok" and out_of_sync or state == "new" then
        out_of_sync = false
        state, why = sync()
        out_of_sync = out_of_sync or state ~= true
    end
    if state == "lost" then return start_recovery() end
    if not why then why = select(2, store.remove_dead(function(m) announce(m, false) end)) end
    if why then bh.log.warn("presence channels are not up to date", { why = why }) end
end

-- At shutdown.
function channels.retire()
    retired = true
    store.retire(app_ids)
end

-- At the start, with the lease in seconds.
function channels.start(ctx, ids, seconds)
    app_ids = ids
    store.start(ctx, seconds)
    -- At once, so that other instances count this worker before its first timer runs.
    bh.spawn(function()
        while store.heartbeat(app_ids) == nil do bh.sleep(RETRY_AFTER) end
    end)
end

return channels
