-- The configuration of examples/jwt_subdomain. Paths are relative to the working directory.
return {
    server = { listen = { "127.0.0.1:8101" } },
    script = { files = { "examples/jwt_subdomain/policy.lua" } },
    app = {
        domain = "localhost", -- the tenant acme is at acme.localhost
        tenants = {
            -- Without the environment variable the secret is empty, and bellhop does not start.
            acme = { secret = os.getenv "ACME_SECRET" or "" },
        },
    },
}
