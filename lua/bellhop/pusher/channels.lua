-- bellhop.pusher.channels - who is in which channel: presence members and their events, counts of
-- subscriptions, over all workers and instances.
--
-- A connection's own channels are in conn.vars.pusher.channels, {name = true or {user =, info =}}, and
-- that is the truth; the store (Redis, or the memory of this instance) follows it. When a change could
-- not be written, or the scripts are new, or Redis has forgotten, the next beat writes all anew.
--
-- Of two instances that announce at the same time that a user comes and goes, either may be heard
-- last. So who has announced looks once more, and announces what is true by then: the last word that
-- is published was true after it had been published. Announcements go through Redis, where all see
-- the same order.
--
-- An instance that stops does not take its members out one by one, which could take long, and would be
-- cut off: it declares itself dead, and the others do it at their next beat, but for the users who
-- have come to them meanwhile.
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
local behind = true -- the store may not be what it should be
local touched, flushing = {}, false

channels.users = store.users
channels.user_counts = store.user_counts
channels.subscriptions = store.channels
channels.put_cache, channels.get_cache = store.put_cache, store.get_cache

-- --- events of members ---

-- Info is JSON text. True, or nil and why.
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

-- info: of who has come; false: has gone.
local function announce(m, info, except)
    for _ = 1, CORRECTIONS do
        local ok, why = publish(m, info, except)
        local now
        if ok then now, why = store.info(m.app, m.channel, m.user) end
        if now == nil then
            bh.log.warn("a member of a presence channel was not announced", { channel = m.channel, why = why })
            return
        end
        if (now == false) == (info == false) then return end
        info, except = now, nil
    end
end

-- --- joining and leaving ---

-- m: app, channel, user, info, conn. The infos of all its users, or nil and why ("full").
function channels.join(m, most)
    local result, infos = store.join(m, most)
    if not result then
        behind = true -- it may have been written all the same
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
        behind = true
        bh.log.warn("a member of a presence channel did not leave yet", { channel = m.channel, why = why })
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
        if not store.put_counts(app_id, counts) then behind = true end
    end
end

-- A connection of this worker has subscribed or left this channel.
function channels.touch(app_id, channel)
    if retired then return end
    touched[app_id] = touched[app_id] or {}
    touched[app_id][channel] = true
    if flushing then return end
    flushing = bh.after(FLUSH_AFTER, flush) ~= nil
    behind = behind or not flushing
end

-- --- the whole ---

-- The names and members of a topic of which only the hash is known, or which is a presence channel.
local function look_at(app_id, topic, visit)
    for _, conn in ipairs(bh.hub.by_topic(topic)) do
        local mine = conn.vars.pusher
        for name, member in pairs(mine and mine.channels or {}) do
            if wire.topic(app_id, name) == topic then visit(conn, name, member) end
        end
    end
end

-- What this worker truly holds: {channel = subscriptions}; memberships go into `members`.
local function look_around(app_id, members)
    local counts = {}
    for topic, n in pairs(bh.hub.topics(wire.topic_prefix(app_id))) do
        local name = wire.channel(app_id, topic)
        if name then counts[name] = n end
        if not name or wire.kind(name) == "presence" then
            look_at(app_id, topic, function(conn, channel, member)
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

local function is_still_in(m)
    local mine = not m.of.closed and m.of.vars.pusher
    return mine and mine.channels[m.channel] ~= nil
end

-- Makes the store what it should be. It is asked first, and a connection's own channels are changed
-- before the store: what it has, and nobody here holds, is to go.
local function sync()
    local held, why = store.held()
    if not held then return nil, why end
    local members = {}
    for _, app_id in ipairs(app_ids) do
        local ok
        ok, why = store.put_counts(app_id, look_around(app_id, members), true)
        if not ok then return nil, why end
    end
    if not has_redis then return true end
    for _, m in ipairs(members) do
        local entry = store.entry(m)
        if not held[entry] and is_still_in(m) then
            local result
            result, why = store.join(m, math.maxinteger)
            if not result then return nil, why end
            if not is_still_in(m) then
                channels.leave(m)
            elseif result == "first" then
                announce(m, m.info)
            end
        end
        held[entry] = nil
    end
    for _, m in pairs(held) do channels.leave(m) end
    return true
end

-- Once in a while, in each worker.
function channels.beat()
    if retired then return end
    local unknown, why = store.beat(app_ids)
    if unknown == nil then
        behind = true
    elseif unknown or behind then
        behind = false
        local ok
        ok, why = sync()
        behind = behind or not ok
    end
    if not why then why = select(2, store.bury(function(m) announce(m, false) end)) end
    if why then bh.log.warn("presence channels are behind", { why = why }) end
end

-- At the end.
function channels.retire()
    retired = true
    store.retire(app_ids)
end

-- At start; seconds: the lease.
function channels.start(ctx, ids, seconds)
    app_ids = ids
    store.start(ctx, seconds)
    bh.spawn(function() -- others count this worker as soon as Redis is there, not from the first beat on
        while store.beat(app_ids) == nil do bh.sleep(RETRY_AFTER) end
    end)
end

return channels
