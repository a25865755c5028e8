-- The configuration of examples/rpc.
return {
    server = { listen = { "127.0.0.1:8108" } },
    script = { files = { "examples/rpc/policy.lua" } },
    app = {
        rpc = {
            backend = "http://127.0.0.1:9108",
            key = os.getenv "RPC_KEY" or "", -- sent to the backend as Authorization: Bearer
            timeout = 5, -- in seconds
            at_once = 4, -- concurrent calls of one connection
            methods = { -- the methods that clients may call, with their paths
                echo = "/echo",
                ["orders.list"] = "/orders/list",
            },
        },
    },
}
