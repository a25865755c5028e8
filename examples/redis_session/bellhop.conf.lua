-- The configuration of examples/redis_session. Redis is named by BELLHOP_REDIS_URL; a user of Redis
-- with few rights needs ~session:* beside the keys of bellhop itself.
return {
    script = { files = { "examples/redis_session/policy.lua" } },
    app = {
        session = {
            cookie = "sid",
            ttl = 900, -- seconds without a sign of life
            recheck = 60, -- how long a session that was deleted elsewhere may still be connected
            logout_key = os.getenv "LOGOUT_KEY" or "", -- empty: the endpoint refuses everybody
        },
    },
}
