-- The configuration of examples/resume.
return {
    server = { listen = { "127.0.0.1:8110" } },
    script = { files = { "examples/resume/policy.lua" }, trusted = true },
    history = {
        { topic = "user:*", size = 100, ttl = 86400 },
        { topic = "topic:news", size = 20, ttl = 3600 },
    },
}
