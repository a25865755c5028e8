-- The policy of the comparison, except for echo, which uses examples/echo.lua: identity from the query
-- string, as with the other peers, and anybody may publish.
return {
    on_handshake = function(req)
        local topic = req:arg "topic"
        local user = req:arg "user"
        return { user = user, anonymous = not user, tenant = req:arg "tenant", topics = topic and { topic } }
    end,

    on_api = function() return true end,
}
