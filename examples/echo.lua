-- The smallest talking policy: anybody may connect, and gets back what they say.
--
--     bellhop serve --dev --policy examples/echo.lua
--
-- The demo page's "send to the server" then has somebody to talk to. It is also what the benchmarks
-- measure.
return {
    on_handshake = function()
        return {} -- no user, no tenant: an anonymous connection
    end,

    on_message = function(_, data)
        return data -- a string is the reply
    end,
}
