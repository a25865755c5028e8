-- The cases 7 (closing) of the Autobahn test suite for servers.
--
-- BELLHOP_CONFORMANCE_PORT runs the cases against another echo server on this port.
package.path = "tests/conformance/?.lua;tests/support/?.lua;" .. package.path
local peer = require "peer"
local suite = require "suite"

local TEXT, BINARY, CONTINUATION, CLOSE = peer.TEXT, peer.BINARY, peer.CONTINUATION, peer.CLOSE
local frame, close_frame = peer.frame, peer.close_frame

local function codes_of(ranges)
    local list = {}
    for _, range in ipairs(ranges) do
        for code = range[1], range[2] do list[#list + 1] = code end
    end
    return list
end

-- RFC 6455, section 7.4, and the registry of IANA: the codes of a close frame.
local VALID = codes_of {{1000, 1003}, {1007, 1014}, {3000, 3010}, {3999, 4010}, {4400, 4410}, {4998, 4999}}
local INVALID = codes_of {
    {0, 20}, {100, 104}, {255, 257}, {990, 999}, {1004, 1006}, {1015, 1030}, {1100, 1100}, {1999, 2001},
    {2990, 2999}, {5000, 5010}, {9999, 10000}, {32767, 32769}, {65530, 65535},
}

describe("conformance: closing", function()
    setup(function() suite.start() end)
    teardown(suite.stop)

    it("7.1 closes once, and ignores frames after the close frame", suite.group(function(case)
        local behind = {
            {"nothing", ""},
            {"7.1.2 a second close frame", close_frame(1000)},
            {"another code", close_frame(1001, "changed my mind")},
            {"7.1.3 a ping", frame(peer.PING, "p")},
            {"7.1.4 a text", frame(TEXT, "too late")},
            {"a binary", frame(BINARY, "too late")},
            {"7.1.5 the rest of a message", frame(CONTINUATION, "fragment2")},
            {"a message and a ping", frame(TEXT, "too late") .. frame(peer.PING, "p")},
            {"an invalid frame", frame(5, "x", {rsv = 7})},
            {"invalid UTF-8", frame(TEXT, "\xff")},
            {"an invalid close frame", frame(CLOSE, "\0")},
            {"half a frame", frame(TEXT, "cut off"):sub(1, 9)},
            {"200 KB of a message", frame(BINARY, ("x"):rep(200000), {length = 400000})},
            {"1 MB of noise", suite.random_bytes(1000000)},
        }
        local before = {
            {"at first", "", function() end},
            {"7.1.1 after a message", frame(TEXT, "Hello World!"), function(p) p:expect(TEXT, "Hello World!") end},
            {"7.1.5 inside a message", frame(TEXT, "fragment1", {fin = false}), function() end},
            {"after a ping", frame(peer.PING, "p"), function(p) p:expect(peer.PONG, "p") end},
        }
        for _, start in ipairs(before) do
            for _, rest in ipairs(behind) do
                for _, chop in ipairs {0, 1} do
                    if chop == 0 or #rest[2] < 1000 then
                        case(("close %s, behind it %s, writes of %d"):format(start[1], rest[1], chop), function(p)
                            p:send(start[2] .. close_frame(1000, "bye") .. rest[2], chop > 0 and chop or nil)
                            start[3](p)
                            p:closes(1000)
                        end)
                    end
                end
                case(("close %s, behind its answer %s"):format(start[1], rest[1]), function(p)
                    p:send(start[2] .. close_frame(1000))
                    start[3](p)
                    p:expect_close(1000)
                    p:send(rest[2])
                    p:expect_end()
                end)
            end
        end
        for _, opcode in ipairs {TEXT, BINARY} do
            case("7.1.6 a close frame right behind 256 KiB with opcode " .. opcode, function(p)
                local payload = suite.text(262144)
                p:send(frame(opcode, payload) .. close_frame(1000) .. frame(peer.PING, ""))
                p:expect(opcode, payload)
                p:closes(1000)
            end)
        end
    end))

    it("7.3 accepts payloads of 0 and of 2 to 125 bytes", suite.group(function(case)
        for _, chop in ipairs {200, 1} do
            case("7.3.1 0 bytes", function(p)
                p:send(frame(CLOSE, ""), chop)
                p:closes(nil)
            end)
            case("7.3.2 1 byte", function(p)
                p:send(frame(CLOSE, "a"), chop)
                p:fails(1002)
            end)
            for n = 0, 123 do
                case("7.3.3-7.3.5 a reason of " .. n .. " bytes", function(p)
                    p:send(close_frame(1000, ("*"):rep(n)), chop)
                    p:closes(1000)
                end)
            end
        end
        for n = 124, 130 do
            case("7.3.6 a reason of " .. n .. " bytes", function(p)
                p:send(close_frame(1000, ("*"):rep(n)))
                p:fails(1002)
            end)
        end
        case("7.3.6 a reason of 65536 bytes", function(p)
            p:send(close_frame(1000, ("*"):rep(65536)))
            p:fails(1002)
        end)
    end))

    it("7.5 requires reasons in UTF-8", suite.group(function(case)
        local good = {"Hello-µ@ßöäüàá-UTF-8!!", ("ß"):rep(61), "κόσμε", "\u{10ffff}", "\0", "\u{ffff}"}
        local bad = {
            "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\xff", "\xc3", "\xc0\xaf", "\x80",
            "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", ("*"):rep(122) .. "\xc3", "\xed\xbf\xbf", "ok\xfe",
        }
        for i, reason in ipairs(good) do
            case("a good reason, " .. i, function(p) p:close(1000, reason) end)
        end
        for i, reason in ipairs(bad) do
            case("7.5.1 a bad reason, " .. i, function(p)
                p:send(close_frame(1000, reason))
                p:fails(1007)
            end)
        end
    end))

    it("7.7 echoes valid codes", suite.group(function(case)
        for _, code in ipairs(VALID) do
            case("7.7 code " .. code, function(p) p:close(code) end)
            case("7.7 code " .. code .. " with a reason", function(p) p:close(code, "reason") end)
        end
    end))

    it("7.9 and 7.13 refuses invalid codes", suite.group(function(case)
        for _, code in ipairs(INVALID) do
            for _, reason in ipairs {"", "reason"} do
                case(("7.9 code %d with reason %q"):format(code, reason), function(p)
                    p:send(close_frame(code, reason))
                    p:fails(1002)
                end)
            end
        end
    end))

    it("7 handles clients that answer the close frame late, wrongly or not at all", suite.group(function(case)
        local answers = {
            {"the same code", close_frame(1002)}, {"no code", frame(CLOSE, "")}, {"another code", close_frame(1000)},
            {"an invalid code", close_frame(999)}, {"more violations", frame(3, "x"):rep(100)},
            {"pings and messages, then a close frame", frame(peer.PING, "") .. frame(TEXT, "x") .. close_frame(1000)},
            {"noise", suite.random_bytes(100000)}, {"nothing", ""},
        }
        for _, answer in ipairs(answers) do
            case("a failed connection, answered with " .. answer[1], function(p)
                p:send(frame(3, "violation"))
                p:expect_close(1002)
                p:send(answer[2])
                p:expect_end()
            end)
        end
    end))
end)
