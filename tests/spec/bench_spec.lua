-- The parts of tests/bench/compare.lua and scale.lua that only compute: summaries, rejected runs, tables,
-- CSV, the picture, the steps, the figures of Redis. Run by `bellhop test`.
local root = debug.getinfo(1, "S").source:match "^@(.-)[^/]*$" .. "../../"
for _, dir in ipairs {"bench/compare", "bench/scale", "support"} do
    package.path = ("%stests/%s/?.lua;%s"):format(root, dir, package.path)
end
local machine = require "machine"
local peers = require "peers"
local redis_meter = require "redis_meter"
local report = require "report"
local scenarios = require "scenarios"
local stats = require "stats"
local svg = require "svg"
local tables = require "tables"
local trial = require "trial"
local verdict = require "verdict"

local ASKED = {connections = 100, size = 128, fixed_work = true}

local SCENARIO = {
    name = "fanout",
    mode = "fanout",
    reference = "uws",
    metrics = {
        {key = "deliveries_per_s", label = "deliveries/s", better = "more"},
        {key = "server_user_us_per_message", label = "us user CPU", better = "less"},
    },
    goals = {
        {of = "bellhop", metric = "deliveries_per_s", at_least = 1, peer = "uws", or_best = true},
        {of = "bellhop", metric = "server_user_us_per_message", at_most = 0.5},
    },
}

local function run(peer, number, keys, status)
    local all = {connections = 100, size = 128, deliveries = 1000, lost = 0, short_payloads = 0}
    for key, value in pairs(keys) do all[key] = value end
    return {scenario = "fanout", peer = peer, number = number, keys = all, status = status or 0}
end

local function three(peer, speeds, cpu)
    local runs = {}
    for i, speed in ipairs(speeds) do
        runs[i] = run(peer, i, {deliveries_per_s = speed, server_user_us_per_message = cpu})
    end
    return runs
end

local function join(...)
    local all = {}
    for _, list in ipairs {...} do table.move(list, 1, #list, #all + 1, all) end
    return all
end

describe("several runs", function()
    it("have a median and a spread", function()
        assert.same({median = 3, min = 1, max = 9}, stats.summary {9, 1, 3})
        assert.equal(2.5, stats.summary({4, 1, 2, 3}).median)
        assert.equal(7, stats.summary({7}).median)
        assert.is_nil(stats.summary {})
        assert.equal(2, stats.quantile({5, 1, 2, 3, 4}, 0.25))
    end)

    it("keep their order", function()
        local values = {3, 1, 2}
        stats.summary(values)
        assert.same({3, 1, 2}, values)
    end)
end)

describe("a run", function()
    local function why(keys, status, ours) return verdict.rejection(run("node", 1, keys, status), ASKED, ours) end

    it("is accepted when all of its work was done", function()
        assert.is_nil(why {})
        assert.is_nil(why({}, 0, {deliveries = 1000}))
    end)

    it("is rejected when it did less work", function()
        assert.equal("rejected: 12 messages lost", why({lost = 12}, 3))
        assert.equal("rejected: 1 message lost", why {lost = 1})
        assert.equal("rejected: 2 short payloads", why {short_payloads = 2})
        assert.equal("rejected: 3 unexpected messages", why {unexpected = 3})
        assert.equal("rejected: it closed 2 connections", why {closed_connections = 2})
        assert.equal("rejected: 99 of 100 connections", why {connections = 99})
        assert.equal("rejected: payloads of 64 instead of 128 bytes", why {size = 64})
        assert.equal("rejected: 1000 deliveries, bellhop made 1001", why({}, 0, {deliveries = 1001}))
        assert.equal("rejected: wrong deliveries", why({}, 3))
    end)

    it("of a fixed time may deliver less", function()
        local asked = {connections = 100, size = 128}
        assert.is_nil(verdict.rejection(run("node", 1, {}), asked, {deliveries = 5000}))
    end)

    it("is rejected when it failed", function()
        local failed = run("node", 1, {}, 1)
        failed.error = "cannot connect"
        assert.equal("failed: cannot connect", verdict.rejection(failed, ASKED))
        assert.equal("failed: status 2", why({}, 2))
        assert.equal("rejected: 0 of 100 connections",
            verdict.rejection({peer = "node", number = 1, keys = {}, status = 0}, ASKED))
    end)
end)

describe("a scenario", function()
    it("rejects a peer when one of its runs is rejected", function()
        local runs = join(three("bellhop", {100, 110, 120}, 0.4), three("uws", {90, 200, 100}, 0.5))
        runs[5].keys.lost = 3
        local summary = verdict.summarize(SCENARIO, runs, ASKED)
        assert.equal(110, verdict.median(summary, "bellhop", "deliveries_per_s"))
        assert.is_nil(verdict.median(summary, "uws", "deliveries_per_s"))
        assert.equal("rejected: 3 messages lost (1 of 3 runs)", summary.uws.rejection)
        assert.equal("rejected: 3 messages lost", runs[5].rejection)
        assert.is_nil(runs[4].rejection)
    end)

    it("converts values to the unit of the label", function()
        local scenario = {metrics = {{key = "bytes_per_connection", label = "KiB", scale = 1 / 1024}}}
        local summary = verdict.summarize(scenario, {run("bellhop", 1, {bytes_per_connection = 512})}, ASKED)
        assert.equal(0.5, verdict.median(summary, "bellhop", "bytes_per_connection"))
    end)

    local function goals(runs)
        local summary = verdict.summarize(SCENARIO, runs, ASKED)
        return verdict.goal(SCENARIO, summary, SCENARIO.goals[1]), verdict.goal(SCENARIO, summary, SCENARIO.goals[2])
    end

    it("shows whether a goal is reached", function()
        local speed, cpu = goals(join(three("bellhop", {110, 110, 110}, 0.55), three("uws", {100, 100, 100}, 0.5)))
        assert.is_true(speed.reached)
        assert.equal(100, speed.limit)
        assert.equal("bellhop, deliveries/s at least 1 of uws: 1.1, reached", speed.text)
        assert.is_false(cpu.reached)
        assert.equal(0.5, cpu.limit)
        assert.equal("bellhop, us user CPU at most 0.5: 0.55, missed by 10.0 %", cpu.text)
    end)

    it("compares with the best other peer when the reference is missing", function()
        local speed = goals(join(three("bellhop", {50}, 1), three("node", {20}, 1), three("nchan", {100}, 1)))
        assert.is_false(speed.reached)
        assert.matches("of nchan %(uws is missing or rejected%): 0.5, missed by 50.0 %%", speed.text)
        local only_raw = {of = "bellhop", metric = "deliveries_per_s", at_least = 1, peer = "raw"}
        local summary = verdict.summarize(SCENARIO, join(three("bellhop", {50}, 1), three("node", {20}, 1)), ASKED)
        assert.is_nil(verdict.goal(SCENARIO, summary, only_raw).reached)
    end)

    it("shows which peers were limited by the load generator", function()
        local runs = join(three("bellhop", {1, 1, 1}, 1), three("uws", {1, 1, 1}, 1))
        local function note() return verdict.bottleneck({"bellhop", "uws"}, verdict.summarize(SCENARIO, runs, ASKED)) end
        assert.is_nil(note())
        runs[4].keys.client_cpu_share = 0.99
        assert.is_nil(note())
        runs[5].keys.client_cpu_share = 0.97
        assert.equal("the core of the load generator was saturated with uws: they may be faster", note())
    end)

    it("has an unknown result without figures", function()
        local speed, cpu = goals {}
        assert.is_nil(speed.reached)
        assert.matches("unknown", speed.text)
        assert.matches("unknown", cpu.text)
    end)
end)

describe("the table", function()
    it("rounds numbers and separates thousands", function()
        assert.equal("0.58", report.number(0.583))
        assert.equal("12.3", report.number(12.34))
        assert.equal("123", report.number(123.4))
        assert.equal("41,320", report.number(41318))
        assert.equal("1,235,000", report.number(1234567))
        assert.equal("-", report.number(nil))
        assert.equal("-", report.number(0 / 0))
    end)

    it("aligns its columns, except a long last cell", function()
        assert.same({"peer  a  bb", "x     1   2", "long  rejected: 12 messages lost"},
            report.align {{"peer", "a", "bb"}, {"x", "1", "2"}, {"long", "rejected: 12 messages lost"}})
    end)

    it("has medians, spread and ratios, goals and notes", function()
        local runs = join(three("bellhop", {100, 120, 110}, 0.4), three("uws", {100, 100, 100}, 0.5),
            three("node", {55, 55, 55}, 4))
        runs[#runs].keys.lost = 2
        local summary = verdict.summarize(SCENARIO, runs, ASKED)
        local lines = report.scenario(SCENARIO, {"bellhop", "uws", "node"}, summary, {"a note"})
        assert.matches("^peer +deliveries/s +min%.%.max +of bellhop +of uws +us user CPU", lines[1])
        assert.matches("^bellhop +110 +100%.%.120 +1%.00 +1%.10 +0%.40 +0%.40 +1%.00$", lines[2])
        assert.matches("^uws +100 +100 +0%.91 +1%.00 +0%.50 +0%.50 +1%.25$", lines[3])
        assert.equal("node     rejected: 2 messages lost (1 of 3 runs)", lines[4])
        assert.matches("goal: bellhop, deliveries/s", lines[5])
        assert.equal("  note: a note", lines[7])
    end)

    it("becomes CSV with a row for each run", function()
        local runs = {run("bellhop", 1, {deliveries_per_s = 1e6}), run("node", 1, {lost = 2, note = 'a "b", c'}, 3)}
        verdict.summarize(SCENARIO, runs, ASKED)
        assert.equal("scenario,peer,run,status,verdict,connections,deliveries,deliveries_per_s,lost,note,"
            .. "short_payloads,size\n"
            .. "fanout,bellhop,1,0,ok,100,1000,1000000,0,,0,128\n"
            .. 'fanout,node,1,3,rejected: 2 messages lost,100,1000,,2,"a ""b"", c",0,128\n', report.csv(runs, "peer"))
    end)
end)

describe("the picture", function()
    local function draw(runs, order)
        local summary = verdict.summarize(SCENARIO, runs, ASKED)
        return svg.draw({{scenario = SCENARIO, title = "a < b", order = order, peers = summary}}, {"a caption"})
    end

    -- Elements are closed in the order they were opened.
    local function assert_well_formed(text)
        local open = {}
        for slash, name, rest in text:gmatch "<(/?)([%w]+)([^>]*)>" do
            if slash == "/" then
                assert.equal(table.remove(open), name)
            elseif rest:sub(-1) ~= "/" then
                open[#open + 1] = name
            end
        end
        assert.same({}, open)
    end

    it("has a bar for each accepted peer, as long as its median", function()
        local picture = draw(join(three("bellhop", {200, 200, 200}, 1), three("uws", {100, 90, 110}, 1)), {"bellhop", "uws"})
        assert_well_formed(picture)
        assert.matches("a &lt; b", picture)
        local ours = tonumber(picture:match 'class="bar ours"[^>]-width="([%d.]+)"')
        local theirs = tonumber(picture:match 'class="bar"[^>]-width="([%d.]+)"')
        assert.equal(2, ours / theirs)
        local _, whiskers = picture:gsub('class="whisker"', "")
        assert.equal(3, whiskers) -- one, with two ends; bellhop's runs are all the same
        assert.matches('class="goal"', picture)
    end)

    it("shows why a bar is missing", function()
        local runs = join(three("bellhop", {100}, 1), three("node", {100}, 1))
        runs[2].keys.lost = 7
        local picture = draw(runs, {"bellhop", "node"})
        assert_well_formed(picture)
        assert.matches(">rejected: 7 messages lost<", picture)
        local _, bars = picture:gsub('class="bar', "")
        assert.equal(1, bars)
    end)

    it("is valid without any figure", function()
        assert_well_formed(draw({}, {}))
    end)
end)

describe("the parts", function()
    it("fit together: references, goals and exceptions name existing parts", function()
        local modes = {echo = true, fanout = true, users = true, idle = true, burst = true}
        for _, scenario in ipairs(scenarios.list) do
            assert.is_true(modes[scenario.mode])
            assert.is_table(peers.find(scenario.reference))
            local keys = {}
            for _, metric in ipairs(scenario.metrics) do keys[metric.key] = true end
            for _, goal in ipairs(scenario.goals) do
                assert.is_table(peers.find(goal.of))
                assert.is_true(goal.peer == nil or peers.find(goal.peer) ~= nil)
                assert.is_true(keys[goal.metric])
                assert.is_true(peers.takes_part(peers.find(goal.of), scenario))
            end
            assert.is_true(peers.takes_part(peers.find "bellhop", scenario))
        end
        for _, peer in ipairs(peers.list) do
            for name in pairs(peer.cannot or {}) do assert.is_truthy(modes[name] or scenarios.find(name)) end
        end
    end)

    it("parse a list of cores", function()
        assert.same({0, 2, 3, 4}, machine.parse_cores "0,2-4")
        assert.same({7}, machine.parse_cores "7")
    end)
end)

describe("runs", function()
    it("are parsed from the output of the load generator", function()
        assert.same({mode = "idle", lost = 0, latency_us_p50 = 1.5}, trial.parse_keys "mode idle\nlost 0\nlatency_us_p50 1.5\n")
    end)

    it("begin each round with another item", function()
        local order = {}
        trial.rounds(2, {"a", "b", "c"}, function(item, number)
            order[#order + 1] = item .. number
            return {}
        end)
        assert.equal("a1 b1 c1 b2 c2 a2", table.concat(order, " "))
    end)
end)

describe("the cost of Redis", function()
    local function info(at, calls, usec, user, system, bytes)
        local text = ("# Stats\r\ntotal_net_output_bytes:%d\r\npubsub_channels:7\r\n# CPU\r\nused_cpu_sys:%f\r\n"
            .. "used_cpu_user:%f\r\nused_cpu_sys_children:9.0\r\ncmdstat_publish:calls=%d,usec=%d,usec_per_call=1.00\r\n")
            :format(bytes, system, user, calls, usec)
        return redis_meter.parse(text, at), #text + #tostring(#text) + 5
    end

    it("is computed for each message, without the queries and the base load", function()
        local quiet_from, first = info(10, 0, 0, 1, 1, 1000)
        assert.equal(7, quiet_from.channels)
        local quiet_to = info(12, 0, 0, 1.1, 1.1, 1000 + first + 200)
        local from, answer = info(20, 100, 200, 2, 2, 5000)
        local to = info(22, 300, 800, 2.3, 2.3, 5000 + answer + 400)
        local keys = redis_meter.keys(quiet_from, quiet_to, from, to)
        assert.equal(200, keys.redis_messages)
        assert.near(1e5, keys.redis_quiet_cpu_us_per_s, 1e-3)
        assert.near(2000, keys.redis_cpu_us_per_message, 1e-3)
        assert.equal(3, keys.redis_publish_us_per_message)
        assert.near(1, keys.redis_bytes_per_message, 1e-9)
    end)

    it("is that of all masters together", function()
        local text = "# Stats\r\npubsub_channels:0\r\npubsubshard_channels:%d\r\ncmdstat_publish:calls=1,usec=2\r\n"
            .. "cmdstat_spublish:calls=%d,usec=%d\r\nused_cpu_user:1.5\r\n"
        local all = redis_meter.sum {redis_meter.parse(text:format(3, 10, 20), 5), redis_meter.parse(text:format(4, 1, 4), 6)}
        assert.same({6, 7, 13, 28, 3e6}, {all.at, all.channels, all.published, all.publish_us, all.cpu_us})
    end)

    it("is empty when nothing was published", function()
        local one = redis_meter.parse("# Stats\r\ntotal_net_output_bytes:1\r\n", 1)
        assert.equal(0, one.published)
        assert.same({}, redis_meter.keys(one, one, one, one))
    end)
end)

describe("the steps", function()
    local function steps_of(descriptors, name)
        for _, one in ipairs(tables.all({descriptors = descriptors}, false, 500)) do
            if one.name == name then return one end
        end
    end

    it("are limited by descriptors", function()
        local idle = steps_of(20000, "idle")
        assert.same({1950, 6500, 19500}, {idle.steps[1].connections, idle.steps[2].connections, idle.steps[3].connections})
        assert.matches("19,500 connections at most.*20,000 file descriptors", idle.notes[1])
        idle = steps_of(1048576, "idle")
        assert.equal(120000, idle.steps[3].connections)
        assert.not_matches("at most", table.concat(idle.notes, " "))
    end)

    it("have 100,000 users, as topics when connections are limited", function()
        for _, descriptors in ipairs {1024, 20000, 1048576} do
            local users = steps_of(descriptors, "users")
            for _, step in ipairs(users.steps) do assert.is_true(step.connections <= descriptors - 500, step.name) end
            assert.matches("100,000 topics", users.steps[#users.steps].name)
        end
        assert.equal(100000, steps_of(1048576, "users").steps[3].connections)
    end)

    it("have different names, and refer to the first", function()
        for _, descriptors in ipairs {1024, 20000, 1048576} do
            for _, one in ipairs(tables.all({descriptors = descriptors}, false, 500)) do
                local seen = {}
                for _, step in ipairs(one.steps) do
                    assert.is_nil(seen[step.name])
                    seen[step.name] = true
                end
                assert.equal(one.steps[1].name, one.base)
                for _, goal in ipairs(one.goals) do assert.is_true(seen[goal.of]) end
            end
        end
    end)

    it("make a table", function()
        local scenario = {base = "1", column = "workers", metrics = SCENARIO.metrics, goals = {
            {of = "2", metric = "server_user_us_per_message", at_most = 1.15, peer = "1"},
        }}
        local summary = verdict.summarize(scenario, join(three("1", {100}, 1), three("2", {150}, 1.1)), ASKED)
        local lines = report.scenario(scenario, {"1", "2"}, summary, {})
        assert.matches("^workers +deliveries/s +min%.%.max +ratio +us user CPU +min%.%.max +ratio$", lines[1])
        assert.matches("^2 +150 +150 +1%.50 +1%.10 +1%.10 +1%.10$", lines[3])
        assert.equal("  goal: 2, us user CPU at most 1.15 of 1: 1.1, reached", lines[4])
    end)
end)
