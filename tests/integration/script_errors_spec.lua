-- Errors for the author of a policy: the log names the hook, the policy, and the place of the function
-- that failed; bellhop check runs the code of a policy that runs at load time.
package.path = "tests/support/?.lua;" .. package.path
local daemon = require "daemon"
local process = require "process"

local POLICY = [[
local bh = require "bellhop"
bh.shared.loads:incr "count"

return {
    timers = { tick = { every = 0.05, fn = function() error "in the timer" end } },
    http = {
        ["GET /answer"] = function()
            return "no status"
        end,
        ["GET /spawn"] = function()
            bh.spawn(function()
                bh.sleep(0.01)
                error "in the task"
            end)
            return 204
        end,
        ["GET /wait"] = function()
            table.sort({ 1, 2 }, function() bh.sleep(1) end)
        end,
    },
}
]]

describe("an error in a policy", function()
    after_each(daemon.stop_all)

    it("names the place of the function", function()
        local instance = daemon.start { policy = POLICY }
        local function line_of(path, text, line)
            if path then instance:request("GET", path) end
            instance:wait_log(text)
            for each in instance:log():gmatch "[^\n]+" do
                if each:find(text, 1, true) then
                    assert.matches("function=%S*policy%.lua:" .. line .. " ", each)
                    return
                end
            end
        end
        line_of("/answer", "the status must be an integer", 7)
        line_of("/spawn", "in the task", 11)
        line_of("/wait", "bh.sleep waits, which is not possible in a function", 17)
        line_of(nil, "in the timer", 5)
    end)

    it("is found without a server", function()
        local dir = process.temp_dir()
        local file = process.write_file(dir .. "/policy.lua", POLICY)
        local output, status = process.run { daemon.BIN, "check", "--policy", file }
        os.execute("rm -rf " .. process.quote(dir))
        assert.equal(0, status, output)
        assert.matches("policy.lua: ok", output, nil, true)
    end)
end)
