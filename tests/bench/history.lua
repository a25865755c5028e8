-- The cost of an append in Redis: its CPU beside that of a script of Centrifugo's shape, in one run, and the
-- memory of small streams. Usage: lua5.4 tests/bench/history.lua [--runs N] [--appends N] [--channels N] [--only A,B]
package.path = "tests/support/?.lua;" .. package.path
local history = require "history"
local redis = require "redis"

local BATCH, SIZE = 200, 100
local CHANNELS -- --channels
local PAYLOAD = ("x"):rep(128)

-- A script of our own with the same steps as Centrifugo's for history in a stream: the next offset and the epoch in a
-- hash, XADD with MAXLEN, both keys get a new expiry, and the message is published with its position before it.
local STREAM_SCRIPT = [[
local meta, stream = KEYS[1], KEYS[2]
local epoch = redis.call("HGET", meta, "e")
if not epoch then
    epoch = ARGV[5]
    redis.call("HSET", meta, "e", epoch)
end
local top = redis.call("HINCRBY", meta, "s", 1)
redis.call("EXPIRE", meta, ARGV[4])
redis.call("XADD", stream, "MAXLEN", ARGV[2], top, "d", ARGV[1])
redis.call("EXPIRE", stream, ARGV[3])
redis.call("PUBLISH", ARGV[6], "__p1:" .. top .. ":" .. epoch .. "__" .. ARGV[1])
return { top, epoch }
]]

local function options()
    local found = {runs = 5, appends = 50000, channels = 200}
    for i = 1, #arg, 2 do found[arg[i]:match "^%-%-(%a+)$" or error("unknown argument " .. arg[i])] = arg[i + 1] end
    for _, name in ipairs {"runs", "appends", "channels"} do found[name] = math.tointeger(tonumber(found[name])) end
    CHANNELS = found.channels
    return found
end

-- --- the appends ---

local sha -- of STREAM_SCRIPT
local RULE = SIZE .. " 86400000 2592000000 1048576 1 300000"

local function keys(i)
    local channel = "notification:" .. i % CHANNELS
    return "{" .. channel .. "}:log", "{" .. channel .. "}:m"
end

local function unique(i) return ("%022x"):format(i * 0x9E3779B97F4A7C15 & 0x7fffffffffffffff) end

local function append(i, id, collapse, script)
    local log, meta = keys(i)
    local head, rest = history.envelope(PAYLOAD, id)
    if script then return "EVALSHA", script, 2, log, meta, head, rest, id, RULE, "PUBLISH", collapse end
    return "FCALL", "bellhop_append", 2, log, meta, head, rest, id, RULE, "PUBLISH", collapse
end

local scripts = {}
local kinds = {
    {name = "stream", of = function(i)
        local channel = "notification:" .. i % CHANNELS
        return "EVALSHA", sha, 2, "meta." .. channel, "stream." .. channel, PAYLOAD, SIZE, 86400, 2592000, "abcd", channel
    end},
    {name = "plain", goal = 1.0, of = function(i)
        local log, meta = keys(i)
        return "FCALL", "bellhop_publish", 2, log, meta, PAYLOAD
    end},
    {name = "no id", of = function(i) return append(i, "", "") end},
    {name = "id", goal = 1.3, of = function(i) return append(i, unique(i), "") end},
    {name = "id, collapse", goal = 1.3, of = function(i) return append(i, unique(i), "k" .. i // CHANNELS % 5) end},
    {name = "id, EVAL", of = function(i) return append(i, unique(i), "", scripts.append) end},
}

-- --- measuring ---

local function cpu(server)
    local text = server:call("INFO", "cpu")
    return tonumber(text:match "used_cpu_user:([%d.]+)") + tonumber(text:match "used_cpu_sys:([%d.]+)")
end

-- Time inside the command, in us a call.
local function inside(server, command)
    local stats = server:call("INFO", "commandstats")
    return tonumber(stats:match("cmdstat_" .. command .. ":calls=%d+,usec=%d+,usec_per_call=([%d.]+)"))
end

local function pipeline(client, of, from, to)
    local buffer = {}
    local write = client.conn.send
    for first = from, to, BATCH do
        local parts = {}
        for i = first, math.min(first + BATCH - 1, to) do
            local words = {of(i)}
            parts[#parts + 1] = "*" .. #words .. "\r\n"
            for _, word in ipairs(words) do
                word = tostring(word)
                parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
            end
        end
        assert(write(client.conn, table.concat(parts)))
        for _ = 1, math.min(BATCH, to - first + 1) do
            local reply, why = client:read()
            assert(reply, why)
            buffer[1] = reply
        end
    end
    return buffer[1]
end

local function prepare(server)
    server:call("FLUSHALL")
    assert(server:call("FUNCTION", "LOAD", "REPLACE", history.library()))
    sha = assert(server:call("SCRIPT", "LOAD", STREAM_SCRIPT))
    scripts.append = assert(server:call("SCRIPT", "LOAD", history.script "append"))
end

-- Redis' CPU and the time inside the command, in us for one append. The first half fills the streams.
local function run(server, kind, appends)
    prepare(server)
    local client = server:client()
    pipeline(client, kind.of, 1, appends // 2)
    server:call("CONFIG", "RESETSTAT")
    local before = cpu(server)
    local last = pipeline(client, kind.of, appends // 2 + 1, appends)
    local used = (cpu(server) - before) / (appends - appends // 2) * 1e6
    client:close()
    assert(last[1] == appends // CHANNELS, "the work was not done")
    return used, inside(server, kind.of(1):lower())
end

local function median(list)
    table.sort(list)
    return list[(#list + 1) // 2]
end

local function memory(server, of, count)
    prepare(server)
    local client = server:client()
    for i = 1, count do assert(client:call(of((i - 1) * CHANNELS))) end
    client:close()
    local sum = 0
    for _, key in ipairs(server:call("KEYS", "*")) do sum = sum + server:call("MEMORY", "USAGE", key, "SAMPLES", 0) end
    return sum
end

local set = options()
local server = redis.start()
local ok, why = pcall(function()
    local used, calls = {}, {}
    for _ = 1, set.runs do
        for _, kind in ipairs(kinds) do
            if not set.only or ("stream," .. set.only):find(kind.name, 1, true) then
                used[kind], calls[kind] = used[kind] or {}, calls[kind] or {}
                local one, call = run(server, kind, set.appends)
                table.insert(used[kind], one)
                table.insert(calls[kind], call)
            end
        end
    end
    local base, base_call = median(used[kinds[1]]), median(calls[kinds[1]])
    print(("%-14s %10s %7s %12s %7s %8s"):format("append", "CPU us", "ratio", "command us", "ratio", "goal"))
    for _, kind in ipairs(kinds) do
        if used[kind] then
            local one, call = median(used[kind]), median(calls[kind])
            print(("%-14s %10.2f %7.2f %12.2f %7.2f %8s"):format(kind.name, one, one / base, call, call / base_call,
                kind.goal or ""))
        end
    end
    print()
    print(("%-14s %12s %12s"):format("bytes", "1 entry", "10 entries"))
    for _, kind in ipairs(kinds) do
        print(("%-14s %12d %12d"):format(kind.name, memory(server, kind.of, 1), memory(server, kind.of, 10)))
    end
end)
redis.stop_all()
if not ok then error(why, 0) end
