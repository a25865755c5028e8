-- The Redis side of the history: the text of its library and scripts as the build makes it
-- (src/backend/redis/embed.cmake), and the bytes of entries.
local history = {}

local FOLDER = "lua/redis/history/"

local function read_file(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local text = file:read "a"
    file:close()
    return text
end

-- The text of a file behind those that it names as its heads.
local function with_heads(name)
    local text = assert(read_file(FOLDER .. name))
    local parts = {}
    for head in text:match "\n%-%- HEAD +([a-z_. ]+)\n":gmatch "[^ ]+" do
        parts[#parts + 1] = read_file(FOLDER .. "head/" .. head) or assert(read_file(FOLDER .. head))
    end
    parts[#parts + 1] = text
    return table.concat(parts)
end

function history.library()
    return "#!lua name=bellhop\n" .. with_heads "library.lua"
end

-- For EVAL: append, begin, page, read or remove; publish is here for the tests only.
function history.script(name)
    return with_heads(name .. ".lua") .. "return " .. (name == "publish" and "publish_plain" or name) .. "(KEYS, ARGV)\n"
end

history.DATA, history.PURGE, history.TOMBSTONE = 0, 2, 3

-- An envelope as an instance sends it for an append: what is before the place of the position, and what is behind
-- it. ttl: ms.
function history.envelope(payload, id, ttl)
    return "\0bh1" .. string.pack(">BBBBBBI2I8I4", 0, 1, 8, 4, #(id or ""), 0, 0, 0, ttl or 0), "node" .. (id or "") .. payload
end

-- The parts of an entry or of another message with a position.
function history.parse(bytes)
    local magic, kind, opcode, flags, origin, id, _, filter, _, ttl, offset, epoch, at =
        string.unpack(">c4BBBBBBI2I8I4I8I8I8", bytes)
    assert(magic == "\0bh1" and flags & 8 ~= 0, "this is no message with a position")
    local from = 49 + origin
    return {kind = kind, opcode = opcode, raw = flags & 4 ~= 0, id = bytes:sub(from, from + id - 1), ttl = ttl,
        offset = offset, epoch = epoch, at = at, payload = bytes:sub(from + id + filter)}
end

return history
