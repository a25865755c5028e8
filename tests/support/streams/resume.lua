-- The text of where a client is in its streams: `1.<hash>:<epoch>-<offset>,...` (core/resume.h).
local resume = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local hashes = {}

local function hash(name)
    local h = 0xcbf29ce484222325
    for i = 1, #name do h = (h ~ name:byte(i)) * 0x100000001b3 end
    h = (h ~ h >> 33) * 0xff51afd7ed558ccd
    h = (h ~ h >> 33) * 0xc4ceb9fe1a85ec53
    h = h ~ h >> 33
    local digits = {}
    for i = 11, 1, -1 do
        local digit = (h & 63) + 1
        digits[i], h = ALPHABET:sub(digit, digit), h >> 6
    end
    return table.concat(digits)
end

-- Of the name of a topic, "user:42".
function resume.hash(name)
    hashes[name] = hashes[name] or hash(name)
    return hashes[name]
end

-- "<epoch>-<offset>": {epoch, offset}, or nil.
function resume.position(text)
    local epoch, offset = tostring(text):match "^(%d+)%-(%d+)$"
    return epoch and {epoch = math.tointeger(tonumber(epoch)), offset = math.tointeger(tonumber(offset))}
end

-- hash -> position; nil and why if it is none.
function resume.parse(text)
    local rest = text:match "^1%.(.*)$"
    if not rest then return nil, "no version 1" end
    local all = {}
    for part in rest:gmatch "[^,]+" do
        local h, position = part:match "^([%w_-]+):(.*)$"
        local p = position and resume.position(position)
        if not p or #h ~= 11 or all[h] then return nil, "malformed: " .. part end
        all[h] = p
    end
    return all
end

-- positions: topic -> position.
function resume.format(positions)
    local parts = {}
    for topic, p in pairs(positions) do
        parts[#parts + 1] = ("%s:%d-%d"):format(resume.hash(topic), p.epoch, p.offset)
    end
    return "1." .. table.concat(parts, ",")
end

function resume.show(p) return p and ("%d-%d"):format(p.epoch, p.offset) or "nowhere" end

return resume
