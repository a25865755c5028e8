-- The policy that the comparison measures with (all scenarios but echo, which takes examples/echo.lua):
-- who a client is stands in the query, as with the other peers, and anybody may publish.
return {
    on_handshake = function(req)
        local topic = req:arg "topic"
        return { user = req:arg "user", tenant = req:arg "tenant", topics = topic and { topic } }
    end,

    on_api = function() return true end,
}
