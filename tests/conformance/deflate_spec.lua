-- The cases 12 and 13 (permessage-deflate) of the Autobahn test suite for servers, the examples of
-- RFC 7692, and what a server must refuse.
--
-- BELLHOP_CONFORMANCE_SCALE (default 1) multiplies the numbers of messages;
-- BELLHOP_CONFORMANCE_PORT runs the cases against another echo server on this port.
package.path = "tests/conformance/?.lua;tests/support/?.lua;" .. package.path
local distances = require "distances"
local peer = require "peer"
local suite = require "suite"

local TEXT, BINARY, CONTINUATION, CLOSE = peer.TEXT, peer.BINARY, peer.CONTINUATION, peer.CLOSE
local frame = peer.frame

local HINTS = "permessage-deflate; client_no_context_takeover; client_max_window_bits"
local BROWSER = "permessage-deflate; client_max_window_bits"

-- --- content of messages ---

local SOURCE = 256 * 1024

local function fill(piece)
    local parts, size = {}, 0
    while size < SOURCE do
        parts[#parts + 1] = piece(#parts)
        size = size + #parts[#parts]
    end
    return table.concat(parts)
end

local WORDS = {
    "the", "gateway", "delivers", "every", "message", "to", "all", "devices", "of", "a", "user", "and", "nobody",
    "else", "gets", "it", "however", "many", "instances", "there", "are", "Habe", "nun", "ach", "Philosophie",
}

local contents = {
    {"12.1 JSON", TEXT, fill(function(i)
        return ('{"id":%d,"user":"user-%d","topics":["news","weather/%d"],"read":%s,"score":%.3f},\n'):format(
            i, math.random(9999), math.random(99), math.random(2) == 1, math.random())
    end)},
    {"12.2 a bitmap", BINARY, fill(function(i)
        local row = {}
        for x = 1, 64 do row[x] = string.char((x * 2 + i + math.random(0, 3)) & 0xff) end
        return table.concat(row)
    end)},
    {"12.3 words", BINARY, fill(function(i) return WORDS[math.random(#WORDS)] .. (i % 9 == 8 and ".\n" or " ") end)},
    {"12.4 HTML", TEXT, fill(function(i)
        return ('<li class="%s"><a href="/item/%d">%s</a></li>\n'):format(i % 2 == 0 and "even" or "odd", i,
            WORDS[math.random(#WORDS)])
    end)},
    {"12.5 noise", BINARY, suite.random_bytes(SOURCE)},
}

-- {size, bytes in a fragment (0: one frame)}
local sizes = {}
for _, size in ipairs {16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072} do
    for _, fragment in ipairs {0, 256, 1024, 4096, 32768} do
        if fragment == 0 or (size >= 8192 and fragment < size) then sizes[#sizes + 1] = {size, fragment} end
    end
end

-- --- helpers ---

local function echo(p, opcode, payload, fragment)
    p:send(p:message(opcode, payload, fragment))
    return p:expect(opcode, payload)
end

-- A case on a connection that compresses.
local function compressed(case, name, offer, fn)
    case(name, function(p)
        if not p.deflating then error("the server does not negotiate permessage-deflate", 0) end
        fn(p)
    end, offer)
end

-- Messages of all sizes, each from another place of the same content.
local function echo_all(case, name, offer, content)
    for _, size in ipairs(sizes) do
        local n, fragment = size[1], size[2]
        local count = suite.count(math.min(math.max(60000 // n, 2), 12), 2)
        compressed(case, ("%s, %d messages of %d in fragments of %d"):format(name, count, n, fragment), offer, function(p)
            local smaller = false
            for i = 1, count do
                local from = (i * 7919) % (SOURCE - n) + 1
                local answer = echo(p, content[2], content[3]:sub(from, from + n - 1), fragment)
                smaller = smaller or #answer.wire < n
            end
            if n >= 1024 and content[3] ~= contents[5][3] and not smaller then
                error("the server negotiated compression and does not compress", 0)
            end
        end)
    end
    collectgarbage()
end

-- --- the cases ---

local offers = {
    {"13.1 nothing asked for", HINTS},
    {"13.2 server_no_context_takeover", HINTS .. "; server_no_context_takeover"},
    {"13.3 a server's window of 9", HINTS .. "; server_max_window_bits=9"},
    {"13.4 a server's window of 15", HINTS .. "; server_max_window_bits=15"},
    {"13.5 both, 9", HINTS .. "; server_no_context_takeover; server_max_window_bits=9"},
    {"13.6 both, 15", HINTS .. "; server_no_context_takeover; server_max_window_bits=15"},
    {"13.7 three offers", table.concat({
        HINTS .. "; server_no_context_takeover; server_max_window_bits=9",
        HINTS .. "; server_no_context_takeover", HINTS,
    }, ", ")},
    {"no parameters", "permessage-deflate"},
    {"a browser's", BROWSER},
    {"client_no_context_takeover", "permessage-deflate; client_no_context_takeover"},
    {"a client's window of 9", "permessage-deflate; client_max_window_bits=9"},
    {"a client's window of 15", "permessage-deflate; client_max_window_bits=15"},
    {"windows of 10 and 12", "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12"},
    {"everything", "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        .. "server_max_window_bits=11; client_max_window_bits=11"},
    {"a quoted value", 'permessage-deflate; server_max_window_bits="12"'},
    {"blanks everywhere", "permessage-deflate ;  server_max_window_bits = 12 ; client_max_window_bits"},
    {"an unknown extension first", "x-webkit-deflate-frame, permessage-deflate"},
    {"an unknown parameter in the first offer", "permessage-deflate; gzip, permessage-deflate; client_max_window_bits"},
    {"an impossible window in the first offer", "permessage-deflate; server_max_window_bits=16, permessage-deflate"},
}

-- Offers that a server must decline.
local declined = {
    "permessage-gzip", "permessage-deflate; unknown", "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=7", "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=09", "permessage-deflate; server_max_window_bits=abc",
    "permessage-deflate; client_max_window_bits=7", "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=", "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; server_max_window_bits=+10", "permessage-deflate; server_max_window_bits=-10",
    "permessage-deflate; server_max_window_bits=4294967306", "permessage-deflate; server_max_window_bits=10.0",
    "permessage-deflate; server_no_context_takeover=1", "permessage-deflate; client_no_context_takeover=true",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
}

-- Random text of 16 letters with blocks repeated from increasing distances: a larger window compresses
-- it better.
local function far_repeats()
    local function letters(n) return (suite.random_bytes(n):gsub(".", function(c) return ("%x"):format(c:byte() & 15) end)) end
    local block = letters(120)
    local parts = {block}
    for _, gap in ipairs {100, 300, 700, 1500, 3000, 6000, 12000} do
        parts[#parts + 1] = letters(gap)
        parts[#parts + 1] = block
    end
    return table.concat(parts)
end

local function cases(takes_over)

    for _, content in ipairs(contents) do
        it(content[1], suite.group(function(case) echo_all(case, content[1], HINTS, content) end))
    end

    for i, offer in ipairs(offers) do
        it((i < 8 and "" or "13 ") .. offer[1], suite.group(function(case)
            echo_all(case, offer[1], offer[2], contents[1])
        end))
    end

    it("13 declines invalid offers, and continues without compression", suite.group(function(case)
        for _, offer in ipairs(declined) do
            case(offer, function(p)
                if p.deflating then error("accepted: " .. p.answer, 0) end
                local payload = contents[1][3]:sub(1, 5000)
                p:text(payload)
                p:expect(TEXT, payload)
                p:send(frame(TEXT, "x", {rsv = 4}))
                p:fails(1002)
            end, offer)
        end
        case("a window of 8, which may be declined", function(p)
            local payload = far_repeats()
            for _ = 1, 3 do
                local answer = echo(p, TEXT, payload)
                if answer.compressed then assert(distances(answer.wire) <= 256, "a larger window") end
            end
        end, "permessage-deflate; server_max_window_bits=8")
    end))

    it("13 stays within the negotiated window", suite.group(function(case)
        for bits = 9, 15 do
            for _, rest in ipairs {"", "; server_no_context_takeover"} do
                local offer = ("permessage-deflate; server_max_window_bits=%d%s"):format(bits, rest)
                compressed(case, offer, offer, function(p)
                    for _ = 1, 3 do
                        local answer = echo(p, TEXT, far_repeats())
                        if not answer.compressed then error("not compressed", 0) end
                        local farthest, window = distances(answer.wire), 1 << p.deflating.server_bits
                        if farthest > window then
                            error(("distance of %d bytes with a window of %d"):format(farthest, window), 0)
                        end
                    end
                end)
            end
        end
    end))

    it("13 takes over the context if both sides agreed", suite.group(function(case)
        for i, offer in ipairs {"permessage-deflate", BROWSER, "permessage-deflate; server_no_context_takeover"} do
            compressed(case, offer, offer, function(p)
                local expected = takes_over and i < 3
                if p.deflating.server_takeover ~= expected then error("answered: " .. p.answer, 0) end
                local payload = far_repeats():sub(1, 6000)
                echo(p, TEXT, payload)
                local again = echo(p, TEXT, payload)
                if #again.wire < 500 ~= expected then error(("a repetition takes %d bytes"):format(#again.wire), 0) end
            end)
        end
    end))

    it("13 keeps the whole window of a client with the largest one", suite.group(function(case)
        for _, offer in ipairs {"permessage-deflate", BROWSER, HINTS} do
            compressed(case, offer, offer, function(p)
                local block = suite.random_bytes(900)
                local gap = (1 << p.deflating.client_bits) - 2000
                for _ = 1, 4 do
                    echo(p, BINARY, block .. suite.random_bytes(math.max(gap, 10)) .. block)
                    echo(p, BINARY, block)
                end
            end)
        end
    end))

    it("12 accepts the examples of RFC 7692, whole and cut anywhere", suite.group(function(case)
        local examples = {
            {"7.2.3.1 one block", "\xf2\x48\xcd\xc9\xc9\x07\x00"},
            {"7.2.3.3 no compression", "\x00\x05\x00\xfa\xffHello\x00"},
            {"7.2.3.4 BFINAL", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"},
            {"7.2.3.5 two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"},
        }
        for _, example in ipairs(examples) do
            local bytes = example[2]
            for at = 0, #bytes do
                compressed(case, ("%s, cut at %d"):format(example[1], at), HINTS, function(p)
                    for _ = 1, 3 do
                        p:send(peer.fragments(TEXT, {bytes:sub(1, at), bytes:sub(at + 1)}, 4), 3)
                        p:expect(TEXT, "Hello")
                    end
                end)
            end
            compressed(case, example[1] .. ", a fragment for each octet, with pings between", HINTS, function(p)
                for i = 1, #bytes do
                    p:send(frame(i == 1 and TEXT or CONTINUATION, bytes:sub(i, i), {fin = i == #bytes, rsv = i == 1 and 4 or 0}))
                    if i < #bytes then
                        p:ping("ping " .. i)
                        p:expect(peer.PONG, "ping " .. i)
                    end
                end
                p:expect(TEXT, "Hello")
            end)
        end
        for _, bytes in ipairs {"\0", "\2\0", "\3\0\0", "\1\0\0\xff\xff\0", "\0\0\0\xff\xff\0"} do
            compressed(case, ("7.2.3.6 an empty message as %q"):format(bytes), HINTS, function(p)
                p:send(frame(TEXT, bytes, {rsv = 4}))
                p:expect(TEXT, "")
                echo(p, TEXT, "Hello")
            end)
        end
        compressed(case, "7.2.3.2 the window of the message before", "permessage-deflate", function(p)
            p:send(frame(TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", {rsv = 4}))
            p:expect(TEXT, "Hello")
            p:send(frame(TEXT, "\xf2\x00\x11\x00\x00", {rsv = 4}))
            if p.deflating.client_takeover then p:expect(TEXT, "Hello") else p:fails(1007) end
        end)
    end))

    it("12 accepts uncompressed messages between compressed ones", suite.group(function(case)
        for _, offer in ipairs {HINTS, BROWSER, "permessage-deflate", "permessage-deflate; server_no_context_takeover"} do
            compressed(case, offer, offer, function(p)
                for i = 1, 60 do
                    local content = contents[i % #contents + 1]
                    local payload = content[3]:sub(i * 100, i * 100 + math.random(0, 3000))
                    if math.random(2) == 1 then
                        p:send(peer.fragments(content[2], peer.cut(payload, math.random(0, 2) * 500)))
                        p:expect(content[2], payload)
                    else
                        echo(p, content[2], payload, math.random(0, 2) * 500)
                    end
                end
                echo(p, TEXT, "")
                echo(p, BINARY, "")
            end)
        end
    end))

    it("12 never compresses control frames", suite.group(function(case)
        compressed(case, "pings", HINTS, function(p)
            for n = 0, 125 do
                local payload = ("a"):rep(n)
                p:send(frame(TEXT, "\xf2\x48", {fin = false, rsv = 4}))
                p:ping(payload)
                assert(not p:expect(peer.PONG, payload).compressed)
                p:send(frame(CONTINUATION, "\xcd\xc9\xc9\x07\x00"))
                p:expect(TEXT, "Hello")
            end
        end)
        compressed(case, "a close frame with a long reason", HINTS, function(p) p:close(1000, ("a"):rep(123)) end)
    end))

    it("12 refuses reserved bits without a meaning", suite.group(function(case)
        local bad = {}
        for rsv = 1, 7 do
            for name, opcode in pairs {close = CLOSE, ping = peer.PING, pong = peer.PONG, continuation = CONTINUATION} do
                local before = opcode == CONTINUATION and frame(TEXT, "\xf2\x48", {rsv = 4, fin = false}) or ""
                bad[#bad + 1] = {("%s with %d"):format(name, rsv), before .. frame(opcode, "", {rsv = rsv})}
            end
            if rsv ~= 4 then bad[#bad + 1] = {"text with " .. rsv, frame(TEXT, "\0", {rsv = rsv})} end
        end
        bad[#bad + 1] = {"RSV1 on the second fragment only",
            frame(TEXT, "Hello", {fin = false}) .. frame(CONTINUATION, "\0", {rsv = 4})}
        for _, one in ipairs(bad) do
            compressed(case, one[1], HINTS, function(p)
                p:send(one[2])
                p:fails(1002)
            end)
        end
    end))

    -- RFC 7692 does not specify the code; both blame the client.
    local function fails_somehow(p, answer)
        local code = answer and answer.opcode == CLOSE and string.unpack(">I2", answer.payload)
        if code ~= 1002 and code ~= 1007 then
            error(("expected close 1002 or 1007, got %s"):format(code or answer and "a message" or "nothing"), 0)
        end
        p:send(peer.close_frame(code))
        p:expect_end()
    end

    -- Legal: only the sender has a disadvantage.
    local function beside_a_witness(p, offer, bytes, check)
        local witness = suite.connect(offer)
        echo(witness, TEXT, "Hello, witness! Hello, witness!")
        p:send(frame(BINARY, bytes, {rsv = 4}))
        check(p, (p:receive()))
        echo(witness, TEXT, "Hello, witness! Hello, witness!")
        witness:close(1000)
    end

    it("12 refuses invalid DEFLATE data", suite.group(function(case)
        local bad = {
            {"a reserved block type", "\xff\xff\xff\xff"}, {"a wrong stored length", "\x00\x05\x00\x00\x00Hello"},
            {"a distance before the beginning", "\x03\x02\x00"}, {"a bad code table", "\xfd\xff\xff\xff\xff\xff\xff\xff"},
            {"noise", "\x07" .. suite.random_bytes(50000)},
        }
        -- Not an error for zlib itself.
        local doubtful = {
            {"nothing at all", ""}, {"a block cut off", "\xf2\x48\xcd"}, {"a final block without an empty one", "\3\0"},
            {"bytes behind the final block", "\xf3\x48\xcd\xc9\xc9\x07\x00\xff\xff"},
        }
        for _, offer in ipairs {HINTS, "permessage-deflate"} do
            for _, one in ipairs(bad) do
                compressed(case, one[1] .. ": " .. offer, offer, function(p)
                    beside_a_witness(p, offer, one[2], fails_somehow)
                end)
            end
            for _, one in ipairs(doubtful) do
                compressed(case, one[1] .. ": " .. offer, offer, function(p)
                    beside_a_witness(p, offer, one[2], function(_, answer)
                        if not answer or answer.opcode ~= BINARY then fails_somehow(p, answer) end
                    end)
                end)
            end
        end
    end))

    it("12 requires UTF-8 inside, too", suite.group(function(case)
        for _, bytes in ipairs {"\xff", "Hello \xc0\xaf", "\xed\xa0\x80", "cut \xc3", ("x"):rep(70000) .. "\xf4\x90\x80\x80"} do
            for _, fragment in ipairs {0, 1, 1000} do
                if fragment ~= 1 or #bytes < 100 then
                    compressed(case, ("%d bytes in fragments of %d"):format(#bytes, fragment), HINTS, function(p)
                        p:send(p:message(TEXT, bytes, fragment))
                        p:fails(1007)
                    end)
                end
            end
            compressed(case, "the same as binary, " .. #bytes, HINTS, function(p) echo(p, BINARY, bytes) end)
        end
        compressed(case, "characters cut by fragments", HINTS, function(p)
            for n = 1, 12 do echo(p, TEXT, suite.text(500), n) end
        end)
    end))

    it("12 echoes large messages, and refuses messages that inflate beyond the limit", suite.group(function(case)
        local MIB = 1024 * 1024
        for _, n in ipairs {MIB, 4 * MIB, 16 * MIB} do
            compressed(case, n // MIB .. " MiB", BROWSER, function(p) echo(p, TEXT, suite.text(n), 0) end)
        end
        for _, fragment in ipairs {0, 4 * MIB} do
            compressed(case, "16 MiB and a byte, in fragments of " .. fragment, HINTS, function(p)
                p:send(p:message(BINARY, ("\0"):rep(16 * MIB + 1), fragment))
                p:fails(1009)
            end)
        end
        collectgarbage()
    end))

    it("12 sends broadcasts between its replies", suite.group(function(case)
        for _, offer in ipairs {HINTS, BROWSER, "permessage-deflate; server_max_window_bits=9"} do
            compressed(case, offer, offer, function(p)
                local other = suite.connect "permessage-deflate"
                for i = 1, 30 do
                    local payload = contents[1][3]:sub(i * 100, i * 100 + 3000)
                    local n = i % 3 == 0 and 1 or 3000
                    if suite.broadcast(payload:sub(1, n)) then
                        p:expect(TEXT, payload:sub(1, n))
                        other:expect(TEXT, payload:sub(1, n))
                    end
                    echo(p, TEXT, payload)
                    echo(other, TEXT, payload:reverse())
                end
                other:close(1000)
            end)
        end
    end))

    it("12 has a context for each connection", suite.group(function(case)
        for _, offer in ipairs {HINTS, BROWSER, "permessage-deflate"} do
            compressed(case, offer, offer, function(p)
                local peers = {p}
                for i = 2, 20 do peers[i] = suite.connect(i % 3 == 0 and HINTS or offer) end
                for round = 1, suite.count(10, 3) do
                    for i, one in ipairs(peers) do
                        local from = (i * 1000 + round * 50) % 200000
                        one:send(one:message(TEXT, contents[1][3]:sub(from, from + 2000 + i), round % 2 * 700))
                    end
                    for i, one in ipairs(peers) do
                        local from = (i * 1000 + round * 50) % 200000
                        one:expect(TEXT, contents[1][3]:sub(from, from + 2000 + i))
                    end
                end
                for i = 2, #peers do peers[i]:close(1000) end
            end)
        end
    end))
end

-- The default of the server, and the other configuration.
local modes = {
    {"without context takeover", {}, false},
    {"with context takeover", {
        BELLHOP_WEBSOCKET_COMPRESSION = "takeover", BELLHOP_WEBSOCKET_COMPRESSION_THRESHOLD = "0",
        BELLHOP_WEBSOCKET_COMPRESSION_LEVEL = "6",
    }, true},
}
for _, mode in ipairs(modes) do
    describe("conformance: permessage-deflate " .. mode[1], function()
        setup(function() suite.start(mode[2]) end)
        teardown(suite.stop)
        cases(mode[3])
    end)
end
