-- The cases 9 (limits and performance) of the Autobahn test suite for servers: large messages,
-- messages in many pieces, and many messages. Nothing is timed here.
--
-- BELLHOP_CONFORMANCE_SCALE (default 1) multiplies the numbers of messages;
-- BELLHOP_CONFORMANCE_PORT runs the cases against another echo server on this port.
package.path = "tests/conformance/?.lua;tests/support/?.lua;" .. package.path
local peer = require "peer"
local suite = require "suite"

local KIB, MIB = 1024, 1024 * 1024
local kinds = {{"text", peer.TEXT}, {"binary", peer.BINARY}}

-- Random bytes of any length, made from one MiB.
local noise = suite.random_bytes(MIB)

local function payload_of(opcode, n)
    if opcode == peer.TEXT then return suite.text(n) end
    return noise:rep(n // MIB) .. noise:sub(1, n % MIB)
end

describe("conformance: load", function()
    setup(function() suite.start() end)
    teardown(suite.stop)

    it("9.1 and 9.2 echo large messages", suite.group(function(case)
        for _, kind in ipairs(kinds) do
            for _, n in ipairs {64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB} do
                local payload = payload_of(kind[2], n)
                case(("9.1-9.2 %s of %d KiB"):format(kind[1], n // KIB), function(p)
                    p:send(peer.frame(kind[2], payload))
                    p:expect(kind[2], payload)
                end)
            end
        end
    end))

    it("9.3 and 9.4 echo messages of 4 MiB in fragments", suite.group(function(case)
        for _, kind in ipairs(kinds) do
            local payload = payload_of(kind[2], 4 * MIB)
            for _, n in ipairs {64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB} do
                case(("9.3-9.4 %s in fragments of %d"):format(kind[1], n), function(p)
                    p:send(peer.fragments(kind[2], peer.cut(payload, n)))
                    p:expect(kind[2], payload)
                end)
            end
        end
    end))

    it("9.5 and 9.6 echo messages of 1 MiB that come in small writes", suite.group(function(case)
        for _, kind in ipairs(kinds) do
            local payload = payload_of(kind[2], MIB)
            for _, n in ipairs {64, 128, 256, 512, 1024, 2048, 4096} do
                case(("9.5-9.6 %s in writes of %d"):format(kind[1], n), function(p)
                    p:send(peer.frame(kind[2], payload), n)
                    p:expect(kind[2], payload)
                end)
            end
        end
    end))

    it("9.7 and 9.8 echo many messages, one by one and in batches", suite.group(function(case)
        for _, kind in ipairs(kinds) do
            for _, n in ipairs {0, 16, 64, 256, 1024, 4096} do
                local payload = payload_of(kind[2], n)
                local count = suite.count(1000)
                case(("9.7-9.8 %d %s messages of %d"):format(count, kind[1], n), function(p)
                    local bytes = peer.frame(kind[2], payload)
                    for _ = 1, count do
                        p:send(bytes)
                        p:expect(kind[2], payload)
                    end
                end)
                case(("9.7-9.8 %d %s messages of %d, 50 at once"):format(count, kind[1], n), function(p)
                    for from = 1, count, 50 do
                        local to = math.min(from + 49, count)
                        local frames, payloads = {}, {}
                        for i = from, to do
                            payloads[i] = (i .. " " .. payload):sub(1, math.max(n, 8))
                            if kind[2] == peer.TEXT then payloads[i] = payloads[i]:gsub("[\x80-\xff]", "-") end
                            frames[#frames + 1] = peer.frame(kind[2], payloads[i], {key = "\0\0\0\0"})
                        end
                        p:send(table.concat(frames))
                        for i = from, to do p:expect(kind[2], payloads[i]) end
                    end
                end)
            end
        end
    end))

    it("9 serves connections independently", suite.group(function(case)
        case("20 connections that send in turns", function(p)
            local peers, pieces, texts = {p}, {}, {}
            for i = 2, 20 do peers[i] = suite.connect() end
            for i = 1, #peers do
                texts[i] = ("connection %d says %s"):format(i, suite.text(1000 + i * 37))
                pieces[i] = peer.cut(peer.frame(peer.TEXT, texts[i]), 53)
            end
            local piece, busy = 1, true
            while busy do
                busy = false
                for i, one in ipairs(peers) do
                    if pieces[i][piece] then
                        one:send(pieces[i][piece])
                        busy = true
                    end
                end
                piece = piece + 1
            end
            for i, one in ipairs(peers) do one:expect(peer.TEXT, texts[i]) end
            for i = 2, #peers do peers[i]:close(1000) end
        end)
    end))
end)
