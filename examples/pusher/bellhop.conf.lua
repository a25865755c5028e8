-- bellhop serve -c examples/pusher/bellhop.conf.lua
--
-- Put secrets of your own in their place before anybody else can reach it.
return {
    server = { listen = { "127.0.0.1:6001" } },
    websocket = { paths = { "/app/:key" } },
    script = { files = { "examples/pusher/policy.lua" } },
    app = { pusher = { id = "1", key = "app-key", secret = "app-secret" } },
}
