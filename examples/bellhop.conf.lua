-- A complete configuration: every key with its default.
--
--     bellhop check -c bellhop.conf.lua
--     bellhop serve -c bellhop.conf.lua
--
-- A configuration is a Lua file that returns a table. It is evaluated once, at the start, in a sandbox:
-- it can compute but has no side effects. Times are in seconds (fractions are allowed), sizes in bytes.
-- Unknown keys and wrong types are refused.
--
-- The environment overrides each key as BELLHOP_<SECTION>_<KEY>: BELLHOP_REDIS_URL, BELLHOP_LOG_LEVEL,
-- BELLHOP_AUTH_JWT_SECRET; lists with commas: BELLHOP_API_KEYS=one,two. Options of the command line
-- override both. Keep secrets in the environment rather than in this file.

local KiB, MiB = 1024, 1024 * 1024

return {
    server = {
        -- Where to listen: "ADDRESS:PORT", "[::1]:8080", "unix:/PATH"; port 0 is any free port.
        -- "tls:ADDRESS:PORT" speaks TLS; "proxy:ADDRESS:PORT" and "proxy:tls:ADDRESS:PORT" expect
        -- the header of the PROXY protocol (v1 or v2) from a load balancer.
        listen = { "127.0.0.1:8080" },
        admin_listen = {}, -- likewise, for /healthz, /readyz and /metrics only
        workers = 0, -- threads with an event loop each; 0: one for each core
        instance = "", -- this instance's name in the cluster; "": a random one at each start
        dev = false, -- loopback only: no keys, ?user= on the WebSocket, the demo page at /
        drain_delay = 0, -- on SIGTERM: how long /readyz is red before anything else happens
        drain_timeout = 10, -- then: how long connections may take to close
        -- Of the process; 0: as many as file descriptors allow. More get 503, except for health,
        -- metrics, and the API with a key.
        connections_max = 0,
        -- From one address (an IPv6 /64 is one); 0: 1000, and no limit for loopback.
        connections_per_ip = 0,
        accepts_per_second = 50000, -- more wait in the backlog; 0: no limit
        -- Proxies that are trusted to name the client's address, by PROXY protocol or
        -- X-Forwarded-For: { "10.0.0.0/8", "2001:db8::/32", "unix" }
        trusted_proxies = {},
        backlog = 1024,
        -- Bytes that unfinished and unsent data of clients may take in all; "auto": half of the memory of
        -- the machine, or of the cgroup; 0: no limit.
        memory_budget = "auto",
    },

    -- For the "tls:" addresses of server.listen. SIGHUP reads all these files again.
    tls = {
        -- PEM files, the leaf first, then its chain. A client gets the first one that is valid for the
        -- host that it asks for, else the first of all.
        certificates = {}, -- { "/etc/bellhop/example.com.pem", "/etc/bellhop/example.org.pem" }
        keys = {}, -- their private keys, in the same order; {}: in the certificate files
        min_version = "1.2", -- or "1.3"
        ciphers = "", -- of TLS 1.2, as OpenSSL writes them; "": ECDHE with AES-GCM or ChaCha20
        client_certificates = "none", -- "optional", "required": see req.tls in scripts
        client_ca = "", -- PEM file of the authorities that client certificates are checked against
        handshake_timeout = 10, -- PROXY header and TLS handshake
        ticket_lifetime = 7200, -- of session tickets; their keys rotate as often; 0: no tickets
        -- Files of 48 or 80 random bytes for instances that share sessions: the first one encrypts, the
        -- others decrypt. {}: random keys of this instance.
        ticket_keys = {},
    },

    http = {
        head_bytes = 16 * KiB, -- request line and headers
        body_bytes = 4 * MiB, -- of a request to the API
        idle_timeout = 75, -- keep-alive
        request_timeout = 10, -- to a connection's first byte, and from a request's first byte to its last
    },

    websocket = {
        -- Where clients connect: "/app/:key" has a parameter (req.params.key), "/app/*rest" matches all below.
        paths = { "/ws" },
        message_bytes = 1 * MiB, -- largest message from a client
        message_timeout = 30, -- that an unfinished one may stand still; 10 KiB give a second back; 0: no limit
        fragments = 100000, -- most fragments of one message
        ping_interval = 25,
        pong_timeout = 8, -- a connection that does not answer a ping within this time is dropped
        close_timeout = 5, -- for the client's part of the closing handshake
        handshake_timeout = 10, -- from the upgrade request to the 101: hooks and subscriptions
        queue_bytes = 4 * MiB, -- unsent bytes of one connection; when it has more:
        on_slow = "close", -- with 1008, or "drop_oldest", "drop_newest" (the hook on_slow decides first)
        connections_per_user = 1000, -- on this instance; 0: no limit
        connections_per_tenant = 0,
        -- What one connection may send, with a burst of one second; 0: no limit. A connection over the
        -- first two is read more slowly; over the third (pings and pongs) it is closed with 1008.
        messages_per_second = 50000,
        bytes_per_second = 64 * MiB,
        control_per_second = 100,
        -- Pages that may connect: "https://app.example.com", "*.example.com", "http://localhost:*".
        -- {}: all, and clients that are not browsers; else a handshake without an Origin is refused.
        -- (With dev, pages of this machine may always connect, others only if they are named.)
        origins = {},
        -- permessage-deflate: "no_takeover" compresses each message by itself, a broadcast once for
        -- all, and keeps nothing for an idle connection; "takeover" compresses small similar messages
        -- better, and keeps up to 300 KiB for each connection that uses it; "off".
        compression = "no_takeover",
        compression_threshold = 1 * KiB, -- smaller messages are sent as they are
        compression_max = 256 * KiB, -- so are larger ones, which would take long; 0: no limit
        compression_level = 1, -- 1 (fast) to 9 (small)
        compression_window_bits = 15, -- 9 to 15
        -- What happens to a client's message that no on_message hook handles: "refuse" closes the
        -- connection with 1008, "ignore" drops the message.
        client_messages = "refuse",
    },

    api = {
        -- Authorization: Bearer <key>. Without keys (and without an on_api hook) the API is closed,
        -- except with dev.
        keys = {},
        -- Web pages that may call it (CORS); written like websocket.origins.
        cors_origins = {},
    },

    redis = {
        -- Where Redis is; {}: no Redis, one instance.
        --   redis://[user:password@]host[:port][/db]     one Redis
        --   rediss://host?ca=FILE[&cert=FILE&key=FILE]    over TLS
        --   unix:///run/redis.sock[?db=N]
        --   redis+sentinel://host,host,host/master-name   the master that the Sentinels name
        --   redis+cluster://host,host                     a Redis Cluster, by some of its nodes; the only URL
        -- A list of several spreads the topics over them; tracking and scripts use the first.
        url = {},
        channel_prefix = "notification:", -- the same on all instances and publishers
        connect_timeout = 5,
        command_timeout = 5, -- a link whose oldest command waits longer reconnects
        probe_interval = 2, -- how often delivery through Redis is proven
        -- While Redis is down a publish is refused with 503, or waits for it: at most so many publishes
        -- of each worker, for at most so long.
        publish_queue = 0,
        publish_wait = 5,
        unsubscribe_linger = 5, -- how long a channel without connections stays subscribed
    },

    -- bh.http.fetch in scripts. Certificates are always verified.
    fetch = {
        timeout = 5, -- of a whole request, waiting for its turn included; see also script.hook_timeout
        connect_timeout = 3, -- of name resolution, connecting and the TLS handshake
        max_bytes = 1 * MiB, -- of a response; at most 64 MiB
        per_host = 32, -- concurrent requests of one worker to one scheme, host and port
        total = 256, -- to all hosts; as many connections are kept
        queue = 10000, -- further requests of a worker that wait for their turn
        ca_file = "", -- PEM file of the authorities to trust instead of the system's
        proxy = "", -- "http://host:port"; the environment (http_proxy, ...) is ignored
        no_proxy = "", -- hosts that are reached without it: "localhost,.internal.example"
        -- Addresses, after the name has been resolved, such as { "10.0.0.0/8", "169.254.0.0/16" }.
        -- An empty allow list allows all; deny takes precedence over allow.
        allow = {},
        deny = {},
    },

    -- Who is connected, and where: with Redis over all instances.
    tracking = {
        lease = 300, -- how long the connections of an instance that died still count
        debounce = 3, -- how long users must be away before on_presence reports it
        key_prefix = "", -- of the keys in Redis; empty: "ws:", or 16 of them over several nodes
    },

    ids = {
        -- false: ids of users, tenants and topics have the characters A-Z a-z 0-9 _ . @ - only, as in
        -- version 0.1. Keep it until every instance has been upgraded.
        wide = true,
    },

    delivery = {
        strategy = "local_first", -- "local_first", "redis", "both", "local"
        payload_bytes = 4 * MiB, -- larger messages are refused
        seen_max = 100000, -- message ids remembered against duplicates
        seen_ttl = 300,
    },

    -- Topics whose last messages are kept, for clients that come back. Without rules there are none.
    history = {
        -- { topic = "user:*", size = 100, ttl = 86400, position_ttl = 2592000, bytes = MiB },
        -- { topic = "topic:prices/*", mode = "latest" }, -- the state of the topic: its last message
        window_bytes = 64 * MiB, -- last messages that this instance keeps
        recover_wait = 30, -- how long a client that comes back waits for Redis
        min_replicas = 0, -- of Redis that must have a message before its publisher is answered
        memory_bytes = 256 * MiB, -- of all streams, without Redis
    },

    script = {
        files = {}, -- policies, called in this order; {}: the policy that comes with bellhop
        trusted = false, -- true: all Lua libraries (io, os, debug, C modules)
        require_user = false, -- true: 403 for an identity with neither user nor anonymous = true
        lua_dir = "", -- where the bellhop Lua library is; "": relative to the program
        -- Limits, as in docs/lua/README.md; 0: no limit (not for shared_memory).
        cpu_limit = 0.05, -- of one hook, between two waits
        deliver_limit = 0.005, -- of one on_deliver or on_slow
        memory_limit = 256 * MiB, -- of the scripts of one worker
        hook_timeout = 10, -- of one hook, its waits included
        max_tasks = 10000, -- hooks and tasks of one worker that wait at the same time
        shared_memory = 64 * MiB, -- of bh.shared, all workers together
    },

    -- For bh.jwt in scripts, for the shipped policy, and for `bellhop token`.
    auth = {
        jwt = {
            algorithms = { "HS256" }, -- which are accepted: HS, RS and ES with 256, 384 and 512, PS256, EdDSA
            secret = "", -- for HS*: at least as long as the hash: 32 bytes for HS256, 48 for HS384, 64 for HS512
            public_key = "", -- for all but HS*: the PEM text, or the path of its file
            jwks = "", -- the path of a JSON Web Key Set, beside or instead of these; read again when it changes
            issuer = "", -- required `iss`; "": not checked
            audience = "", -- required `aud`; "": not checked
            leeway = 5, -- seconds that exp, nbf and iat may be off, because clocks differ
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
