-- The demo page of --dev, in a headless Chromium. A second policy serves a page that has the demo in a frame, works it
-- as a user would, and writes the outcome to the console.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local process = require "process"

local PAGE = [==[
<iframe id="frame" src="/" width="1280" height="900"></iframe>
<script>
const frame = document.getElementById("frame");
const $ = (id) => frame.contentDocument.getElementById(id);

// The first true value of `read`; it is called until there is one.
async function until(what, read) {
  for (const end = Date.now() + 20000; Date.now() < end; await new Promise((done) => setTimeout(done, 20))) {
    const value = read();
    if (value) return value;
  }
  throw new Error("timeout: " + what);
}

const lines = (device, style) => [...$(device + "-messages").querySelectorAll("li." + style)]
  .map((line) => line.lastChild.textContent);
const has = (device, style, text) => lines(device, style).some((line) => line.includes(text));
const is_open = (device) => $(device + "-state")?.textContent === "open";
const equal = (what, actual, expected) => {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(what + ": " + JSON.stringify(actual));
};

// Publishes to the topic, or to the user; returns the server's answer.
async function publish(filter, text, kind) {
  $("target-kind-" + (kind || "topic")).click();
  $("filter").value = filter;
  $("message-text").value = text;
  $("publish").click();
  await until("the answer to " + text, () => !$("publish").disabled);
  return $("answer").textContent;
}

const specs = {
  async "a message is sent back"() {
    $("device-1-send-text").value = "hello, server";
    $("device-1-send-button").click();
    await until("the answer", () => has("device-1", "message", "hello, server"));
    equal("state", $("device-1-state").textContent, "open");
  },

  async "a filter reaches the devices with its tags"() {
    for (const [filter, expected] of [["platform:ios, beta:true", "3"], ["platform:web", "1"], ["", "13"]]) {
      const text = "for <" + filter + ">";
      const answer = await publish(filter, text);
      equal(text + answer, answer.includes('"local": ' + expected.length), true);
      for (const n of expected) await until(text + " at " + n, () => has("device-" + n, "message", text));
      equal(text, ["1", "2", "3"].filter((n) => has("device-" + n, "message", text)).join(""), expected);
    }
    equal("curl", $("curl").textContent.includes("?"), false);
  },

  async "a new device has tags"() {
    $("device-tags").value = "platform:tv, url:a:b";
    $("add-device").click();
    await until("the device", () => is_open("device-4"));
    await publish("url:a:b", "for the TV");
    await until("its message", () => has("device-4", "message", "for the TV"));
    equal("curl", $("curl").textContent.includes("?filter=url:a:b'"), true);
    $("device-4-remove").click();
    await until("no device", () => !$("device-4"));
  },

  async "devices come back after a DELETE"() {
    $("disconnect-user").click();
    for (const device of ["device-1", "device-2"]) {
      await until("the end of " + device, () => has(device, "note", "closed 4000"));
      await until("the return of " + device, () => is_open(device) && has(device, "note", "reconnected"));
    }
    equal("the other user", lines("device-3", "note"), []);
  },

  async "a device that is disconnected by hand stays so"() {
    $("device-2-toggle").click();
    await until("its end", () => $("device-2-state").textContent === "closed");
    equal("button", $("device-2-toggle").textContent, "Switch on");
    $("device-2-toggle").click();
    await until("its return", () => is_open("device-2"));
  },

  "a device gets what it missed": misses,

  async "a phone shows the devices"() {
    frame.width = 390;
    frame.height = 844;
    await until("the width", () => frame.contentWindow.innerWidth === 390);
    for (const device of ["device-1", "device-2", "device-3"]) {
      const box = await until(device, () => $(device).getBoundingClientRect());
      if (box.top < 0 || $(device + "-messages").getBoundingClientRect().bottom > 844) {
        throw new Error(device + " is at " + box.top + " to " + box.bottom);
      }
    }
    const page = frame.contentDocument.documentElement;
    equal("width", page.scrollWidth, page.clientWidth);
  },

  "a phone gets what it missed": misses,
};

// With a history what was missed is shown and marked; what is gone, too. Without one it is said.
const has_history = location.search === "?history";
let round = 0;
async function misses() {
  const text = "round " + ++round, toggle = $("device-2-toggle");
  const notes = lines("device-2", "note").length;
  toggle.focus();
  equal("focus", frame.contentDocument.activeElement.id, toggle.id);
  toggle.click();
  await until("off", () => $("device-2-state").textContent === "closed");
  for (const n of [1, 2]) await publish("", text + " " + n, "user");
  for (const n of [1, 2]) await until("device 1", () => has("device-1", "message", text + " " + n));
  toggle.click();
  await until("on", () => lines("device-2", "note").slice(notes).some((note) => note.includes("reconnected")));
  await publish("", text + " 3", "user");
  await until("the next message", () => has("device-2", "message", text + " 3"));
  const got = lines("device-2", "message").filter((line) => line.startsWith(text));
  equal("messages", got, (has_history ? [1, 2, 3] : [3]).map((n) => text + " " + n));
  const marked = lines("device-2", "missed").filter((line) => line.startsWith(text)).slice(0, 2);
  equal("marked", marked, has_history ? [text + " 1", text + " 2"] : []);
  equal("note", lines("device-2", "note").at(-1).includes(has_history ? "what it missed follows" : "were not kept"), true);
}

if (has_history) specs["a device is told what is gone"] = async () => {
  $("device-1-toggle").click();
  await until("off", () => $("device-1-state").textContent === "closed");
  for (const n of [1, 2, 3]) await publish("", "gone " + n);
  $("device-1-toggle").click();
  await until("the gap", () => has("device-1", "gap", "topic:news"));
  equal("gone", has("device-1", "message", "gone"), false);
};

frame.onload = async () => {
  try {
    await until("three devices", () => is_open("device-1") && is_open("device-2") && is_open("device-3"));
    for (const [name, run] of Object.entries(specs)) {
      await run().catch((error) => { throw new Error(name + ": " + error.message); });
    }
    console.log("demo: passed " + Object.keys(specs).length);
  } catch (error) {
    console.log("demo: failed " + error.message);
  }
};
</script>
]==]

local POLICY = ([[return { http = { ["GET /work"] = function()
    return 200, { ["Content-Type"] = "text/html; charset=utf-8" }, %q
end } }]]):format(PAGE)

describe("the demo page", function()
    teardown(daemon.stop_all)

    local function run(query, rules)
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", POLICY)
        local d = daemon.start {env = {
            BELLHOP_SCRIPT_FILES = "lua/policy.lua," .. file, BELLHOP_HISTORY_RULES = rules,
        }}
        local page = browser.open(("http://127.0.0.1:%d/work%s"):format(d.port, query), dir)
        local outcome = page:wait("demo: (%l+ [^\n]*)", 120)
        page:stop()
        return outcome
    end

    it("works under the default policy", function()
        if not browser.find() then return pending "there is no Chromium" end
        assert.matches("^passed 8", run "")
    end)

    it("works with a history", function()
        if not browser.find() then return pending "there is no Chromium" end
        assert.matches("^passed 9", run("?history", '[{"topic":"user:*"},{"topic":"topic:news","size":2}]'))
    end)
end)
