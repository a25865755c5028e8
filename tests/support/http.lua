-- HTTP as bytes: requests are sent exactly as given, also invalid ones.
local tcp = require "tcp"

local http = {}
local session = {}
session.__index = session

-- options: of tcp.connect
function http.open(port, options)
    local conn, why = tcp.connect(port, options)
    return conn and setmetatable({conn = conn}, session), why
end

function http.format(method, path, options)
    options = options or {}
    local lines = {method .. " " .. path .. " HTTP/1.1", "Host: test"}
    for name, value in pairs(options.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
    if options.body then lines[#lines + 1] = "Content-Length: " .. #options.body end
    return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
end

function session:send(bytes)
    return self.conn:send(bytes)
end

function http.parse_head(text)
    local head = {status = tonumber(text:match "^HTTP/1%.[01] (%d%d%d)"), headers = {}}
    for name, value in text:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do head.headers[name:lower()] = value end
    return head
end

-- One response: {status, headers (names in lower case), body}.
function session:response(method, timeout)
    local text, why = self.conn:read_till("\r\n\r\n", timeout)
    if not text then return nil, why end
    local answer = http.parse_head(text)
    local length = tonumber(answer.headers["content-length"])
    answer.body = ""
    if method ~= "HEAD" and length then
        answer.body, why = self.conn:read(length, timeout)
        if not answer.body then return nil, why end
    end
    return answer
end

function session:close()
    self.conn:close()
end

-- One request on a connection of its own. options: headers, body, timeout, and those of tcp.connect.
function http.request(port, method, path, options)
    local s, why = http.open(port, options)
    if not s then return nil, why end
    s:send(http.format(method, path, options))
    local answer
    answer, why = s:response(method, options and options.timeout)
    s:close()
    return answer, why
end

function http.get(port, path, options)
    return http.request(port, "GET", path, options)
end

function http.post(port, path, body, headers)
    return http.request(port, "POST", path, {body = body, headers = headers})
end

return http
