-- The configuration of examples/redis_session. BELLHOP_REDIS_URL names the Redis server. A Redis user with limited rights
-- needs access to ~session:* in addition to the keys of bellhop.
return {
    server = { listen = { "127.0.0.1:8102" } },
    script = { files = { "examples/redis_session/policy.lua" } },
    app = {
        session = {
            cookie = "sid",
            ttl = 900, -- seconds without activity until a session expires
            recheck = 60, -- seconds between checks: a deleted session stays connected so long
            logout_key = os.getenv "LOGOUT_KEY" or "", -- when it is empty, the endpoint refuses all requests
        },
    },
}
