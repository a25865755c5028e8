-- The Lua library: each case runs inside a real instance, in a policy that evaluates messages.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local ws = require "ws"

local POLICY = [[
local bh = require "bellhop"
return {
    on_handshake = function() return { user = "42" } end,
    on_message = function(conn, source)
        local chunk, problem = load("local bh, conn = ... " .. source)
        if not chunk then return "syntax: " .. problem end
        local results = table.pack(pcall(chunk, bh, conn))
        for i = 1, results.n do results[i] = tostring(results[i]) end
        return table.concat(results, "|", 1, results.n)
    end,
}
]]

describe("the library of scripts:", function()
    local instance, client

    setup(function()
        instance = daemon.start {
            policy = POLICY,
            workers = 1,
            env = { BELLHOP_AUTH_JWT_ISSUER = "the house" },
        }
        client = ws.connect(instance.port, "/ws")
    end)
    teardown(function()
        ws.drop_all()
        daemon.stop_all()
    end)

    local function run(source)
        assert(client:text(source))
        return (assert(client:recv()))
    end

    -- The result of the snippet as text; fails if it raises.
    local function eval(source)
        local answer = run(source)
        return answer:match "^true|?(.*)$" or error(answer, 2)
    end

    local function raises(source, pattern)
        local answer = run(source)
        assert.matches("^false|", answer)
        assert.matches(pattern, answer)
    end

    describe("bh.json", function()
        it("keeps integers, null and empty tables apart", function()
            assert.same("9007199254740992|integer", eval [[
                local n = bh.json.decode("9007199254740992") return n, math.type(n)]])
            assert.same("9223372036854775807|integer", eval [[
                local n = bh.json.decode("9223372036854775807") return n, math.type(n)]])
            assert.same("1.5|float", eval [[local n = bh.json.decode("1.5") return n, math.type(n)]])
            assert.same("true", eval [[return bh.json.decode('{"a":null}').a == bh.json.null]])
            assert.same('{}|[]|{"a":[1,2]}', eval [[
                return bh.json.encode {}, bh.json.encode(bh.json.array {}), bh.json.encode { a = { 1, 2 } }]])
        end)

        it("refuses values that it would corrupt", function()
            assert.matches("^nil|.", eval [[return bh.json.decode("9223372036854775808")]])
            assert.same("9223372036854775808", eval [[
                return bh.json.decode("9223372036854775808", { big_integers = "string" })]])
            assert.matches("^nil|.", eval [[return bh.json.decode("{")]])
            assert.matches("^nil|.", eval [[return bh.json.encode(0/0)]])
            assert.matches("^nil|.", eval [[local t = {} t.t = t return bh.json.encode(t)]])
        end)

        it("peeks without building tables", function()
            assert.same("deep|7", eval [[
                local text = '{"a":{"b":["deep"]},"n":7}'
                return bh.json.peek(text, "a.b.0"), bh.json.peek(text, "n")]])
        end)
    end)

    describe("bh.crypto", function()
        it("hashes, signs and encodes", function()
            assert.same("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", eval [[
                return bh.crypto.hex(bh.crypto.hash("sha256", "abc"))]])
            -- RFC 4231, test case 2
            assert.same("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", eval [[
                return bh.crypto.hex(bh.crypto.hmac("sha256", "Jefe", "what do ya want for nothing?"))]])
            assert.same("Zm8=|Zm8|fo", eval [[
                return bh.crypto.base64 "fo", bh.crypto.base64url "fo", bh.crypto.unbase64 "Zm8="]])
            assert.same("16|false|true", eval [[
                local a, b = bh.crypto.random(16), bh.crypto.random(16)
                return #a, bh.crypto.equal(a, b), bh.crypto.equal(a, a)]])
        end)
    end)

    describe("bh.jwt", function()
        it("verifies its own signatures, and no others", function()
            local token = [[local key = ("k"):rep(64)
                local token = bh.jwt.sign({ sub = "42", exp = os.time() + 60 }, { alg = "HS256", key = key }) ]]
            assert.same("42", eval(token .. [[return bh.jwt.verify(token, { alg = "HS256", key = key }).sub]]))
            assert.matches("^nil|.", eval(token .. [[
                return bh.jwt.verify(token, { alg = "HS256", key = ("x"):rep(64) })]]))
            assert.matches("^nil|.", eval(token .. [[return bh.jwt.verify(token, { alg = "HS512", key = key })]]))
            assert.matches("^nil|.", eval(token .. [[
                return bh.jwt.verify(token, { alg = "HS256", key = key, issuer = "another" })]]))
            assert.matches("^nil|.", eval [[return bh.jwt.verify("a.b.c", { alg = "HS256", key = ("k"):rep(32) })]])
        end)

        it("requires an algorithm", function()
            raises([[return bh.jwt.verify("a.b.c", { key = "k" })]], "alg")
        end)
    end)

    it("bh.config reads the configuration by path", function()
        assert.same("the house|nil|true", eval [[
            return bh.config "auth.jwt.issuer", bh.config "no.such.key", bh.config "dev"]])
    end)

    it("bh.sleep waits, bh.spawn and bh.after run concurrently", function()
        assert.same("2", eval [[
            local n = 0
            bh.spawn(function() n = n + 1 end)
            bh.after(0.01, function() n = n + 1 end)
            while n < 2 do bh.sleep(0.01) end
            return n]])
    end)

    it("bh.publish distinguishes misuse from failure", function()
        assert.matches("^[%w_-]+$", eval [[return bh.publish { user = "nobody", data = "x" }]])
        assert.matches("^nil|.", eval [[return bh.publish { user = "a b", data = "x" }]])
        raises([[return bh.publish { user = "1", data = { x = 1 } }]], "json")
        raises([[return bh.publish { data = "x" }]], "user")
    end)

    it("the sandbox cannot be left", function()
        assert.same("nil|nil|nil|nil|nil|nil", eval [[
            return io, debug, os.execute, loadfile, dofile, string.dump]])
        assert.matches("^nil|.", eval [[return load("\27Lua")]])
        raises([[return require "io"]], ".")
    end)
end)
