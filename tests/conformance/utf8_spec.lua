-- The cases 6 (UTF-8) of the Autobahn test suite for servers, and many more sequences.
--
-- Invalid UTF-8 must end the connection with 1007 at the first invalid byte, even inside a frame. The
-- classifier of sequences.lua decides what is valid; it is compared with Lua's utf8 library.
-- BELLHOP_CONFORMANCE_PORT runs the cases against another echo server on this port.
package.path = "tests/conformance/?.lua;tests/support/?.lua;" .. package.path
local peer = require "peer"
local sequences = require "sequences"
local suite = require "suite"

local TEXT, CONTINUATION = peer.TEXT, peer.CONTINUATION
local frame = peer.frame

local function show(bytes)
    local start = bytes:sub(1, 16):gsub(".", function(c) return ("%02x "):format(c:byte()) end)
    return #bytes > 16 and start .. "..." or start
end

local function expect_verdict(p, bytes)
    if sequences.judge(bytes) == "valid" then p:expect(TEXT, bytes) else p:fails(1007) end
end

-- The text in one piece, byte by byte, and with a fragment for each byte.
local function whole(case, name, bytes)
    case(name .. ", a frame", function(p)
        p:text(bytes)
        expect_verdict(p, bytes)
    end)
    case(name .. ", a frame octet by octet", function(p)
        p:send(frame(TEXT, bytes), 1)
        expect_verdict(p, bytes)
    end)
    case(name .. ", a fragment for each octet", function(p)
        p:send(peer.fragments(TEXT, peer.cut(bytes, 1)))
        expect_verdict(p, bytes)
    end)
    local context = "κόσμε-" .. bytes .. "-ß edited"
    case(name .. ", with text around it", function(p)
        p:send(frame(TEXT, context), 7)
        expect_verdict(p, context)
    end)
end

-- Two fragments; the ping between them is answered if the first one can still be completed.
local function split(case, name, bytes)
    for at = 0, #bytes do
        local first, second = bytes:sub(1, at), bytes:sub(at + 1)
        case(("%s, two fragments of %d and %d"):format(name, #first, #second), function(p)
            p:send(frame(TEXT, first, {fin = false}) .. frame(peer.PING, "alive?"))
            if sequences.judge(first) ~= "invalid" then
                p:expect(peer.PONG, "alive?")
                p:send(frame(CONTINUATION, second))
            end
            expect_verdict(p, bytes)
        end)
    end
end

-- The connection fails at exactly this byte.
local function fail_fast(case, name, bytes)
    local verdict, at = sequences.judge(bytes)
    if verdict ~= "invalid" then return end
    local good, bad = bytes:sub(1, at - 1), bytes:sub(at, at)
    case(name .. ", 6.4.1 the bad octet in an unfinished message", function(p)
        p:send(frame(TEXT, "κόσμε", {fin = false}) .. frame(CONTINUATION, good, {fin = false}))
        p:ping "alive?"
        p:expect(peer.PONG, "alive?")
        p:send(frame(CONTINUATION, bad, {fin = false}))
        p:fails(1007)
    end)
    for _, length in ipairs {100, 1000, 100000} do
        case(("%s, 6.4.3 the bad octet in an unfinished frame of %d"):format(name, length), function(p)
            p:send(frame(TEXT, "κόσμε" .. good .. bad, {length = length, key = "\x12\x34\x56\x78"}))
            p:expect_close(1007)
            p:expect_end()
        end)
    end
    case(name .. ", 6.4.4 the bad octet in a write of its own", function(p)
        local unfinished = frame(TEXT, "κόσμε" .. good .. bad, {length = 1000, key = "\x12\x34\x56\x78"})
        p:send(unfinished:sub(1, -2))
        p:send(unfinished:sub(-1))
        p:expect_close(1007)
        p:expect_end()
    end)
end

describe("conformance: UTF-8", function()
    setup(function() suite.start() end)
    teardown(suite.stop)

    it("is classified as by Lua's utf8 library", function()
        local function compare(bytes)
            local verdict, at = sequences.judge(bytes)
            assert.are.equal(utf8.len(bytes) ~= nil, verdict == "valid", show(bytes))
            if at then assert.are_not.equal("invalid", (sequences.judge(bytes:sub(1, at - 1)))) end
        end
        for _, family in ipairs(sequences.families()) do
            for _, item in ipairs(family[2]) do compare(item[2]) end
        end
        for _, bytes in ipairs(sequences.boundaries()) do compare(bytes) end
        for code = 0, 0x10ffff, 31 do compare(utf8.char(code)) end
    end)

    it("6.1 accepts empty messages", suite.group(function(case)
        case("6.1.1 a frame", function(p)
            p:text ""
            p:expect(TEXT, "")
        end)
        for _, payloads in ipairs {{"", "", ""}, {"", "middle", ""}, {"", "κ", "", "", "ß"}} do
            case("6.1.2-6.1.3 " .. #payloads .. " fragments", function(p)
                p:send(peer.fragments(TEXT, payloads))
                p:expect(TEXT, table.concat(payloads))
            end)
        end
    end))

    for _, family in ipairs(sequences.families()) do
        it(family[1], suite.group(function(case)
            for _, item in ipairs(family[2]) do
                local name = item[1] .. " (" .. show(item[2]) .. ")"
                whole(case, name, item[2])
                fail_fast(case, name, item[2])
                if #item[2] <= 24 then split(case, name, item[2]) end
            end
        end))
    end

    it("6.4 fails fast in every fragment and frame", suite.group(function(case)
        fail_fast(case, "text", "\xf4\x90\x80\x80")
        case("6.4.2 in the second fragment, with more behind it", function(p)
            p:send(frame(TEXT, "κόσμε", {fin = false}) .. frame(CONTINUATION, "\xf4\x90", {fin = false}))
            p:expect_close(1007)
            p:send(frame(CONTINUATION, "\x80\x80edited"))
            p:expect_end()
        end)
        for at = 1, 40 do
            case("a bad octet at " .. at .. ", in the first of two writes", function(p)
                local bytes = frame(TEXT, ("x"):rep(at - 1) .. "\xc0" .. ("x"):rep(40))
                p:send(bytes:sub(1, 6 + at))
                p:expect_close(1007)
                p:send(bytes:sub(7 + at))
                p:expect_end()
            end)
        end
        for _, size in ipairs {4096, 65536, 300000} do
            case("a bad octet in the middle of " .. size, function(p)
                local half = suite.text(size // 2)
                p:send(frame(TEXT, half .. "\xff", {length = size, key = "\0\0\0\0"}))
                p:expect_close(1007)
                p:send(half:sub(2))
                p:expect_end()
            end)
        end
    end))

    it("6.22 accepts every character, cut anywhere", suite.group(function(case)
        local code, block = 0, 4096
        while code < 0x110000 do
            local characters = {}
            for c = code, code + block - 1 do
                if c < 0xd800 or c > 0xdfff then characters[#characters + 1] = utf8.char(c) end
            end
            local text = table.concat(characters)
            case(("U+%04X and those that follow"):format(code), function(p)
                p:text(text)
                p:expect(TEXT, text)
                p:send(peer.fragments(TEXT, peer.cut(text, math.random(100, 1000))), math.random(1000, 5000))
                p:expect(TEXT, text)
            end)
            code = code + block
        end
    end))

    it("accepts valid and refuses invalid sequences at all boundaries", suite.group(function(case)
        for _, bytes in ipairs(sequences.boundaries()) do
            case(show(bytes), function(p)
                p:text("x" .. bytes)
                expect_verdict(p, "x" .. bytes)
            end)
            case(show(bytes) .. "octet by octet", function(p)
                p:send(frame(TEXT, bytes .. "y", {key = "\1\2\3\4"}), 1)
                expect_verdict(p, bytes .. "y")
            end)
        end
    end))
end)
