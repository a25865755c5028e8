-- permessage-deflate (RFC 7692) for clients: what comes is inflated, what goes is deflated alone.
local deflate = {}

local TAIL = "\0\0\xff\xff"

-- agreed: the server's header. A function from what came to what it means; strict: whatever zlib
-- does not like is raised.
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
