-- The page of examples/resume, in a headless Chromium: its switches, what it missed, and gaps. A second policy serves a page
-- that has it in a frame and works it; specs publish between its steps.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local process = require "process"
local wait = require "wait"

local SECRET = ("s"):rep(32)

-- Steps are asked for at /step: "sse off". What the lists show is written to the console.
local PAGE = [==[
<iframe id="frame" width="1000" height="800"></iframe>
<script>
const frame = document.getElementById("frame");
frame.src = "/?" + location.search.slice(1);
const shown = { sse: 0, ws: 0 };

function show(document) {
  for (const id of ["sse", "ws"]) {
    for (const line of [...document.querySelectorAll("#" + id + " li")].slice(shown[id])) {
      shown[id]++;
      console.log(id + " <" + line.className + " " + line.textContent + ">");
    }
  }
}

async function work() {
  show(frame.contentDocument);
  const step = await (await fetch("/step")).text();
  if (!step) return;
  const [id, state] = step.split(" ");
  const online = frame.contentDocument.querySelector("#" + id + " input");
  if (online.checked !== (state === "on")) online.click();
}

frame.onload = () => setInterval(work, 50);
</script>
]==]

local POLICY = [==[
local bh = require "bellhop"
local steps = bh.shared.steps
return { http = {
    ["GET /work"] = function() return 200, { ["Content-Type"] = "text/html" }, %q end,
    ["GET /step"] = function()
        local step = steps:get "next" or ""
        steps:set("next", nil)
        return 200, nil, step
    end,
    ["POST /step"] = function(req) steps:set("next", req.body) return 204 end,
} }
]==]

describe("the page of examples/resume", function()
    if not browser.find() then return pending "there is no Chromium" end
    local d, page, dir

    setup(function()
        dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", POLICY:format(PAGE))
        d = daemon.start {dev = false, workers = 1, args = {"-c", "examples/resume/bellhop.conf.lua"}, env = {
            BELLHOP_AUTH_JWT_SECRET = SECRET, BELLHOP_API_KEYS = "key", BELLHOP_SSE_RETRY = "0.1",
            BELLHOP_SCRIPT_FILES = "examples/resume/policy.lua," .. file,
        }}
        local token = process.run({daemon.BIN, "token", "--user", "42"}, {BELLHOP_AUTH_JWT_SECRET = SECRET})
        page = browser.open(("http://127.0.0.1:%d/work?token=%s"):format(d.port, token:match "%S+"), dir)
        for _, id in ipairs {"sse", "ws"} do page:wait(id .. " <note connected>") end
    end)
    teardown(function()
        page:stop()
        daemon.stop_all()
    end)

    local function publish(target, text) d:publish(target, text, nil, {Authorization = "Bearer key"}) end

    local function notes(id, text) return select(2, page:log():gsub(id .. " <note " .. text .. ">", "")) end

    local function switch(id, state)
        local text = state == "on" and "back" or "off"
        local before = notes(id, text)
        d:request("POST", "/step", {body = id .. " " .. state})
        wait.till(function() return notes(id, text) > before end, 40, function() return page:log() end)
    end

    local function both(state)
        for _, id in ipairs {"sse", "ws"} do switch(id, state) end
    end

    -- Waits until each list ends with these lines, without notes.
    local function expect(...)
        local expected = {...}
        for _, id in ipairs {"sse", "ws"} do
            local list
            wait.till(function()
                list = {}
                for style, text in page:log():gmatch(id .. " <(%l+) ([^>]*)>") do
                    if style ~= "note" then list[#list + 1] = style .. " " .. text:gsub('\\', "") end
                end
                return list[#list] and list[#list]:find(expected[#expected], 1, true)
            end, 40, function() return page:log() end)
            assert.are.same(expected, {table.unpack(list, #list - #expected + 1)})
        end
    end

    it("shows what comes", function()
        publish("users/42", "one")
        expect "message one"
    end)

    it("shows what was missed, in order and once", function()
        both "off"
        d:wait_metric("bellhop_edge_sse_connections", 0)
        d:wait_metric("bellhop_edge_connections", 0)
        for _, text in ipairs {"two", "three", '{"n":4}'} do publish("users/42", text) end
        both "on"
        expect("message one", "missed two", "missed three", 'missed {"n":4}')
    end)

    it("shows that messages are gone", function()
        both "off"
        for n = 1, 21 do publish("topics/news", "news " .. n) end
        both "on"
        publish("users/42", "five")
        page:wait "sse <gap messages of topic:news are missing>"
        page:wait "ws <gap messages of topic:news are missing: expired>"
        assert.is_nil(page:log():find("news 21", 1, true))
    end)
end)
