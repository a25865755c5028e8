-- A headless Chromium with one page; what the page writes to the console is in its log.
local process = require "process"
local wait = require "wait"

local browser = {}
browser.__index = browser

-- nil: there is none.
function browser.find()
    return io.popen "command -v chromium || command -v chromium-browser || command -v google-chrome":read "l"
end

-- dir: a temporary folder of the caller's, which the browser removes.
function browser.open(url, dir)
    local self = setmetatable({dir = dir or process.temp_dir()}, browser)
    self.process = process.spawn {
        browser.find(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--user-data-dir=" .. self.dir, "--remote-debugging-port=0", "--window-size=1400,1000", url,
    }
    return self
end

function browser:log() return self.process:log() end

-- Waits until the log matches; the captures.
function browser:wait(pattern, seconds)
    return wait.till(function() return self:log():match(pattern) end, seconds or 40, function()
        return pattern .. "; the browser says\n" .. self:log()
    end)
end

function browser:stop()
    self.process:stop()
    os.execute("rm -rf " .. process.quote(self.dir))
end

return browser
