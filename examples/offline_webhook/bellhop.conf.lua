-- The configuration of examples/offline_webhook.
return {
    server = { listen = { "127.0.0.1:8106" } },
    script = { files = { "examples/offline_webhook/policy.lua" } },
    app = {
        webhook = {
            url = "http://127.0.0.1:9106/offline",
            secret = os.getenv "WEBHOOK_SECRET" or "", -- when it is empty, bellhop does not start
            timeout = 5, -- in seconds; below script.hook_timeout
        },
    },
}
