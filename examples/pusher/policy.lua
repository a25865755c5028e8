-- A server for Pusher clients: pusher-js, laravel-echo, and Pusher's server libraries.
--
-- What it shows
--   * bellhop.pusher implements the whole protocol. The first comment of lua/bellhop/pusher.lua describes its options.
--   * The app is part of the configuration: section app.pusher.
--
-- Run it, in the project's folder:
--
--     bellhop serve -c examples/pusher/bellhop.conf.lua
--
-- Try it, in an empty folder, after `npm install pusher pusher-js`:
--
--     node -e '
--     const PusherJs = require("pusher-js"), Pusher = require("pusher")
--     const client = new PusherJs("app-key", { wsHost: "127.0.0.1", wsPort: 6001, forceTLS: false,
--         enabledTransports: ["ws"], cluster: "" })
--     const server = new Pusher({ appId: "1", key: "app-key", secret: "app-secret",
--         host: "127.0.0.1", port: "6001", useTLS: false })
--     const news = client.subscribe("news")
--     news.bind("paid", (data) => { console.log(data); client.disconnect() })
--     news.bind("pusher:subscription_succeeded", () => server.trigger("news", "paid", { order: 17 }))'
local bh = require "bellhop"
local pusher = require "bellhop.pusher"

return pusher.policy {
    apps = {
        {
            id = bh.config "app.pusher.id",
            key = bh.config "app.pusher.key",
            secret = bh.config "app.pusher.secret",
            client_messages = true,
        },
    },
}
