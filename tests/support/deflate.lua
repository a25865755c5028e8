-- permessage-deflate (RFC 7692) for clients: received messages are inflated; sent ones are deflated
-- without context takeover.
local deflate = {}

local TAIL = "\0\0\xff\xff"

-- agreed: the server's header. Returns a function that inflates a payload, and raises the errors of
-- zlib.
function deflate.inflater(agreed)
    local zlib = require "zlib"
    local bits = tonumber(agreed:match "server_max_window_bits=(%d+)") or 15
    local takeover = not agreed:find("server_no_context_takeover", 1, true)
    local stream = takeover and zlib.inflate(-bits)
    return function(bytes) return ((stream or zlib.inflate(-bits))(bytes .. TAIL)) end
end

-- Without context takeover.
function deflate.deflate(bytes, level)
    local out = require "zlib".deflate(level or 6, -15)(bytes, "sync")
    return out:sub(1, -#TAIL - 1)
end

return deflate
