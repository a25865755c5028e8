-- The configuration of examples/pusher. Replace key and secret before others can reach the server.
return {
    server = { listen = { "127.0.0.1:6001" } },
    websocket = { paths = { "/app/:key" } },
    script = { files = { "examples/pusher/policy.lua" } },
    app = { pusher = { id = "1", key = "app-key", secret = "app-secret" } },
}
