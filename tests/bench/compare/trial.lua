-- One run: starts fresh servers, runs the load generator, parses its output, stops the servers.
local machine = require "machine"
local process = require "process"
local redis = require "redis"
local redis_cluster = require "redis_cluster"
local wait = require "wait"

local trial = {}

local RUN_SECONDS = 300 -- limit for the load generator

-- Lines `key value`; numbers as numbers.
function trial.parse_keys(output)
    local keys = {}
    for name, value in output:gmatch "([%w_]+)[ \t]+([^\n]+)" do keys[name] = tonumber(value) or value end
    return keys
end

local function load_words(env, what, servers)
    local words = machine.pinned(env.client_core)
    local function add(...) table.move({...}, 1, select("#", ...), #words + 1, words) end
    add(env.build .. "/tests/bench/load/bench_load", what.mode, "--connections", tostring(what.connections))
    if what.size then add("--size", tostring(what.size)) end
    add(table.unpack(what.options))
    add(table.unpack(servers[1].words))
    for _, server in ipairs(servers) do add("--pid", tostring(server.pid)) end
    add("--format", "kv")
    for _, server in ipairs(servers) do add(server.address) end
    return words
end

local function last_line(text) return text:match "([^\n]+)%s*$" end

-- The load generator notices a moment earlier than we that a server ended.
local function ended(server)
    pcall(wait.till, function() return server.process:status() end, 1)
    return server.process:status()
end

local function blame(run, servers)
    for _, server in ipairs(servers) do
        local log, how = server.process:log(), ended(server)
        if how then run.status, run.error = 1, "the server ended: " .. (last_line(log) or how) end
        run.raw = ("%s\nthe server's log:\n%s"):format(run.raw, log)
    end
end

local function load(env, what, servers, meanwhile)
    local words = load_words(env, what, servers)
    local output, errors, status = machine.run(words, RUN_SECONDS, env.work, meanwhile)
    local run = {
        keys = trial.parse_keys(output),
        status = status,
        error = status == 124 and "timeout" or last_line(errors),
        raw = ("%s\n%s%s"):format(process.command(words), output, errors),
    }
    if status ~= 0 then blame(run, servers) end
    return run
end

-- One Redis, or a cluster of so many masters, or nothing; and a function that says whether a process is of it.
local function start_broker(what)
    local broker = what.masters and redis_cluster.start(what.masters) or what.redis and redis.start() or nil
    local mine = {}
    for _, node in ipairs(broker and (broker.nodes or {broker}) or {}) do mine[node.process] = true end
    return broker, function(one) return mine[one] end
end

-- what: mode, connections, options, size, redis (whether to start one), masters (start a cluster of so many).
-- start(broker): returns the servers (servers.lua), which share the connections; the words of the first one
-- are used. meanwhile(broker), if given, is called while the load runs; after(broker), when it has succeeded.
-- Returns a run as in verdict.lua, with all
-- output as `raw`.
function trial.run(env, what, start, meanwhile, after)
    local broker, is_broker = start_broker(what)
    local started, servers = pcall(start, broker)
    local run
    if started then
        run = load(env, what, servers, meanwhile and function() meanwhile(broker) end)
    else
        run = {keys = {}, status = 1, error = last_line(tostring(servers)), raw = tostring(servers) .. "\n"}
    end
    if after and run.status == 0 then after(broker) end
    for _, one in ipairs(process.running()) do
        if not is_broker(one) then one:stop() end
    end
    if broker then broker:stop() end
    return run
end

-- Calls one(item, number), which returns a run, for each item, `times` times; each round begins with
-- another item. Returns the runs.
function trial.rounds(times, list, one)
    local runs = {}
    for number = 1, times do
        for i = 1, #list do
            runs[#runs + 1] = one(list[(i + number - 2) % #list + 1], number)
        end
    end
    return runs
end

return trial
