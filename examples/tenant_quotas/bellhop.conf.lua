-- The configuration of examples/tenant_quotas, with small limits for acme, so that they are easy to reach.
return {
    server = { listen = { "127.0.0.1:8107" } },
    script = { files = { "examples/tenant_quotas/policy.lua" } },
    app = {
        quotas = { repair = 10 }, -- seconds between corrections of the count
        tenants = {
            acme = { connections = 2, messages = 5 }, -- concurrent connections; messages a minute
            globex = { connections = 1000, messages = 60000 },
        },
    },
}
