-- The largest distance in a DEFLATE stream (RFC 1951), which zlib's inflate does not return. Slow and
-- simple: it decodes the symbols without producing output.
local LENGTH_EXTRA = {[0] = 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
local ORDER = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

local function reader(bytes)
    local at, held, count = 1, 0, 0
    local r = {}
    function r.bits(n)
        while count < n do
            held = held | assert(bytes:byte(at), "truncated DEFLATE stream") << count
            at, count = at + 1, count + 8
        end
        local value = held & ((1 << n) - 1)
        held, count = held >> n, count - n
        return value
    end
    function r.skip_stored()
        held, count = 0, 0
        local n, complement = string.unpack("<I2I2", bytes, at)
        assert(n ~ complement == 0xffff, "stored block with a wrong length")
        at = at + 4 + n
    end
    function r.at_end() return at > #bytes and count < 3 end
    return r
end

-- lengths: symbol -> bits of its code. Returns a function that reads one symbol.
local function decoder(r, lengths)
    local count, first, symbols, code = {}, {}, {}, 0
    for bits = 1, 15 do count[bits] = 0 end
    for _, bits in pairs(lengths) do
        if bits > 0 then count[bits] = count[bits] + 1 end
    end
    for bits = 1, 15 do
        first[bits], symbols[bits] = code, {}
        code = (code + count[bits]) << 1
    end
    for symbol = 0, 287 do
        local bits = lengths[symbol]
        if bits and bits > 0 then table.insert(symbols[bits], symbol) end
    end
    return function()
        local value = 0
        for bits = 1, 15 do
            value = value << 1 | r.bits(1)
            local symbol = symbols[bits][value - first[bits] + 1]
            if symbol then return symbol end
        end
        error "no code of the DEFLATE stream's block"
    end
end

local function fixed(r)
    local lengths, distances = {}, {}
    for symbol = 0, 287 do
        lengths[symbol] = symbol < 144 and 8 or symbol < 256 and 9 or symbol < 280 and 7 or 8
    end
    for symbol = 0, 29 do distances[symbol] = 5 end
    return decoder(r, lengths), decoder(r, distances)
end

local function dynamic(r)
    local literals, distances, n = r.bits(5) + 257, r.bits(5) + 1, r.bits(4) + 4
    local lengths = {}
    for i = 1, n do lengths[ORDER[i]] = r.bits(3) end
    local next_length, all = decoder(r, lengths), {}
    while #all < literals + distances do
        local symbol = next_length()
        local value, times = symbol, 1
        if symbol == 16 then
            value, times = all[#all], 3 + r.bits(2)
        elseif symbol > 16 then
            value, times = 0, symbol == 17 and 3 + r.bits(3) or 11 + r.bits(7)
        end
        for _ = 1, times do all[#all + 1] = value end
    end
    local of_literals, of_distances = {}, {}
    for i = 1, literals do of_literals[i - 1] = all[i] end
    for i = 1, distances do of_distances[i - 1] = all[literals + i] end
    return decoder(r, of_literals), decoder(r, of_distances)
end

local function distance_of(r, symbol)
    if symbol < 4 then return symbol + 1 end
    local extra = symbol // 2 - 1
    return ((2 + symbol % 2) << extra) + r.bits(extra) + 1
end

local function farthest_of_block(r, next_literal, next_distance)
    local farthest = 0
    while true do
        local symbol = next_literal()
        if symbol == 256 then return farthest end
        if symbol > 256 then
            r.bits(LENGTH_EXTRA[symbol - 257])
            farthest = math.max(farthest, distance_of(r, next_distance()))
        end
    end
end

-- bytes: the payload of one compressed message.
return function(bytes)
    local r = reader(bytes .. "\0\0\xff\xff")
    local farthest = 0
    while not r.at_end() do
        r.bits(1)
        local kind = r.bits(2)
        if kind == 0 then
            r.skip_stored()
        else
            farthest = math.max(farthest, farthest_of_block(r, (kind == 1 and fixed or dynamic)(r)))
        end
    end
    return farthest
end
