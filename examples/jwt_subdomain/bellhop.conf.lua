-- The configuration of examples/jwt_subdomain; paths are relative to the folder bellhop runs in.
return {
    script = { files = { "examples/jwt_subdomain/policy.lua" } },
    app = {
        domain = "localhost", -- tenants are directly below: acme.localhost
        tenants = {
            -- A secret that is not in the environment stays empty, and the start is refused.
            acme = { secret = os.getenv "ACME_SECRET" or "" },
        },
    },
}
