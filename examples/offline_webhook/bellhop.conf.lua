-- The configuration of examples/offline_webhook.
return {
    script = { files = { "examples/offline_webhook/policy.lua" } },
    app = {
        webhook = {
            url = "http://127.0.0.1:9000/offline",
            secret = os.getenv "WEBHOOK_SECRET" or "", -- empty: the start is refused
            timeout = 5, -- below script.hook_timeout
        },
    },
}
