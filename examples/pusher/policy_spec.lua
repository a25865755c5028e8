local bellhop = require "bellhop.test"

local CONFIG = {
    websocket = { paths = { "/app/:key" } },
    app = { pusher = { id = "1", key = "app-key", secret = "app-secret" } },
}

describe("a server for Pusher clients", function()
    local t
    before_each(function() t = bellhop.load("policy.lua", { config = CONFIG }) end)

    local function connect(key) return t.connect { path = "/app/" .. key, query = "protocol=7" } end

    it("accepts connections with the key", function()
        local client = connect "app-key"
        assert.equal("pusher:connection_established", client:last().event)
        client:recv { event = "pusher:subscribe", data = { channel = "news" } }
        assert.equal("pusher_internal:subscription_succeeded", client:last().event)
        client:recv { event = "pusher:subscribe", data = { channel = "private-news", auth = "app-key:forged" } }
        assert.equal("pusher:subscription_error", client:last().event)
        assert.equal(4001, connect("another").closed)
    end)

    it("accepts signed events only", function()
        local body = '{"name":"paid","channel":"news","data":"{}"}'
        assert.equal(401, t.request({ method = "POST", path = "/apps/1/events", body = body }).status)
    end)
end)
