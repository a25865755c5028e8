-- Whether the promise of streams was kept, from what publishers wrote down (publisher.lua) and what
-- clients recorded (client.lua):
--
-- - within an epoch a client gets every offset of its topics once and in order, or is told a gap first;
-- - over a change of epoch at least once, and is told `rewound` first if it had seen more than the new
--   epoch begins with;
-- - an id never says more, and never less, than what the client has got;
-- - nothing of another topic, nothing that nobody published, and no two messages at one position.
--
-- An epoch begins behind the last offset of its parent; its messages up to there are those of the
-- parent, so offsets count through a change of epoch.
local publisher = require "streams.publisher"
local resume = require "streams.resume"

local check = {}

local MOST_ERRORS = 12

local function new_report()
    return {errors = {}, count = 0, delivered = 0, again = 0, gaps = 0, rewinds = 0, lost = 0, sessions = 0}
end

local function add_error(self, ...)
    self.report.count = self.report.count + 1
    if self.report.count <= MOST_ERRORS then self.report.errors[#self.report.errors + 1] = string.format(...) end
end

-- --- the log ---

local function at(map, topic, epoch)
    map[topic] = map[topic] or {}
    map[topic][epoch] = map[topic][epoch] or {}
    return map[topic][epoch]
end

local function note_position(self, topic, p, record, who)
    local offsets = at(self.log, topic, p.epoch)
    local other = offsets[p.offset]
    if other and other ~= record then
        add_error(self, "%s: message %d is at %s of %s, where message %d is", who, record.n, resume.show(p), topic, other.n)
    end
    offsets[p.offset] = record
end

-- The offset behind which an epoch has messages of its own; nil: it has none.
local function begin_of(self, topic, epoch)
    return self.begins[topic] and self.begins[topic][epoch]
end

local function note_begin(self, topic, p)
    self.begins[topic] = self.begins[topic] or {}
    local begin = self.begins[topic][p.epoch]
    self.begins[topic][p.epoch] = math.min(begin or math.huge, p.offset - 1)
end

-- Whether the message may be at this position: it was accepted there or, before the epoch's begin, in
-- another epoch; or an answer was lost, and this is where an earlier try of it went. lossy: Redis may
-- have forgotten the id of an earlier try of the instance.
local function may_be_at(record, p, lossy)
    local accepted = record.position
    if not accepted then return true end
    if accepted.offset == p.offset then return true end
    return accepted.epoch ~= p.epoch and (record.tries > 1 or lossy)
end

local function read_log(self, log)
    for _, record in ipairs(log) do
        self.records[record.n] = record
        self.holes[record.topic] = self.holes[record.topic] or record.optional
        if record.position and record.live then
            add_error(self, "message %d without history was given a position", record.n)
        elseif record.position then
            note_position(self, record.topic, record.position, record, "the publisher")
            note_begin(self, record.topic, record.position)
        end
    end
end

-- --- what a client has to get ---

-- Whether it has to come. One that is optional (replaced, removed, expired) may come.
local function is_for(client, record)
    if not record.filter then return true end
    for name, value in pairs(record.filter) do
        if (client.tags or {})[name] ~= value then return false end
    end
    return true
end

-- The messages that may be at an offset of an epoch: its own one, or those of other epochs below its
-- begin, of which one was its ancestor.
local function candidates(self, topic, epoch, offset)
    local own = (self.log[topic] or {})[epoch]
    if own and own[offset] then return {own[offset]} end
    local found = {}
    local begin = begin_of(self, topic, epoch)
    if begin and offset > begin then return found end
    for other, offsets in pairs(self.log[topic] or {}) do
        if other ~= epoch and offsets[offset] then found[#found + 1] = offsets[offset] end
    end
    return found
end

-- A description of what the client misses at this offset; nil: nothing.
local function missing(self, state, topic, epoch, offset)
    local all = candidates(self, topic, epoch, offset)
    for _, record in ipairs(all) do
        if state.got[record.n] or record.optional or not is_for(state.client, record) then return nil end
    end
    if #all == 0 then return ("%d-%d, which nobody published"):format(epoch, offset) end
    return ("message %d at %d-%d"):format(all[1].n, epoch, offset)
end

local function expect_all(self, state, topic, epoch, from, to)
    for offset = from + 1, to do
        local what = missing(self, state, topic, epoch, offset)
        if what then
            return add_error(self, "%s: %s was lost: it misses %s (event %d)", state.client.name, topic, what, state.index)
        end
    end
end

-- --- one client ---

-- The client is at p in the topic now; record: by this message, which it has got.
local function move(self, state, topic, p, record)
    local place = state.places[topic]
    local was, name = place.position, state.client.name
    place.position = p
    if not was then return end
    local upto = record and p.offset - 1 or p.offset
    if p.epoch == was.epoch and p.offset == was.offset and not record then return end
    if p.epoch == was.epoch and (p.offset < was.offset or record and p.offset == was.offset) then
        if not place.rewound then
            add_error(self, "%s: %s goes back from %s to %s (event %d)", name, topic, resume.show(was), resume.show(p),
                state.index)
        end
    elseif not place.gap then
        local begin = p.epoch ~= was.epoch and (begin_of(self, topic, p.epoch) or math.min(upto, was.offset)) or was.offset
        if was.offset > begin and not place.rewound then
            add_error(self, "%s: %s begins a new epoch, from %s to %s, without `rewound` (event %d)", name, topic,
                resume.show(was), resume.show(p), state.index)
        end
        expect_all(self, state, topic, p.epoch, math.min(was.offset, begin), upto)
    end
    if p.epoch ~= was.epoch or p.offset ~= was.offset then place.gap, place.rewound = false, false end
end

-- All positions of an id. record: of the message that brought it.
local function take_id(self, state, id, record, record_topic)
    local positions, why = resume.parse(id)
    if not positions then return add_error(self, "%s: id %s: %s", state.client.name, id, why) end
    local known = 0
    for topic, place in pairs(state.places) do
        local p = positions[resume.hash(topic)]
        if p then
            known = known + 1
            move(self, state, topic, p, record_topic == topic and record or nil)
            place.unknown = nil
        elseif place.position then
            add_error(self, "%s: the id %s has no position of %s (event %d)", state.client.name, id, topic, state.index)
        else
            place.unknown = place.unknown or id
        end
    end
    for _ in pairs(positions) do known = known - 1 end
    if known ~= 0 then add_error(self, "%s: the id %s is of other topics", state.client.name, id) end
end

local handlers = {}

-- It has an id, and does not know where it is: what is published now would be lost if it left now. A
-- client that was cut off has not had the chance.
local function judge_unknown(self, state, is_cut)
    for topic, place in pairs(state.places) do
        if place.unknown and not place.gap and not is_cut then
            add_error(self, "%s: the id %s has no position of %s (event %d)", state.client.name, place.unknown, topic,
                state.index)
        end
        place.unknown = nil
    end
end

-- What is not complete has a gap.
local function judge_first(self, state)
    local first = state.first
    state.first = nil
    if first and first.since and not first.recovered and not state.told then
        add_error(self, "%s: recovered is false, and no gap was told (before event %d)", state.client.name, state.index)
    end
end

function handlers.open(self, state, event)
    judge_unknown(self, state, event.after_cut)
    if not event.after_cut then judge_first(self, state) end
    self.report.sessions = self.report.sessions + 1
    state.first, state.told, state.since, state.live = nil, false, event.since, {}
end

function handlers.first(self, state, event)
    state.first = {recovered = event.recovered, since = state.since}
    take_id(self, state, event.id)
end

function handlers.id(self, state, event)
    take_id(self, state, event.id)
end

local function named(self, state, event)
    local place = state.places[event.topic]
    if not place then add_error(self, "%s is told about %s", state.client.name, event.topic) end
    return place
end

function handlers.gap(self, state, event)
    local place = named(self, state, event)
    if not place then return end
    self.report.gaps = self.report.gaps + 1
    self.report.reasons = self.report.reasons or {}
    self.report.reasons[event.reason or "?"] = (self.report.reasons[event.reason or "?"] or 0) + 1
    place.gap, state.told, place.gapped = true, true, true
    if event.id then take_id(self, state, event.id) end
end

function handlers.rewound(self, state, event)
    local place = named(self, state, event)
    if not place then return end
    self.report.rewinds = self.report.rewinds + 1
    place.rewound, place.ever_rewound = true, true
    if event.id then take_id(self, state, event.id) end
end

-- Whether the same message may come a second time: at another position, because Redis had lost it and
-- it was sent again, or because the client was told that it goes back.
local function note_got(self, state, topic, p, record)
    local before = state.got[record.n]
    state.got[record.n] = p.epoch
    self.report.delivered = self.report.delivered + 1
    if not before then return end
    self.report.again = self.report.again + 1
    local place = state.places[topic]
    local is_told = place.ever_rewound or place.gapped or record.tries > 1
    if before == p.epoch and not place.rewound or not is_told then
        add_error(self, "%s: message %d of %s comes twice, in the epochs %d and %d (event %d)", state.client.name, record.n,
            topic, before, p.epoch, state.index)
    end
end

-- A message without history: at most once on a connection, and without a position.
local function check_live(self, state, record, event)
    if event.id then
        add_error(self, "%s: message %d without history has the id %s", state.client.name, record.n, event.id)
    end
    if state.live[record.n] then add_error(self, "%s: message %d comes twice", state.client.name, record.n) end
    state.live[record.n] = true
end

function handlers.message(self, state, event)
    judge_unknown(self, state)
    local name = state.client.name
    local record = self.records[publisher.number(event.data) or 0]
    if not record then return add_error(self, "%s: a strange message: %s", name, event.data) end
    local topic = record.topic
    if not state.places[topic] or event.topic and event.topic ~= topic then
        return add_error(self, "%s gets message %d, which is of %s", name, record.n, topic)
    end
    if event.data ~= record.payload then add_error(self, "%s: message %d is damaged: %s", name, record.n, event.data) end
    if not is_for(state.client, record) then add_error(self, "%s gets message %d, which is not for it", name, record.n) end
    if record.live then return check_live(self, state, record, event) end
    local positions = event.id and resume.parse(event.id)
    local p = positions and positions[resume.hash(topic)]
    if not p then
        return add_error(self, "%s: message %d comes without a position (event %d)", name, record.n, state.index)
    end
    if not may_be_at(record, p, self.lossy) then
        add_error(self, "%s: message %d comes at %s; it was accepted at %s", name, record.n, resume.show(p),
            resume.show(record.position))
    end
    note_got(self, state, topic, p, record)
    take_id(self, state, event.id, record, topic)
end

-- Everything up to `tops` (topic -> position) must have come.
local function check_end(self, state, tops)
    if not state.client.wanted then return end
    judge_unknown(self, state)
    judge_first(self, state)
    for topic, place in pairs(state.places) do
        local top = tops[topic]
        if not place.position then
            add_error(self, "%s: was never told where it is in %s", state.client.name, topic)
        elseif top then
            place.rewound = true -- a new epoch without a message is not told
            state.index = -1
            local was = place.position
            if not (was.epoch == top.epoch and was.offset > top.offset) then move(self, state, topic, top) end
        end
    end
end

local function walk(self, client, tops)
    local state = {client = client, places = {}, got = {}}
    for _, topic in ipairs(client.streams) do state.places[topic] = {} end
    for index, event in ipairs(client.events) do
        state.index = index
        handlers[event.kind](self, state, event)
    end
    check_end(self, state, tops)
end

-- --- raw WebSockets ---

-- A raw client knows no positions. While it is connected it gets everything, once and in order, unless
-- Redis has lost something; what it has missed meanwhile it never knows.
local function take_raw(self, state, event)
    local record = self.records[publisher.number(event.data) or 0]
    local name = state.client.name
    if not record then return add_error(self, "%s: a strange message: %s", name, event.data) end
    local topic, p = record.topic, record.position
    self.report.delivered = self.report.delivered + 1
    if not state.places[topic] then return add_error(self, "%s gets message %d, which is of %s", name, record.n, topic) end
    local is_strict = record.tries < 2 and not self.lossy
    if state.live[record.n] and is_strict then add_error(self, "%s: message %d comes twice", name, record.n) end
    state.live[record.n] = true
    if record.live or not p then return end
    local place = state.places[topic]
    local was = place.position
    if was and was.epoch == p.epoch and p.offset <= was.offset and is_strict then
        add_error(self, "%s: %s goes back from %s to %s (event %d)", name, topic, resume.show(was), resume.show(p), state.index)
    elseif was and not self.lossy then
        state.got = state.live
        expect_all(self, state, topic, p.epoch, was.offset, p.offset - 1)
    end
    place.position = p
end

local function walk_raw(self, client, tops)
    local state = {client = client}
    for index, event in ipairs(client.events) do
        state.index = index
        if event.kind == "open" then
            state.places, state.live = {}, {}
            self.report.sessions = self.report.sessions + 1
            for _, topic in ipairs(client.streams) do state.places[topic] = {} end
        else
            take_raw(self, state, event)
        end
    end
    for topic, place in pairs(state.places) do
        local top = tops[topic]
        if top and place.position and not self.lossy then
            state.index, state.got = -1, state.live
            expect_all(self, state, topic, top.epoch, place.position.offset, top.offset)
        end
    end
end

-- Positions that clients have seen, of tries whose answers were lost.
local function read_seen(self, client)
    for _, event in ipairs(client.events) do
        local record = event.kind == "message" and self.records[publisher.number(event.data) or 0]
        local positions = record and event.id and resume.parse(event.id)
        local p = positions and positions[resume.hash(record.topic)]
        if p then note_position(self, record.topic, p, record, client.name) end
        -- At the offset of its acceptance it may be from before this epoch, or be lost with this one.
        if p and not (record.position and record.position.offset == p.offset) then note_begin(self, record.topic, p) end
    end
end

-- What was accepted, and is in no history.
local function count_lost(self, histories)
    local kept = {}
    for _, list in pairs(histories) do
        for _, entry in ipairs(list) do kept[entry.n] = true end
    end
    for _, record in pairs(self.records) do
        if record.position and not record.optional and not kept[record.n] then self.report.lost = self.report.lost + 1 end
    end
end

-- A history holds, in order and without holes, what was accepted.
local function check_history(self, topic, list)
    local last
    for _, entry in ipairs(list) do
        local record, p = self.records[entry.n], entry.position
        if not record or record.topic ~= topic then
            add_error(self, "the history of %s holds message %d, which nobody published there", topic, entry.n)
        elseif not may_be_at(record, p, self.lossy) then
            add_error(self, "the history of %s holds message %d at %s; it was accepted at %s", topic, entry.n,
                resume.show(p), resume.show(record.position))
        end
        if last and p.offset ~= last + 1 and not self.holes[topic] then
            add_error(self, "the history of %s has %d behind %d", topic, p.offset, last)
        end
        last = p.offset
    end
end

-- log: records; clients; tops (topic -> position): where the streams are at the end, when all clients
-- have had time; histories (topic -> list of {n, position}): what they hold; lossy: raw clients may miss something.
-- Returns {errors (texts), count (of errors), delivered, again, gaps, rewinds, sessions,
-- lost (of what was accepted, it is in no history)}.
function check.run(log, clients, tops, histories, lossy)
    -- holes: topics whose histories have removed messages
    local self = {report = new_report(), log = {}, begins = {}, records = {}, holes = {}, lossy = lossy}
    read_log(self, log)
    for _, client in ipairs(clients) do read_seen(self, client) end
    for _, client in ipairs(clients) do
        local go = client.protocol == "raw" and walk_raw or walk
        go(self, client, tops or {})
    end
    for topic, list in pairs(histories or {}) do check_history(self, topic, list) end
    count_lost(self, histories or {})
    return self.report
end

return check
