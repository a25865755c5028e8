-- Valid and invalid UTF-8 sequences: those of Markus Kuhn's stress test as used by the Autobahn test
-- suite, and generated ones; and a classifier after table 3-7 of the Unicode standard (well-formed byte
-- sequences).
local sequences = {}

local CONT = {0x80, 0xbf}
local WELL_FORMED = {
    {{0x00, 0x7f}},
    {{0xc2, 0xdf}, CONT},
    {{0xe0, 0xe0}, {0xa0, 0xbf}, CONT},
    {{0xe1, 0xec}, CONT, CONT},
    {{0xed, 0xed}, {0x80, 0x9f}, CONT},
    {{0xee, 0xef}, CONT, CONT},
    {{0xf0, 0xf0}, {0x90, 0xbf}, CONT, CONT},
    {{0xf1, 0xf3}, CONT, CONT, CONT},
    {{0xf4, 0xf4}, {0x80, 0x8f}, CONT, CONT},
}

local function within(range, byte) return byte >= range[1] and byte <= range[2] end

local function row_of(byte)
    for _, row in ipairs(WELL_FORMED) do
        if within(row[1], byte) then return row end
    end
    return nil
end

-- "valid"; "incomplete" if more bytes could complete it; or "invalid" and the index of the first byte
-- after which that is impossible.
function sequences.judge(bytes)
    local i = 1
    while i <= #bytes do
        local row = row_of(bytes:byte(i))
        if not row then return "invalid", i end
        for k = 2, #row do
            local byte = bytes:byte(i + k - 1)
            if not byte then return "incomplete" end
            if not within(row[k], byte) then return "invalid", i + k - 1 end
        end
        i = i + #row
    end
    return "valid"
end

local function bytes_from(...) return string.char(...) end

local function range(from, to)
    local list = {}
    for byte = from, to do list[#list + 1] = byte end
    return list
end

local function prefixes(name, bytes)
    local list = {}
    for n = 1, #bytes do list[n] = {name .. ", the first " .. n, bytes:sub(1, n)} end
    return list
end

local function named(name, items)
    local list = {}
    for i, bytes in ipairs(items) do list[i] = {name .. " " .. i, bytes} end
    return list
end

-- The smallest and the largest sequence of each length, up to the 6 bytes of early UTF-8.
local FIRST = {"\0", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"}
local LAST = {
    "\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf",
    "\xf4\x8f\xbf\xbf",
}

local function unexpected_continuations()
    local list = {"\x80", "\xbf"}
    for n = 2, 7 do list[#list + 1] = ("\x80\xbf"):rep(4):sub(1, n) end
    list[#list + 1] = bytes_from(table.unpack(range(0x80, 0xbf)))
    return list
end

-- Each lead byte of a row followed by a space, all together, and one by one.
local function lonely_leads()
    local list = {}
    for _, row in ipairs {{0xc0, 0xdf}, {0xe0, 0xef}, {0xf0, 0xf7}, {0xf8, 0xfb}, {0xfc, 0xfd}} do
        local all = ""
        for byte = row[1], row[2] do
            all = all .. string.char(byte) .. " "
            list[#list + 1] = string.char(byte) .. " "
            list[#list + 1] = string.char(byte)
        end
        list[#list + 1] = all
    end
    return list
end

local function without_last_byte()
    local list = {}
    for _, of in ipairs {FIRST, LAST} do
        for n = 2, 6 do list[#list + 1] = of[n]:sub(1, -2) end
    end
    list[#list + 1] = table.concat(list) -- 6.15, their concatenation
    return list
end

-- Encoded surrogates, alone and in pairs.
local function surrogate(code) return utf8.char(code) end

local function surrogates()
    local singles, pairs_of = {0xd800, 0xdb7f, 0xdb80, 0xdbff, 0xdc00, 0xdf80, 0xdfff}, {}
    local list = {}
    for _, code in ipairs(singles) do list[#list + 1] = surrogate(code) end
    for _, high in ipairs {0xd800, 0xdb7f, 0xdb80, 0xdbff} do
        for _, low in ipairs {0xdc00, 0xdfff} do pairs_of[#pairs_of + 1] = surrogate(high) .. surrogate(low) end
    end
    return list, pairs_of
end

-- Valid noncharacters: U+FDD0..U+FDEF and the last two of each plane.
local function noncharacters()
    local list = {}
    for code = 0xfdd0, 0xfdef do list[#list + 1] = utf8.char(code) end
    for plane = 0, 16 do
        list[#list + 1] = utf8.char(plane << 16 | 0xfffe)
        list[#list + 1] = utf8.char(plane << 16 | 0xffff)
    end
    return list
end

-- Families of {name, bytes}, by the numbers of the suite.
function sequences.families()
    local kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
    local single, paired = surrogates()
    return {
        {"6.2 valid text", named("text", {"Hello-µ@ßöäüàá-UTF-8!!", kosme, "日本語", "\u{1f600}\u{1f3fd}", "a\0b"})},
        {"6.3 a surrogate inside", {{"text", kosme .. "\xed\xa0\x80edited"}}},
        {"6.5 a Greek word", prefixes("kosme", kosme)},
        {"6.6 all prefixes", prefixes("text", "\xc2\xa2\xe2\x82\xac\xf0\xa4\xad\xa2\x24")},
        {"6.7-6.8 the first of each length", named("length", FIRST)},
        {"6.9-6.10 the last of each length", named("length", LAST)},
        {"6.11 other boundaries", named("boundary", {
            "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        })},
        {"6.12 unexpected continuations", named("bytes", unexpected_continuations())},
        {"6.13 lonely first bytes", named("bytes", lonely_leads())},
        {"6.14-6.15 without the last byte", named("bytes", without_last_byte())},
        {"6.16 impossible bytes", named("bytes", {"\xfe", "\xff", "\xfe\xfe\xff\xff"})},
        {"6.17 overlong ASCII", named("slash", {
            "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf",
        })},
        {"6.18 the largest overlong ones", named("length", {
            "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf",
        })},
        {"6.19 overlong NUL", named("length", {
            "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80",
        })},
        {"6.20 single surrogates", named("surrogate", single)},
        {"6.21 paired surrogates", named("pair", paired)},
        {"6.22 noncharacters", named("noncharacter", noncharacters())},
        {"6.23 replacement characters", named("character", {"\xef\xbf\xb9", "\xef\xbf\xbc", "\xef\xbf\xbd", "\xef\xbf\xbe"})},
    }
end

-- Sequences of four boundary bytes, cut after the first well-formed character or the first error; each
-- sequence once.
function sequences.boundaries()
    local leads = {
        0x00, 0x41, 0x7f, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3,
        0xf4, 0xf5, 0xf7, 0xf8, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
    }
    local seconds = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xe0, 0xff}
    local others = {0x7f, 0x80, 0xbf, 0xc0}
    local list, seen = {}, {}
    for _, a in ipairs(leads) do
        for _, b in ipairs(seconds) do
            for _, c in ipairs(others) do
                for _, d in ipairs(others) do
                    local bytes = string.char(a, b, c, d)
                    local _, at = sequences.judge(bytes)
                    local short = bytes:sub(1, at or 4)
                    if not seen[short] then
                        seen[short] = true
                        list[#list + 1] = short
                    end
                end
            end
        end
    end
    return list
end

return sequences
