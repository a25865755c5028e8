-- The policy of connections that stand for many users each: the one of number `first` is in the topics
-- first, first + every, first + 2 * every.. up to `users`.
return {
    on_handshake = function(req)
        local topics = {}
        for n = tonumber(req:arg "first"), tonumber(req:arg "users"), tonumber(req:arg "every") do
            topics[#topics + 1] = tostring(math.tointeger(n))
        end
        return { topics = topics }
    end,
}
