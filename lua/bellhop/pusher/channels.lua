-- bellhop.pusher.channels - presence members and subscription counts of channels, over all workers and instances.
--
-- The channels of a connection are in conn.vars.pusher.channels, {name = true or {user =, info =}}. This is the source
-- of truth; the store (Redis, or bh.shared without Redis) follows it. After a failed write, a reload, or data loss in
-- Redis, the next heartbeat writes everything again.
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

local url = bh.config "redis.url"
local has_redis = type(url) == "table" and #url > 0 or type(url) == "string" and url ~= ""
local store = has_redis and require "bellhop.pusher.redis" or require "bellhop.pusher.shared"

local app_ids = {}
local retired = false
local out_of_sync = true -- the store may differ from the connections
local touched, flushing = {}, false

channels.users = store.users
channels.user_counts = store.user_counts
channels.subscriptions = store.channels
channels.put_cache, channels.get_cache = store.put_cache, store.get_cache

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
        if ok then now, why = store.info(m.app, m.channel, m.user) end
        if now == nil then
            bh.log.warn("cannot announce a member of a presence channel", { channel = m.channel, why = why })
            return
        end
        if (now == false) == (info == false) then return end
        info, except = now, nil
    end
end

-- --- joining and leaving ---

-- m: app, channel, user, info, conn. Returns the infos of all users in the channel, or nil and why ("full").
function channels.join(m, max)
    local result, infos = store.join(m, max)
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
    local left, why = store.leave(m)
    if left == nil then
        out_of_sync = true
        bh.log.warn("cannot remove a member of a presence channel; trying again", { channel = m.channel, why = why })
    elseif left then
        announce(m, false)
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
                }
            end)
        end
    end
    return counts
end

local function is_member(m)
    local mine = not m.of.closed and m.of.vars.pusher
    return mine and mine.channels[m.channel] ~= nil
end

-- Writes the state of this worker to the store. The store is read first, and connections change before the store: an
-- entry that no connection has by now is removed.
local function sync()
    local registered, why = store.registered()
    if not registered then return nil, why end
    local members = {}
    for _, app_id in ipairs(app_ids) do
        local ok
        ok, why = store.put_counts(app_id, collect(app_id, members), true)
        if not ok then return nil, why end
    end
    if not has_redis then return true end
    for _, m in ipairs(members) do
        local entry = store.entry(m)
        if not registered[entry] and is_member(m) then
            local result
            result, why = store.join(m, math.maxinteger)
            if not result then return nil, why end
            if not is_member(m) then
                channels.leave(m)
            elseif result == "first" then
                announce(m, m.info)
            end
        end
        registered[entry] = nil
    end
    for _, m in pairs(registered) do channels.leave(m) end
    return true
end

-- Runs periodically in each worker.
function channels.heartbeat()
    if retired then return end
    local unknown, why = store.heartbeat(app_ids)
    if unknown == nil then
        out_of_sync = true
    elseif unknown or out_of_sync then
        out_of_sync = false
        local ok
        ok, why = sync()
        out_of_sync = out_of_sync or not ok
    end
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
