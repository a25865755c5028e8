-- EventSource in a headless Chromium: it receives, comes back by itself with its last id, and stops when it is told.
package.path = "tests/support/?.lua;" .. package.path
local browser = require "browser"
local daemon = require "daemon"
local http = require "http"
local wait = require "wait"

-- HOST makes it another origin.
local PAGE = [==[
<script>
const source = new EventSource("http://HOST:" + location.port + "/sse?as=" + new URL(location).searchParams.get("as"),
  { withCredentials: true });
source.onopen = () => console.log("open");
source.onmessage = (event) => console.log("got " + JSON.stringify(event.data));
source.addEventListener("binary", (event) => console.log("binary " + event.data));
source.addEventListener("close", (event) => {
  console.log("told " + event.data);
  if (/^4[5-9]/.test(event.data)) source.close();
});
source.onerror = () => console.log("error " + source.readyState);
</script>
]==]

-- The first `refusals` requests are told to come back later.
local POLICY = [==[
local refusals, requests = %d, {}
return {
    on_handshake = function(req)
        requests[#requests + 1] = (req:header "Last-Event-ID" or "none") .. " " .. (req:header "Cookie" or "")
        if #requests <= refusals then return false, 503 end
        if req:arg "as" == "nobody" then return false, 403 end
        return { user = req:arg "as" }
    end,
    http = {
        ["GET /page"] = function()
            return 200, { ["Content-Type"] = "text/html; charset=utf-8", ["Set-Cookie"] = "c=1" }, %q
        end,
        ["GET /requests"] = function() return 200, {}, table.concat(requests, "\n") end,
    },
}
]==]

local function start(options)
    options = options or {}
    return daemon.start {
        workers = 1, listen = {"127.0.0.1:" .. (options.port or 0)}, env = {BELLHOP_SSE_RETRY = "0.1"},
        policy = POLICY:format(options.refusals or 0, (PAGE:gsub("HOST", options.host or "127.0.0.1"))),
    }
end

local function requests(d)
    local list = {}
    for line in (http.get(d.port, "/requests").body .. "\n"):gmatch "(.-)\n" do list[#list + 1] = line end
    return list
end

describe("EventSource", function()
    if not browser.find() then return pending "there is no Chromium" end
    local page

    after_each(function()
        page:stop()
        daemon.stop_all()
    end)

    local function open(d, as) page = browser.open(("http://127.0.0.1:%d/page?as=%s"):format(d.port, as or "42")) end

    it("receives what is sent", function()
        local d = start()
        open(d)
        page:wait "open"
        d:publish("users/42", "two\r\nlines: \u{e9}")
        page:wait 'got \\?"two\\+nlines: \u{e9}\\?"'
        d:publish("users/42", ("long "):rep(1000))
        page:wait "long long long"
        d:publish("users/42", "\0\1", nil, {["Content-Type"] = "application/octet-stream"})
        page:wait "binary AAE="
        assert.matches("^none", requests(d)[1])
    end)

    it("comes back by itself, with its last id", function()
        local d = start()
        open(d)
        d:wait_metric("bellhop_edge_sse_connections", 1, 40)
        local port = d.port
        d:stop()
        d = start {port = port}
        d:wait_metric("bellhop_edge_sse_connections", 1, 40)
        d:publish("users/42", "after")
        page:wait 'got \\?"after'
        assert.matches("^1%.", requests(d)[1])
    end)

    it("comes back after refusals that pass", function()
        local d = start {refusals = 3}
        open(d)
        d:wait_metric("bellhop_edge_sse_connections", 1, 40)
        assert.are.equal(4, #requests(d))
        assert.is_nil(page:log():find("error 2", 1, true))
    end)

    it("comes back after a close below 4500", function()
        local d = start()
        open(d)
        d:wait_metric("bellhop_edge_sse_connections", 1, 40)
        d:request("DELETE", "/api/users/42/connections?code=4001")
        page:wait "told 4001"
        d:wait_metric("bellhop_edge_sse_connections_opened_total", 2, 40)
    end)

    it("stops after a close from 4500 on, and when its rights are gone", function()
        local d = start()
        open(d)
        d:wait_metric("bellhop_edge_sse_connections", 1, 40)
        d:request("DELETE", "/api/users/42/connections?code=4900&reason=sold")
        page:wait "told 4900 sold"
        page:stop()
        open(d, "nobody")
        page:wait "error 2"
        assert.are.equal(1, d:metric "bellhop_edge_sse_connections_opened_total")
    end)

    it("works from the page of another origin, with cookies", function()
        local d = start {host = "localhost"}
        open(d)
        page:wait "open"
        wait.till(function() return d:publish("users/42", "across"):find('"local":1', 1, true) end)
        page:wait 'got \\?"across'
        assert.matches("^none", requests(d)[1])
    end)
end)
