-- The configuration of examples/rpc.
return {
    script = { files = { "examples/rpc/policy.lua" } },
    app = {
        rpc = {
            backend = "http://127.0.0.1:9000",
            key = os.getenv "RPC_KEY" or "", -- the backend gets it as Authorization: Bearer
            timeout = 5, -- seconds
            at_once = 4, -- calls of one connection
            methods = { -- what clients may call, and where it is
                echo = "/echo",
                ["orders.list"] = "/orders/list",
            },
        },
    },
}
