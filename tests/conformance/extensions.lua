-- permessage-deflate on the client: whether an answer is legal, and its meaning.
local extensions = {}

local KNOWN = {
    server_no_context_takeover = "flag", client_no_context_takeover = "flag",
    server_max_window_bits = "bits", client_max_window_bits = "bits",
}

local function parameter(text)
    local name, value = text:match "^%s*([%w_-]+)%s*=%s*(.-)%s*$"
    if not name then return text:match "^%s*([%w_-]+)%s*$", true end
    return name, value:match '^"(.*)"$' or value
end

-- Parses a header: a list of {name, parameters (name -> text or true)}.
function extensions.parse(header)
    local list = {}
    for item in (header .. ","):gmatch "([^,]*)," do
        local entry
        for part in (item .. ";"):gmatch "([^;]*);" do
            local name, value = parameter(part)
            if not name then error(("not an extension: %q"):format(header), 0) end
            if not entry then
                entry = {name = name, parameters = {}}
            elseif entry.parameters[name] then
                error(("%s twice in %q"):format(name, header), 0)
            else
                entry.parameters[name] = value
            end
        end
        list[#list + 1] = entry
    end
    return list
end

local function bits(value)
    return type(value) == "string" and (value:find "^[89]$" or value:find "^1[0-5]$") and math.tointeger(tonumber(value))
end

-- Why this answer is not legal for this offer, or nil (RFC 7692, section 7.1).
local function fault(offered, answered)
    for name, value in pairs(answered) do
        if not KNOWN[name] then return name .. " is unknown" end
        if KNOWN[name] == "flag" and value ~= true then return name .. " has a value" end
        if KNOWN[name] == "bits" then
            if not bits(value) then return name .. " has an impossible value" end
            local most = type(offered[name]) == "string" and (bits(offered[name]) or 0) or 15
            if bits(value) > most then return name .. " is larger than the offer's" end
        end
    end
    if answered.client_max_window_bits and not offered.client_max_window_bits then
        return "client_max_window_bits was not offered"
    end
    for _, name in ipairs {"server_no_context_takeover", "server_max_window_bits"} do
        if offered[name] and not answered[name] then return name .. " is missing" end
    end
    return nil
end

-- The negotiated parameters. A client also keeps to the hints of its own offer.
local function meaning(offered, answered)
    return {
        server_takeover = not answered.server_no_context_takeover,
        client_takeover = not (answered.client_no_context_takeover or offered.client_no_context_takeover),
        server_bits = bits(answered.server_max_window_bits) or 15,
        client_bits = bits(answered.client_max_window_bits) or bits(offered.client_max_window_bits) or 15,
    }
end

-- Raises unless the answer is legal for one of the offers.
function extensions.agree(offer, answer)
    local answers = extensions.parse(answer)
    if #answers ~= 1 or answers[1].name ~= "permessage-deflate" then
        error(("%q answers %q"):format(answer, offer), 0)
    end
    local why
    for _, entry in ipairs(extensions.parse(offer)) do
        if entry.name == "permessage-deflate" then
            why = fault(entry.parameters, answers[1].parameters)
            if not why then return meaning(entry.parameters, answers[1].parameters) end
        end
    end
    error(("%q answers %q, but %s"):format(answer, offer, why), 0)
end

return extensions
