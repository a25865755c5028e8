-- Tokens with any claims, signed with HS256 by the openssl command line.
local mime = require "mime"
local process = require "process"

local jwt = {}

local function base64url(bytes) return (mime.b64(bytes):gsub("=", ""):gsub("+", "-"):gsub("/", "_")) end

local function hmac(secret, text)
    local sign = 'printf %s "$1" | openssl dgst -sha256 -hmac "$0" -r'
    local hex = process.run({"sh", "-c", sign, secret, text}):match "^%x+"
    return (hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

-- claims: JSON
function jwt.sign(claims, secret)
    local text = base64url '{"alg":"HS256","typ":"JWT"}' .. "." .. base64url(claims)
    return text .. "." .. base64url(hmac(secret, text))
end

return jwt
