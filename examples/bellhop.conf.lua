-- A complete configuration: every key there is, with its default, unless the line says otherwise.
--
--     bellhop check -c bellhop.conf.lua
--     bellhop serve -c bellhop.conf.lua
--
-- A configuration is a Lua file that returns a table. It is evaluated once, at start, in a sandbox:
-- it can compute, and cannot act. Times are in seconds (fractions are welcome), sizes in bytes.
-- Unknown keys and wrong types are refused.
--
-- The environment overrides each key as BELLHOP_<SECTION>_<KEY>: BELLHOP_REDIS_URL, BELLHOP_LOG_LEVEL,
-- BELLHOP_AUTH_JWT_SECRET; lists with commas: BELLHOP_API_KEYS=one,two. Options of the command line
-- override both. Keep secrets in the environment rather than in this file.

local KiB, MiB = 1024, 1024 * 1024

return {
    server = {
        -- Where to listen: "ADDRESS:PORT", "[::1]:8080"; port 0 takes a free one.
        listen = { "127.0.0.1:8080" },
        workers = 0, -- threads with an event loop each; 0: one for each core
        instance = "", -- this instance's name in the cluster; "": made up at each start
        dev = false, -- loopback only: no keys, ?user= on the WebSocket, the demo page at /
        drain_timeout = 10, -- on SIGTERM: how long connections may take to close
        connections_max = 0, -- of the process; 0: as many as there are file descriptors
        backlog = 1024,
    },

    http = {
        head_bytes = 16 * KiB, -- request line and headers
        body_bytes = 4 * MiB, -- of a request to the API
        idle_timeout = 75, -- keep-alive
        request_timeout = 10, -- from a request's first byte to its last
    },

    websocket = {
        path = "/ws",
        message_bytes = 16 * MiB, -- largest message from a client
        fragments = 100000, -- most fragments of one message
        ping_interval = 25,
        pong_timeout = 8, -- no answer to a ping for so long: the connection is dead
        close_timeout = 5, -- for the client's half of the closing handshake
        handshake_timeout = 10, -- from the upgrade request to the 101: hooks and subscriptions
        queue_bytes = 4 * MiB, -- unsent bytes of one connection; beyond: closed with 1008
        -- What a client's message gets when no on_message hook wants it: "refuse" closes with 1008,
        -- "ignore" drops it.
        client_messages = "refuse",
    },

    api = {
        -- Authorization: Bearer <key>. Without keys (and without an on_api hook) the API is closed,
        -- except with dev.
        keys = {},
    },

    redis = {
        -- redis://[user:pass@]host[:port][/db] or unix:///path; "": no Redis, one instance.
        url = "",
        channel_prefix = "notification:", -- the same on all instances and publishers
        connect_timeout = 5,
        command_timeout = 5, -- a link whose oldest command waits longer is dropped and made anew
        probe_interval = 2, -- how often delivery through Redis is proven
        unsubscribe_linger = 5, -- how long a channel without connections stays subscribed
    },

    delivery = {
        strategy = "local_first", -- "local_first", "redis", "both", "local"
        payload_bytes = 4 * MiB, -- larger messages are refused
        seen_max = 100000, -- message ids remembered against duplicates
        seen_ttl = 300,
    },

    script = {
        files = {}, -- policies, asked in this order; {}: the policy that comes with bellhop
        trusted = false, -- true: all Lua libraries (io, os, debug, C modules)
        lua_dir = "", -- where the bellhop Lua library is; "": found by the program
    },

    -- For bh.jwt in scripts, for the shipped policy, and for `bellhop token`.
    auth = {
        jwt = {
            algorithms = { "HS256" }, -- HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512
            secret = "", -- for HS*: at least as long as the hash, 32 bytes for HS256
            public_key = "", -- for RS* and ES*: the PEM text
            issuer = "", -- required `iss`; "": not checked
            audience = "", -- required `aud`; "": not checked
            leeway = 0, -- for exp, nbf and iat, in whole seconds
            cookie = "token", -- the cookie that may carry the token, since browsers cannot set headers
            user_claim = "sub",
            tenant_claim = "tenant",
        },
    },

    log = {
        level = "info", -- "debug", "info", "warn", "error", "off"
        format = "logfmt", -- or "json"
        target = "stderr", -- or "syslog"
    },

    -- Yours: scripts read it with bh.config("app.greeting").
    app = {
        greeting = "hello",
    },
}
