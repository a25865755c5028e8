-- The configuration of examples/http_auth.
return {
    script = { files = { "examples/http_auth/policy.lua" } },
    app = {
        auth = {
            url = "http://127.0.0.1:9000/whois",
            timeout = 2, -- seconds; well below websocket.handshake_timeout
            keep = 60, -- a yes: how long a token that was withdrawn still opens the door
            keep_no = 5, -- a no
        },
    },
}
