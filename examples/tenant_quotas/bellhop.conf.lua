-- The configuration of examples/tenant_quotas: small limits, which are quickly met.
return {
    script = { files = { "examples/tenant_quotas/policy.lua" } },
    app = {
        quotas = { repair = 10 }, -- seconds
        tenants = {
            acme = { connections = 2, messages = 5 }, -- at a time; a minute
            globex = { connections = 1000, messages = 60000 },
        },
    },
}
