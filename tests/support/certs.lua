-- Certificates made with the openssl command line, in a temporary folder.
local process = require "process"

local certs = {}
certs.__index = certs

-- A temporary folder; :remove deletes it.
function certs.new()
    return setmetatable({dir = process.temp_dir()}, certs)
end

function certs:path(name) return self.dir .. "/" .. name end

local function openssl(...)
    local output, status = process.run {"openssl", ...}
    assert(status == 0, output)
    return output
end

-- Makes NAME.crt and NAME.key, and returns their paths. options: subject (default "/CN=NAME"), san
-- ("DNS:a,IP:1.2.3.4"), issuer (a name made before; default: self-signed), authority (true).
function certs:make(name, options)
    options = options or {}
    local crt, key = self:path(name .. ".crt"), self:path(name .. ".key")
    local words = {
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", options.subject or "/CN=" .. name, "-keyout", key, "-out", crt,
        "-addext", "basicConstraints=critical,CA:" .. (options.authority and "TRUE" or "FALSE"),
    }
    local function add(...)
        for _, word in ipairs {...} do words[#words + 1] = word end
    end
    if options.san then add("-addext", "subjectAltName=" .. options.san) end
    if options.issuer then
        add("-CA", self:path(options.issuer .. ".crt"), "-CAkey", self:path(options.issuer .. ".key"))
    end
    openssl(table.unpack(words))
    return crt, key
end

function certs:remove()
    os.execute("rm -rf " .. process.quote(self.dir))
end

-- One HTTP request by `openssl s_client`: its whole output, with the response in it. options: arguments
-- of s_client.
function certs:s_client(port, path, options)
    local request = process.write_file(self:path "request",
        ("GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"):format(path))
    return (process.run({"sh", "-c", 'request=$0; exec "$@" <"$request"', request,
        "openssl", "s_client", "-connect", "127.0.0.1:" .. port, "-ign_eof", table.unpack(options or {})}))
end

return certs
