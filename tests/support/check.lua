-- Assertions about clients. To check that a client received nothing else, a marker is broadcast with the
-- strategy `redis`, which orders it after everything that was published before: the marker must be the
-- next message of the client.
local assert = require "luassert"
local wait = require "wait"

local check = {}
local count = 0

function check.next(client, payload, kind)
    local got, how, code, reason = client:recv()
    if got ~= payload and (#payload > 200 or (got and #got > 200)) then
        error(("expected %d bytes, got %s (%s)"):format(#payload, got and #got .. " different bytes" or "nothing", how), 2)
    end
    if not got then
        error(("expected %q, got %s %s %s"):format(payload, how, code or "", reason or ""), 2)
    end
    assert.are.equal(payload, got)
    if kind then assert.are.equal(kind, how) end
end

-- Each client's next message is a marker published by the daemon.
function check.quiet(daemon, ...)
    count = count + 1
    local marker = "marker " .. count
    daemon:publish("broadcast", marker, "strategy=redis")
    for _, client in ipairs {...} do check.next(client, marker, "text") end
end

-- The server closes with this code, and ends the connection after our close frame.
function check.closed(client, code, reason)
    local got, why = client:recv_close()
    assert.are.equal(code, got or why)
    if reason then assert.are.equal(reason, why) end
    assert.are.equal("", client.conn:read_all())
    client:drop()
end

function check.error(answer, status, code, text)
    assert.is_table(answer)
    assert.are.equal(status, answer.status, answer.body)
    if code then
        assert.are.equal(code, answer.body:match '^{"error":{.*"code":"([%w_]+)"', answer.body)
        assert.matches('"message":"[^"]', answer.body)
    end
    if text and not answer.body:find(text, 1, true) then
        error(("%q does not contain %q"):format(answer.body, text), 2)
    end
end

-- Waits until each of the instances lists so many connections of the user, and can say so for certain.
function check.known(instances, user, connections)
    for _, d in ipairs(instances) do
        local said
        wait.till(function()
            said = d:request("GET", "/api/users/" .. user).body
            return said:find '"as_of"' and select(2, said:gsub('"instance"', "")) == connections
        end, 15, function() return ("%d connections of %s; it says %s\n%s"):format(connections, user, said, d:log()) end)
    end
end

return check
