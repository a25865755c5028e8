-- Connections with many topics each: the one with the number `first` has the topics first, first +
-- every, first + 2 * every ... up to `users`.
return {
    on_handshake = function(req)
        local topics = {}
        for n = tonumber(req:arg "first"), tonumber(req:arg "users"), tonumber(req:arg "every") do
            topics[#topics + 1] = tostring(math.tointeger(n))
        end
        return { anonymous = true, topics = topics }
    end,
}
