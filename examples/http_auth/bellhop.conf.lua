-- The configuration of examples/http_auth.
return {
    server = { listen = { "127.0.0.1:8103" } },
    script = { files = { "examples/http_auth/policy.lua" } },
    app = {
        auth = {
            url = "http://127.0.0.1:9103/whois",
            timeout = 2, -- in seconds; below websocket.handshake_timeout
            keep = 60, -- seconds for which a valid token is cached: a revoked token works so long
            keep_no = 5, -- seconds for which an invalid token is cached
        },
    },
}
