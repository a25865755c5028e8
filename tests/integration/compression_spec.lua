-- permessage-deflate between a real instance and clients that check every byte.
package.path = "tests/support/?.lua;" .. package.path
local check = require "check"
local daemon = require "daemon"
local deflate = require "deflate"
local ws = require "ws"
local zlib = require "zlib"

local BROWSER = "permessage-deflate; client_max_window_bits"

local POLICY = [[return {
    on_handshake = function(req) return { user = req:arg "user", compression = req:arg "compression" } end,
    on_message = function(conn, data) return data end,
}]]

-- Text that compresses a little; a different one for each n.
local function hex(n, length)
    math.randomseed(n)
    local parts = {}
    for i = 1, length // 8 do parts[i] = ("%08x"):format(math.random(0, 0xffffffff)) end
    return table.concat(parts)
end

local function frame_of(client, payload)
    local frame = client:recv_frame()
    assert.are.equal(#payload, #frame.payload)
    assert.is_true(frame.payload == payload)
    return frame
end

local function start(mode, env, workers)
    local all = {BELLHOP_WEBSOCKET_COMPRESSION = mode, BELLHOP_WEBSOCKET_MESSAGE_BYTES = "2000000"}
    for name, value in pairs(env or {}) do all[name] = value end
    return daemon.start {policy = POLICY, env = all, workers = workers or 1}
end

local function connect(d, offer, user, options)
    options = options or {}
    options.headers = {["Sec-WebSocket-Extensions"] = offer}
    return ws.connect(d.port, "/ws?user=" .. (user or "42"), options)
end

local function resident_kib(d)
    for line in io.lines("/proc/" .. d.process.pid .. "/status") do
        local kib = line:match "^VmRSS:%s+(%d+)"
        if kib then return tonumber(kib) end
    end
end

describe("compression", function()
    local d

    setup(function() d = start(nil, {BELLHOP_WEBSOCKET_COMPRESSION_LEVEL = "6"}) end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function compressed() return d:metric "bellhop_edge_messages_compressed_total" end

    it("is negotiated from the offer of the client", function()
        local none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        for offer, answer in pairs {
            ["permessage-deflate"] = none, [BROWSER] = none,
            ["permessage-deflate; server_no_context_takeover; client_no_context_takeover"] = none,
            ["permessage-deflate; server_max_window_bits=10"] = none .. "; server_max_window_bits=10",
            ["permessage-deflate; client_max_window_bits=11"] = none .. "; client_max_window_bits=11",
            ['permessage-deflate; client_max_window_bits="12"'] = none .. "; client_max_window_bits=12",
            ["x-webkit-deflate-frame, permessage-deflate"] = none,
            ["permessage-deflate; server_max_window_bits=16, permessage-deflate"] = none,
        } do
            local client = connect(d, offer)
            assert.are.same({offer, answer}, {offer, client.headers["sec-websocket-extensions"]})
            client:text(hex(1, 3000))
            assert.is_truthy(frame_of(client, hex(1, 3000)).deflated)
        end
    end)

    it("is not negotiated without an acceptable offer", function()
        for _, offer in ipairs {
            "permessage-deflate; server_max_window_bits=16", "permessage-deflate; server_max_window_bits",
            "permessage-deflate; unknown", "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover=1", "x-webkit-deflate-frame", "", ",,", "permessage-deflat",
        } do
            local client = connect(d, offer)
            assert.is_nil(client.headers["sec-websocket-extensions"])
            client:text(hex(1, 3000))
            assert.is_nil(frame_of(client, hex(1, 3000)).deflated)
        end
    end)

    it("begins at the threshold and ends at the maximum", function()
        local client, plain = connect(d, BROWSER), ws.connect(d.port, "/ws?user=42")
        for _, target in ipairs {"users/42", "broadcast"} do
            for n, is_compressed in pairs {
                [0] = false, [1] = false, [1023] = false, [1024] = true, [70000] = true, [262144] = true,
                [262145] = false,
            } do
                local payload = ("x"):rep(n)
                d:publish(target, payload)
                assert.are.equal(is_compressed, frame_of(client, payload).deflated ~= nil)
                assert.is_nil(frame_of(plain, payload).deflated)
            end
        end
    end)

    it("makes large messages smaller", function()
        local client = connect(d, BROWSER)
        local payload = ('{"name":"value","number":12345}'):rep(8000)
        d:publish("users/42", payload)
        assert.is_true(frame_of(client, payload).deflated < #payload / 50)
        local binary = ("\0\1\2\255"):rep(50000)
        d:publish("users/42", binary, nil, {["Content-Type"] = "application/octet-stream"})
        local frame = frame_of(client, binary)
        assert.are.equal(ws.BINARY, frame.opcode)
        assert.is_true(frame.deflated < #binary / 50)
    end)

    it("sends incompressible messages uncompressed", function()
        local client = connect(d, BROWSER)
        local parts = {}
        for i = 1, 25000 do parts[i] = string.pack("<I4", math.random(0, 0xffffffff)) end
        local noise = table.concat(parts)
        client:binary(noise)
        check.next(client, noise, "binary")
        client:send(ws.BINARY, deflate.deflate(noise), {rsv = 4})
        check.next(client, noise, "binary")
    end)

    it("is done once for a broadcast to many", function()
        local many = {}
        for i = 1, 15 do many[i] = connect(d, i % 3 > 0 and BROWSER or nil, "user" .. i) end
        local before = compressed()
        for i = 1, 3 do d:publish("broadcast", hex(i, 5000)) end
        for i, client in ipairs(many) do
            for n = 1, 3 do assert.are.equal(i % 3 > 0, frame_of(client, hex(n, 5000)).deflated ~= nil) end
        end
        assert.are.equal(before + 3, compressed())
        d:publish("broadcast", "small")
        for _, client in ipairs(many) do check.next(client, "small") end
        assert.are.equal(before + 3, compressed())
    end)

    it("accepts compressed messages, whole and in fragments", function()
        local client = connect(d, BROWSER)
        for _, n in ipairs {0, 1, 100, 1023, 1024, 70000, 1000000} do
            local payload = hex(n, n)
            local bytes = n == 0 and "\0" or deflate.deflate(payload)
            client:send(ws.TEXT, bytes, {rsv = 4})
            check.next(client, payload, "text")
            local half = #bytes // 2
            client:send(ws.TEXT, bytes:sub(1, half), {rsv = 4, fin = false})
            client:send(ws.PING, "between")
            client:send(ws.CONTINUATION, bytes:sub(half + 1))
            assert.are.equal("between", client:recv_frame().payload)
            check.next(client, payload, "text")
            client:text "plain"
            check.next(client, "plain")
        end
        assert.are.equal(1000, client:close(1000))
    end)

    it("requires UTF-8 inside of text", function()
        local client = connect(d, BROWSER)
        client:send(ws.TEXT, deflate.deflate "\xff", {rsv = 4})
        check.closed(client, 1007)
    end)

    it("closes on invalid DEFLATE data", function()
        for _, bytes in ipairs {"\xff\xff\xff\xff", "\0\5\0\0\0Hello", "\x07" .. ("\xa5"):rep(100)} do
            local client = connect(d, BROWSER)
            client:send(ws.TEXT, bytes, {rsv = 4})
            local code = client:recv_close()
            assert.is_true(code == 1002 or code == 1007, code)
        end
    end)

    it("limits the size of decompression bombs", function()
        local witness = connect(d, BROWSER, "witness")
        local megabytes = 40
        local bomb = deflate.deflate(("\0"):rep(megabytes << 20), 9)
        assert.is_true(#bomb < 50000)
        local before, limited = resident_kib(d), d:limited "message_bytes"
        for i = 1, 10 do
            local client = connect(d, BROWSER)
            if i % 2 == 0 then
                client:send(ws.BINARY, bomb, {rsv = 4})
            else
                client:send(ws.BINARY, bomb:sub(1, 1000), {rsv = 4, fin = false})
                client:send(ws.CONTINUATION, bomb:sub(1001))
            end
            check.closed(client, 1009)
        end
        assert.are.equal(limited + 10, d:limited "message_bytes")
        local growth = resident_kib(d) - before
        assert.is_true(growth < 10 * megabytes * 1024 / 4, growth .. " KiB more")
        witness:text "still here"
        check.next(witness, "still here")
    end)
end)

describe("compression with context takeover", function()
    local d

    setup(function() d = start("takeover", {BELLHOP_WEBSOCKET_COMPRESSION_LEVEL = "6"}) end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    it("is negotiated from the offer of the client", function()
        for offer, answer in pairs {
            ["permessage-deflate"] = "permessage-deflate", [BROWSER] = "permessage-deflate",
            ["permessage-deflate; server_no_context_takeover"] = "permessage-deflate; server_no_context_takeover",
            ["permessage-deflate; client_no_context_takeover"] = "permessage-deflate; client_no_context_takeover",
            ["permessage-deflate; server_max_window_bits=9"] = "permessage-deflate; server_max_window_bits=9",
        } do
            local client = connect(d, offer)
            assert.are.same({offer, answer}, {offer, client.headers["sec-websocket-extensions"]})
            for i = 1, 5 do
                client:text(hex(i, 3000))
                assert.is_truthy(frame_of(client, hex(i, 3000)).deflated)
            end
        end
    end)

    it("refers to earlier messages", function()
        local client = connect(d, BROWSER)
        local sizes = {}
        for i = 1, 3 do
            d:publish("users/42", hex(1, 4000))
            sizes[i] = frame_of(client, hex(1, 4000)).deflated
        end
        assert.is_true(sizes[2] < sizes[1] / 10 and sizes[3] < sizes[1] / 10, table.concat(sizes, " "))
    end)

    it("keeps the order when a shared message comes between", function()
        local one, two, plain = connect(d, BROWSER), connect(d, "permessage-deflate"), ws.connect(d.port, "/ws?user=42")
        local without = connect(d, "permessage-deflate; server_no_context_takeover; server_max_window_bits=9")
        local sent = {}
        math.randomseed(7)
        for i = 1, 200 do
            local payload = hex(math.random(5), ({500, 1500, 40000})[math.random(3)]) .. i
            sent[i] = payload
            d:publish(math.random(2) == 1 and "users/42" or "broadcast", payload)
        end
        for _, client in ipairs {one, two, plain, without} do
            for i = 1, #sent do check.next(client, sent[i]) end
        end
        check.quiet(d, one, two, plain, without)
    end)

    it("compresses broadcasts once, and other messages for each connection", function()
        local one, two = connect(d, BROWSER, "one"), connect(d, BROWSER, "two")
        local before = d:metric "bellhop_edge_messages_compressed_total"
        d:publish("broadcast", hex(1, 4000))
        frame_of(one, hex(1, 4000))
        frame_of(two, hex(1, 4000))
        assert.are.equal(before + 1, d:metric "bellhop_edge_messages_compressed_total")
        d:publish("users/one", hex(1, 4000))
        d:publish("users/two", hex(2, 4000))
        frame_of(one, hex(1, 4000))
        frame_of(two, hex(2, 4000))
        assert.are.equal(before + 3, d:metric "bellhop_edge_messages_compressed_total")
    end)

    it("takes over the context of the client", function()
        local client = connect(d, BROWSER)
        local stream = zlib.deflate(6, -15)
        for i = 1, 50 do
            local payload = hex(i % 3, 3000) .. i
            client:send(ws.TEXT, stream(payload, "sync"):sub(1, -5), {rsv = 4})
            check.next(client, payload)
        end
    end)

    it("limits bombs, too", function()
        local client = connect(d, BROWSER)
        client:send(ws.BINARY, deflate.deflate(("\0"):rep(20 << 20), 9), {rsv = 4})
        check.closed(client, 1009)
    end)
end)

-- iOS 15: agrees to client_no_context_takeover and refers to earlier messages all the same.
describe("clients that keep their context", function()
    local d

    setup(function() d = start() end)
    teardown(daemon.stop_all)
    after_each(ws.drop_all)

    local function send(client, stream, payload)
        client:send(ws.TEXT, stream(payload, "sync"):sub(1, -5), {rsv = 4})
    end

    it("are closed, logged and counted", function()
        local client, stream = connect(d, BROWSER), zlib.deflate(6, -15)
        assert.is_truthy(client.headers["sec-websocket-extensions"]:find "client_no_context_takeover")
        send(client, stream, hex(1, 300))
        check.next(client, hex(1, 300))
        send(client, stream, hex(1, 300))
        check.closed(client, 1007)
        d:wait_log 'cause="protocol error" code=1007 reason="message refers to earlier ones, but client_no_context_takeover'
        assert.are.equal(1, d:metric "bellhop_edge_contexts_kept_total")
        send(connect(d, BROWSER), function() return "\xff\xff\xff\xff1234" end)
        d:wait_log "not valid DEFLATE"
        assert.are.equal(1, d:metric "bellhop_edge_contexts_kept_total")
    end)

    it("are served when the policy lets them take over, or turns compression off", function()
        local client, stream = connect(d, BROWSER, "42&compression=takeover"), zlib.deflate(6, -15)
        assert.are.equal("permessage-deflate", client.headers["sec-websocket-extensions"])
        for i = 1, 5 do
            send(client, stream, hex(1, 300) .. i)
            check.next(client, hex(1, 300) .. i)
        end
        local plain = connect(d, BROWSER, "42&compression=off")
        assert.is_nil(plain.headers["sec-websocket-extensions"])
        plain:text(hex(1, 3000))
        assert.is_nil(frame_of(plain, hex(1, 3000)).deflated)
        local _, refused = ws.try(d.port, "/ws?user=42&compression=on")
        assert.are.equal(503, refused.status)
    end)
end)

describe("compression for slow readers with context takeover", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    for _, policy in ipairs {"drop_oldest", "drop_newest"} do
        it("still inflates after " .. policy, function()
            local d = start("takeover", {BELLHOP_WEBSOCKET_ON_SLOW = policy, BELLHOP_WEBSOCKET_QUEUE_BYTES = "200000"})
            local slow = connect(d, BROWSER, "slow", {receive_buffer = 4096})
            local text = hex(1, 30000)
            local count = 0
            -- Until some were dropped, and a few more.
            repeat
                for i = count + 1, count + 100 do
                    -- Similar to the one before, so that a lost reference is detected; too random to compress away.
                    d:publish(i % 5 == 0 and "broadcast" or "users/slow", i .. ":" .. hex(i, 16000) .. text:sub(1, 16000))
                end
                count = count + 100
            until d:metric "bellhop_edge_messages_dropped_total" > 50 or count > 5000
            local dropped = d:metric "bellhop_edge_messages_dropped_total"
            assert.is_true(dropped > 50)
            local last, got = 0, 0
            while got < count - dropped do
                local payload = slow:recv()
                local i = tonumber(payload:match "^(%d+):")
                assert.is_true(payload == i .. ":" .. hex(i, 16000) .. text:sub(1, 16000))
                assert.is_true(i > last)
                last, got = i, got + 1
            end
            for i = 1, 3 do
                d:publish("users/slow", hex(i, 5000))
                check.next(slow, hex(i, 5000))
            end
        end)
    end
end)

describe("disabled compression", function()
    after_each(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    it("is not negotiated", function()
        local d = start "off"
        local client = connect(d, BROWSER)
        assert.is_nil(client.headers["sec-websocket-extensions"])
        d:publish("users/42", hex(1, 3000))
        assert.is_nil(frame_of(client, hex(1, 3000)).deflated)
        client:send(ws.TEXT, deflate.deflate "x", {rsv = 4})
        check.closed(client, 1002)
        assert.are.equal(0, d:metric "bellhop_edge_messages_compressed_total")
    end)
end)
