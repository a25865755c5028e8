-- publish.lua - appends and publishes a message of a plain backend, which sends only a payload.
--
-- HEAD     base.lua write.lua
-- KEYS     {<channel>}:log, {<channel>}:m
-- ARGV     payload, then any of: ID x, SIZE n, TTL s, COLLAPSE k, EXPIRES s
-- Returns  as append.lua
--
-- SIZE and TTL are remembered, as those of an instance are. Without them what the stream has counts,
-- else 100 messages and a day.
local ID_TTL = 300000

local cluster -- whether this Redis is part of a cluster: channels have slots there

local function publish_command()
    if cluster == nil then cluster = match(call("INFO", "cluster"), "cluster_enabled:1") ~= nil end
    return cluster and "SPUBLISH" or "PUBLISH"
end

local function is_id(text) return #text <= 128 and match(text, "^[%w_.@/:+=-]+$") end

-- The options as a table by name; or nil and the reason.
local function parse_options(args)
    local options = {}
    for i = 2, #args, 2 do
        local name, value = string.upper(args[i]), args[i + 1]
        if not value then return nil, "the option " .. name .. " has no value" end
        if name == "SIZE" or name == "TTL" or name == "EXPIRES" then
            local n = natural(value)
            if not n or n < 1 or n > 4294967 and name ~= "SIZE" or n > 1000000000 then
                return nil, name .. " must be a positive integer, in seconds at most 4294967"
            end
            value = name == "SIZE" and n or n * 1000
        elseif name == "ID" then
            if not is_id(value) then return nil, "an id has at most 128 of A-Z a-z 0-9 _ . @ - / : + =" end
        elseif name ~= "COLLAPSE" or #value > 255 or value == "" then
            return nil, "the options are ID, SIZE, TTL, COLLAPSE (at most 255 bytes) and EXPIRES"
        end
        options[name] = value
    end
    return options
end

local NONE = {}
local plain_head -- without an id and a ttl

local function publish_plain(keys, args)
    if not call then fetch() end
    local log, meta, payload = keys[1], keys[2], args[1]
    local channel = match(log, "^{([^{}]*)}:log$")
    if not channel or meta ~= "{" .. channel .. "}:m" then
        return error_reply("ERR the keys are {<channel>}:log and {<channel>}:m")
    end
    if not payload then return error_reply("ERR there is no payload") end
    local options, why = NONE
    if args[2] then
        options, why = parse_options(args)
        if not options then return error_reply("ERR " .. why) end
    end
    local id = options.ID or ""
    local head = plain_head
    if options ~= NONE or not head then
        head = make_head(DATA, BINARY, RAW + POSITION, #id, options.EXPIRES or 0)
        if options == NONE then plain_head = head end
    end
    if id ~= "" then payload = id .. payload end
    return store(log, meta, head, payload, id, publish_command(), options.COLLAPSE, nil, ID_TTL, options.SIZE,
        options.TTL)
end
