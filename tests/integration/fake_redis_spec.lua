-- The fake Redis of bellhop.test beside a real one: the number of words that each command takes, and the same answers.
local redis = require "redis"

local core = { now = 0, encode = tostring, decode = tostring, sha1 = function(text) return text end }

-- The module alone, without `bellhop test`.
local function fake_redis()
    package.loaded["bellhop.test.core"] = core
    local module = require "bellhop.test.redis"
    package.loaded["bellhop.test.core"], package.loaded["bellhop.test.redis"] = nil, nil
    return module.new(os.time)
end

local function words_of(line)
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    return words
end

local function answer(value, why)
    if value == nil then return why or false end
    return value
end

describe("the fake Redis", function()
    local server, client
    setup(function()
        server = redis.start()
        client = assert(server:client())
    end)
    teardown(function()
        client:close()
        server:stop()
    end)

    it("knows how many words each command takes", function()
        local known, real = require "bellhop.test.redis_arity", {}
        for _, command in ipairs(client:call "COMMAND") do real[command[1]:upper()] = command[2] end
        for name, arity in pairs(known) do
            assert.equal(name .. " " .. arity, name .. " " .. tostring(real[name]))
        end
        if not client:call("INFO", "server"):find "redis_version:7%.0%." then return end
        for name in pairs(real) do assert(known[name], name .. " is missing") end
    end)

    it("counts the words of all commands", function()
        local fake = fake_redis()
        for name, arity in pairs(require "bellhop.test.redis_arity") do
            local few = math.abs(arity) - 2 -- arguments, one less than the least
            if few >= 0 then
                local words = table.move(words_of(("x "):rep(few)), 1, few, 2, { name })
                assert.equal(("ERR wrong number of arguments for '%s' command"):format(name:lower()),
                    select(2, fake(table.unpack(words))))
            end
        end
    end)

    local cases = {
        strings = [[
            PING; PING a; PING a b; ping; SET; SET a; SET a 1; SET a 2 EX; SET a 2 EX 0; SET a 2 EX x; SET a 2 PX -1
            SET a 2 NX XX; SET a 2 FOO; SET a 2 EX 10 PX 10; SET a 3 NX; SET a 3 XX; SET b 3 XX; SET a 5 nx ex 100; GET a
            GET; GET a b; INCR a; INCR; INCR a b; INCRBY a 5; INCRBY a 1.5; INCRBY a 0x10; INCRBY a +1; INCRBY a 01; DECR a
            INCRBY a 99999999999999999999; SET t x; INCR t; EXISTS; EXISTS a a none; DEL; DEL a none; HGET t f
            EXPIRE t; EXPIRE t 100; EXPIRE t x; EXPIRE t 1 FOO; EXPIRE none 1; TTL t; TTL none; TTL; PTTL none; PEXPIRE t 1.5
            SET u 1; TTL u; EXPIRE u 0; GET u; GTE a; nothing at all; TIME 1; FLUSHALL FOO; FLUSHALL ASYNC; FLUSHALL SYNC]],
        hashes = [[
            HSET h; HSET h a; HSET h a 1 b; HSET h a 1; HSET h a 2 b 3; HGET h a; HGET h; HGET h a b; HGET h none
            HMGET h; HMGET h a none b; HGETALL h; HGETALL; HEXISTS h a; HEXISTS h none; HLEN h; HLEN none; HINCRBY h a 5
            HINCRBY h a x; HINCRBY h; HSET h t x; HINCRBY h t 1; HINCRBY new f x; EXISTS new; HSETNX h a 1; HSETNX h c 1
            HSETNX h c; HDEL h; HDEL h a none; GET h; INCR h; SADD h x; HDEL h b c t; EXISTS h]],
        sets = [[
            SADD s; SADD s a; SADD s a; SMEMBERS s; SISMEMBER s a; SISMEMBER s b; SISMEMBER s; SCARD s; SCARD none
            SRANDMEMBER s; SRANDMEMBER s 5; SRANDMEMBER s x; SRANDMEMBER none; SREM s; SREM s b; SREM s a; EXISTS s]],
        lists = [[
            RPUSH l; RPUSH l a b c; LPUSH l z y; LPUSH; LLEN l; LLEN none; LRANGE l 0 -1; LRANGE l 1 2; LRANGE l -2 -1
            LRANGE l 9 10; LRANGE l a 1; LRANGE l 0; LRANGE none 0 -1; LTRIM l 1 -2; LRANGE l 0 -1; LTRIM l x 1
            LTRIM none x 1; LTRIM l 5 9; EXISTS l]],
        ["sorted sets"] = [[
            ZADD z; ZADD z 1; ZADD z 1 a 2; ZADD z x a; ZADD z (1 a; ZADD z NX; ZADD z NX 1 a; ZADD z 2 a 3 b -inf c
            ZADD z NX 9 a; ZSCORE z a; ZSCORE z none; ZSCORE z; ZCARD z; ZCARD none; ZRANGE z 0 -1; ZRANGE z 0; ZRANGE z 0 -1 FOO
            ZRANGE z a b; ZRANGEBYSCORE z -inf +inf; ZRANGEBYSCORE z (2 inf; ZRANGEBYSCORE z a b
            ZRANGEBYSCORE z 0 9 LIMIT 0 1; ZRANGEBYSCORE z 0 9 LIMIT 0 -1; ZRANGEBYSCORE z 0 9 LIMIT 1 -1
            ZRANGEBYSCORE z 0 9 LIMIT -1 5; ZRANGEBYSCORE z 0 9 LIMIT 0; ZRANGEBYSCORE z 0 9 LIMIT a b
            ZRANGEBYSCORE z 0 9 FOO; ZRANGEBYSCORE z 0
            ZADD y 0 a 0 b 0 c; ZLEXCOUNT y - +; ZLEXCOUNT y [a (c; ZLEXCOUNT y a b; ZLEXCOUNT y -
            ZREM z; ZREM z a none; ZREM z b c; EXISTS z]],
        scripts = [[
            EVAL; EVAL return_1; EVAL return(1) x; EVAL return(1) -1; EVAL return(1) 2 a; EVAL return(KEYS[2]..ARGV[1]) 2 a b c
            EVAL return(redis.call('GET')) 0; EVAL return(redis.call('GTE','a')) 0; EVAL return(redis.call('HSET','h','a')) 0
            EVAL return(redis.call()) 0; EVAL return(redis.call('GET',{})) 0; EVAL return(redis.call('GET',nil)) 0
            EVAL return(redis.call('SET','n',12)) 0; GET n; EVAL return(redis.call('SET','n',1.5)) 0; GET n
            EVAL return(redis.pcall('GET').err) 0; EVALSHA; EVALSHA x]],
    }
    for name, lines in pairs(cases) do
        it("answers as a real one: " .. name, function()
            local fake = fake_redis()
            client:call "FLUSHALL"
            for line in lines:gsub("\n", ";"):gmatch "[^;]+" do
                local words = words_of(line)
                local real, mine = answer(client:call(table.unpack(words))), answer(fake(table.unpack(words)))
                if words[1] == "EVAL" and type(real) == "string" then -- Redis adds the hash and the line of the script
                    real = real:gsub(" script: %x+, on .*$", "")
                end
                assert.same({ line, real }, { line, mine })
            end
        end)
    end

    it("says so when it does not have what Redis has", function()
        local fake = fake_redis()
        for _, line in ipairs { "BITPOS x 1", "PUBLISH a b", "MULTI", "SET a 1 KEEPTTL", "SET a 1 EXAT 5", "EXPIRE a 1 NX",
            "ZADD z CH 1 a", "ZADD z NX CH 1 a", "ZRANGE z 0 -1 WITHSCORES", "ZRANGEBYSCORE z 0 1 WITHSCORES",
            "ZRANGEBYSCORE z 0 1 LIMIT 0 1 WITHSCORES", "SRANDMEMBER s -2" } do
            local value, why = fake(table.unpack(words_of(line)))
            assert.is_nil(value)
            assert.matches("ERR the fake Redis does not support " .. line:match "%S+", why, nil, true)
        end
    end)

    it("takes numbers as a client does, and no other values", function()
        local fake = fake_redis()
        fake("SET", "n", 12)
        assert.equal("12", fake("GET", "n"))
        assert.equal(13, fake("INCRBY", "n", 1))
        assert.has_error(function() fake("SET", "n", nil) end)
        assert.has_error(function() fake("SET", "n", {}) end)
        assert.has_error(function() fake() end)
    end)
end)
