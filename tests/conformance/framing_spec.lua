-- The cases 1 (framing), 2 (pings and pongs), 3 (reserved bits), 4 (opcodes), 5 (fragmentation) and
-- 10 (fragments of odd sizes) of the Autobahn test suite for servers, and random sequences of frames.
--
-- BELLHOP_CONFORMANCE_SCALE (default 1) multiplies the numbers of messages and random cases;
-- BELLHOP_CONFORMANCE_PORT runs the cases against another echo server on this port.
package.path = "tests/conformance/?.lua;tests/support/?.lua;" .. package.path
local peer = require "peer"
local suite = require "suite"

local TEXT, BINARY, CONTINUATION = peer.TEXT, peer.BINARY, peer.CONTINUATION
local CLOSE, PING, PONG = peer.CLOSE, peer.PING, peer.PONG
local frame = peer.frame

local kinds = {text = TEXT, binary = BINARY}

-- How frames are written: all at once, one by one, byte by byte.
local ways = {
    {"at once", function(p, frames) p:send(table.concat(frames)) end},
    {"frame by frame", function(p, frames) for _, bytes in ipairs(frames) do p:send(bytes) end end},
    {"byte by byte", function(p, frames) p:send(table.concat(frames), 1) end},
}

describe("conformance: framing", function()
    setup(function() suite.start() end)
    teardown(suite.stop)

    it("1 echoes text and binary of all lengths", suite.group(function(case)
        for name, opcode in pairs(kinds) do
            for _, n in ipairs {0, 1, 124, 125, 126, 127, 128, 65535, 65536, 65537} do
                local payload = opcode == TEXT and suite.text(n) or suite.random_bytes(n)
                for _, chop in ipairs {0, 1, 997} do
                    if chop ~= 1 or n <= 128 then
                        case(("1 %s of %d bytes, writes of %d"):format(name, n, chop), function(p)
                            p:send(frame(opcode, payload, {key = "\xa5\x01\xff\x80"}), chop > 0 and chop or nil)
                            p:expect(opcode, payload)
                        end)
                    end
                end
            end
        end
    end))

    it("2 answers pings with their payload, in order, and no pongs", suite.group(function(case)
        for n = 0, 125 do
            local payload = n % 2 == 0 and suite.random_bytes(n) or ("*"):rep(n)
            for _, chop in ipairs {200, 1} do
                case(("2.1-2.6 ping of %d bytes, writes of %d"):format(n, chop), function(p)
                    p:send(frame(PING, payload), chop)
                    p:expect(PONG, payload)
                end)
            end
        end
        for _, n in ipairs {126, 127, 65535, 65536} do
            case("2.5 ping of " .. n .. " bytes", function(p)
                p:send(frame(PING, ("\xfe"):rep(n)))
                p:fails(1002)
            end)
            case("2.5 pong of " .. n .. " bytes", function(p)
                p:send(frame(PONG, ("\xfe"):rep(n)))
                p:fails(1002)
            end)
        end
        for _, way in ipairs(ways) do
            for _, payload in ipairs {"", "unsolicited pong payload", ("\0"):rep(125)} do
                case(("2.7-2.8 pong of %d bytes, %s"):format(#payload, way[1]), function(p)
                    way[2](p, {frame(PONG, payload)})
                end)
                case(("2.9 pong of %d bytes, then a ping, %s"):format(#payload, way[1]), function(p)
                    way[2](p, {frame(PONG, payload), frame(PING, "ping payload")})
                    p:expect(PONG, "ping payload")
                end)
            end
            case("2.10-2.11 10 pings, " .. way[1], function(p)
                local frames = {}
                for i = 1, 10 do frames[i] = frame(PING, "payload-" .. i) end
                way[2](p, frames)
                for i = 1, 10 do p:expect(PONG, "payload-" .. i) end
            end)
        end
    end))

    -- An invalid frame: alone, after a valid message, and before a ping, which must not be answered.
    local function violation(case, name, bad, code)
        for _, way in ipairs(ways) do
            case(("%s, %s"):format(name, way[1]), function(p)
                way[2](p, {bad})
                p:fails(code)
            end)
            case(("%s, between a message and a ping, %s"):format(name, way[1]), function(p)
                way[2](p, {frame(TEXT, "Hello, world!"), bad, frame(PING, "p")})
                p:expect(TEXT, "Hello, world!")
                p:fails(code)
            end)
        end
    end

    it("3 refuses every combination of reserved bits", suite.group(function(case)
        local frames = {text = TEXT, binary = BINARY, close = CLOSE, ping = PING, pong = PONG}
        for rsv = 1, 7 do
            for name, opcode in pairs(frames) do
                local payload = opcode == CLOSE and peer.close_payload(1000) or "Hello, world!"
                violation(case, ("3 %s with reserved bits %d"):format(name, rsv), frame(opcode, payload, {rsv = rsv}), 1002)
                violation(case, ("3 empty %s with reserved bits %d"):format(name, rsv), frame(opcode, "", {rsv = rsv}), 1002)
            end
            violation(case, ("3 continuation with reserved bits %d"):format(rsv),
                frame(TEXT, "Hello, ", {fin = false}) .. frame(CONTINUATION, "world!", {rsv = rsv}), 1002)
        end
    end))

    it("4 refuses every reserved opcode", suite.group(function(case)
        for _, opcode in ipairs {3, 4, 5, 6, 7, 11, 12, 13, 14, 15} do
            for _, payload in ipairs {"", "reserved opcode payload"} do
                violation(case, ("4 opcode %d with %d bytes"):format(opcode, #payload), frame(opcode, payload), 1002)
                violation(case, ("4 fragment with opcode %d and %d bytes"):format(opcode, #payload),
                    frame(opcode, payload, {fin = false}), 1002)
            end
        end
    end))

    it("5 joins fragments, with control frames between them", suite.group(function(case)
        for kind, opcode in pairs(kinds) do
            for _, way in ipairs(ways) do
                local function valid(name, frames, answers)
                    case(("5 %s: %s, %s"):format(kind, name, way[1]), function(p)
                        way[2](p, frames)
                        for _, answer in ipairs(answers) do p:expect(answer[1], answer[2]) end
                    end)
                end
                local first = frame(opcode, "fragment1", {fin = false})
                local last = frame(CONTINUATION, "fragment2")
                valid("5.3-5.5 two fragments", {first, last}, {{opcode, "fragment1fragment2"}})
                valid("5.6-5.8 a ping between", {first, frame(PING, "ping"), last},
                    {{PONG, "ping"}, {opcode, "fragment1fragment2"}})
                valid("a pong between", {first, frame(PONG, "pong"), last}, {{opcode, "fragment1fragment2"}})
                valid("only empty fragments", {
                    frame(opcode, "", {fin = false}), frame(CONTINUATION, "", {fin = false}), frame(CONTINUATION, ""),
                }, {{opcode, ""}})
                valid("6.1.3 empty ones around one", {
                    frame(opcode, "", {fin = false}), frame(CONTINUATION, "middle", {fin = false}), frame(CONTINUATION, ""),
                }, {{opcode, "middle"}})
                valid("two messages", {first, last, first, last},
                    {{opcode, "fragment1fragment2"}, {opcode, "fragment1fragment2"}})
                local frames, answers = {first}, {}
                for i = 2, 5 do
                    frames[#frames + 1] = frame(CONTINUATION, "fragment" .. i, {fin = i == 5})
                    if i == 2 or i == 4 then
                        frames[#frames + 1] = frame(PING, "ping" .. i)
                        answers[#answers + 1] = {PONG, "ping" .. i}
                    end
                end
                answers[#answers + 1] = {opcode, "fragment1fragment2fragment3fragment4fragment5"}
                valid("5.19-5.20 five fragments and two pings", frames, answers)
            end
        end
        for n = 1, 64 do
            case("5 " .. n .. " fragments, each with a ping behind it", function(p)
                local payloads = {}
                for i = 1, n do
                    payloads[i] = suite.random_bytes(i % 5)
                    p:send(frame(i == 1 and BINARY or CONTINUATION, payloads[i], {fin = i == n}))
                    p:ping("ping" .. i)
                    if i < n then p:expect(PONG, "ping" .. i) end
                end
                p:expect(BINARY, table.concat(payloads))
                p:expect(PONG, "ping" .. n)
            end)
        end
    end))

    it("5 refuses fragments out of order", suite.group(function(case)
        local message = frame(TEXT, "Hello, world!")
        for _, fin in ipairs {true, false} do
            local stray = frame(CONTINUATION, "non-continuation payload", {fin = fin})
            local tell = fin and "FIN" or "no FIN"
            violation(case, "5.9-5.14 a continuation of nothing, " .. tell, stray, 1002)
            violation(case, "5.9-5.14 the same, empty, " .. tell, frame(CONTINUATION, "", {fin = fin}), 1002)
            violation(case, "5.9-5.14 the same and a message, " .. tell, stray .. message, 1002)
            violation(case, "5.16-5.17 the same with fragments behind it, " .. tell,
                stray .. frame(TEXT, "fragment1", {fin = false}) .. frame(CONTINUATION, "fragment2"), 1002)
            for name, opcode in pairs(kinds) do
                violation(case, ("5.18 %s inside a message, %s"):format(name, tell),
                    frame(TEXT, "fragment1", {fin = false}) .. frame(opcode, "fragment2", {fin = fin}), 1002)
                violation(case, ("5.18 %s inside a binary message, after a ping's turn, %s"):format(name, tell),
                    frame(BINARY, "fragment1", {fin = false}) .. frame(CONTINUATION, "fragment2", {fin = false})
                    .. frame(PONG, "") .. frame(opcode, "fragment3", {fin = fin}), 1002)
            end
            for _, way in ipairs(ways) do
                case(("5.15 a continuation behind a whole message, %s, %s"):format(tell, way[1]), function(p)
                    way[2](p, {
                        frame(TEXT, "fragment1", {fin = false}), frame(CONTINUATION, "fragment2"), stray, message,
                    })
                    p:expect(TEXT, "fragment1fragment2")
                    p:fails(1002)
                end)
            end
        end
        for _, n in ipairs {0, 1, 125} do
            violation(case, ("5.1 a fragment of a ping, %d bytes"):format(n), frame(PING, ("x"):rep(n), {fin = false}), 1002)
            violation(case, ("5.2 a fragment of a pong, %d bytes"):format(n), frame(PONG, ("x"):rep(n), {fin = false}), 1002)
            violation(case, ("5 a fragment of a close frame, %d bytes"):format(n),
                frame(CLOSE, ("\3\xe8" .. ("x"):rep(n)):sub(1, n), {fin = false}), 1002)
        end
        violation(case, "5.1 a ping in two fragments",
            frame(PING, "fragment1", {fin = false}) .. frame(CONTINUATION, "fragment2"), 1002)
        violation(case, "5.2 a pong in two fragments",
            frame(PONG, "fragment1", {fin = false}) .. frame(CONTINUATION, "fragment2"), 1002)
    end))

    it("10 echoes messages that were fragmented automatically", suite.group(function(case)
        for name, opcode in pairs(kinds) do
            for _, n in ipairs {1, 7, 125, 126, 1299, 1300, 1301, 65535} do
                local size = n < 1000 and 4096 or 65536
                local payload = opcode == TEXT and suite.text(size) or suite.random_bytes(size)
                case(("10.1 %s of %d bytes in fragments of %d"):format(name, size, n), function(p)
                    p:send(peer.fragments(opcode, peer.cut(payload, n)))
                    p:expect(opcode, payload)
                end)
            end
        end
    end))

    -- Valid frames in random order, and the expected answers.
    local function random_sequence(length)
        local frames, answers, opcode, gathered = {}, {}, nil, {}
        while #frames < length or opcode do
            local payload = suite.random_bytes(math.random(0, 9) == 0 and math.random(0, 300) or math.random(0, 12))
            local dice = math.random(1, 10)
            if dice == 1 then
                frames[#frames + 1] = frame(PONG, payload:sub(1, 125))
            elseif dice <= 3 then
                frames[#frames + 1] = frame(PING, payload:sub(1, 125))
                answers[#answers + 1] = {PONG, payload:sub(1, 125)}
            else
                local fin = math.random(1, 3) == 1 or #frames >= length
                local wire = opcode and CONTINUATION or math.random(TEXT, BINARY)
                opcode = opcode or wire
                if opcode == TEXT then payload = payload:gsub("[\x80-\xff]", "-") end
                frames[#frames + 1] = frame(wire, payload, {fin = fin})
                gathered[#gathered + 1] = payload
                if fin then
                    answers[#answers + 1] = {opcode, table.concat(gathered)}
                    opcode, gathered = nil, {}
                end
            end
        end
        return frames, answers
    end

    it("answers random sequences of frames, cut at random", suite.group(function(case)
        local bad = {
            frame(CONTINUATION, "x"), frame(TEXT, "x", {rsv = 2}), frame(5, "x"), frame(PING, "x", {fin = false}),
            frame(BINARY, "", {fin = false}) .. frame(BINARY, ""),
        }
        for i = 1, suite.count(150) do
            local frames, answers = random_sequence(math.random(1, 40))
            local violates = i % 3 == 0
            if violates then frames[#frames + 1] = bad[math.random(1, #bad)] end
            case("random sequence " .. i, function(p)
                local bytes = table.concat(frames)
                while bytes ~= "" do
                    local n = math.random(1, 60)
                    p:send(bytes:sub(1, n))
                    bytes = bytes:sub(n + 1)
                end
                for _, answer in ipairs(answers) do p:expect(answer[1], answer[2]) end
                if violates then p:fails(1002) end
            end)
        end
    end))
end)
