-- bellhop as a server for Pusher clients: pusher-js, laravel-echo, Pusher's server libraries.
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
