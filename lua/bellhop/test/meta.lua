---@meta bellhop.test
-- What specs have, like lua/bellhop/meta.lua for scripts: for editors, for the page testing.md, and
-- held against what is there by tests/spec/docs_spec.lua. Nothing here runs.
assert(not ..., "bellhop.test.meta is for editors to read; specs say require \"bellhop.test\"")

-- # testing.md: Testing a policy
--
-- `bellhop test [-c FILE] SPEC...` runs [busted](https://lunarmodules.github.io/busted/) (`apt-get install lua-busted`) inside
-- the real core: what a spec tests is what production runs. Not real are the clients, Redis, HTTP servers, and the
-- clock, which stands still until the spec moves it. All that follows the specs goes to busted (`--filter`, `-t`, ...).
--
-- ```lua
-- local t = require("bellhop.test").load "policy_minimal.lua"
--
-- it("answers ping", function()
--     local phone = t.connect { headers = { cookie = "token=" .. t.jwt { sub = "u1" } } }
--     phone:recv "ping"
--     assert.same({ "pong" }, phone.sent)
--     t.publish { topic = "news", data = "hello" }
--     assert.equal("hello", phone.sent[2])
--     t.advance(3600)
--     assert.equal(4401, phone.closed) -- the token has expired
-- end)
-- ```
--
-- There is one worker and one instance, called `test`. Limits hold as in production, `script.cpu_limit` too. What a
-- hook that waits is waiting for happens while the spec calls something: connecting, talking, publishing and
-- `t.advance` let everything happen that is due. What fails in a hook is on stderr, as in the log of a server.
--
-- A spec has all of Lua, `io` and `debug` included; the policy has what policies have, in a state of its own.

---What `require "bellhop.test"` gives.
---@class bellhop.test
---@field now integer When each world begins, in Unix seconds.
---@field secret string What `load` and `try` configure as `auth.jwt.secret`.
local test = {}

---Starts the policies, in a world of their own; what was loaded before is closed.
---@param files string|string[] a path as it stands, beside the spec (`*_spec.lua`), in the folder above it, or in bellhop's own Lua folder
---@param options? bellhop.test.Options
---@return bellhop.test.World t what does not start is an error
function test.load(files, options) end

---The same, for policies that are to be refused.
---@param files string|string[]
---@param options? bellhop.test.Options
---@return bellhop.test.World? t
---@return string? why the error of the load, or of `on_init`
function test.try(files, options) end

---Closes what was loaded: for the end of a spec. `load` and `try` do it by themselves.
function test.close() end

---A token (HS256) with exactly these claims.
---@param claims table|string a table, or the JSON text
---@param secret? string
---@return string token
function test.jwt(claims, secret) end

---@param value any
---@return string json
function test.encode(value) end

---@param json string
---@return any value or nil and why
---@return string? why
function test.decode(json) end

---Another Redis that keeps values, for the option `redis`: wrap it to let some commands fail.
---@return fun(command: string, ...: string): any redis
function test.redis() end

---@class bellhop.test.Options
---@field config? table Merged over bellhop's own: `{ app = { greeting = "hi" } }`.
---False: there is no Redis. A function is Redis: it returns a string, an integer, a list (false in it is nil) or nil; `nil, text` is an error of Redis, false a link that is down. Without either there is one that keeps values and knows `PING SET GET DEL EXISTS INCR INCRBY DECR EXPIRE PEXPIRE TTL PTTL HSET HGET HMGET HGETALL HDEL HLEN HEXISTS HINCRBY HSETNX SADD SREM SMEMBERS SRANDMEMBER SISMEMBER SCARD RPUSH LPUSH LLEN LRANGE LTRIM ZADD ZREM ZSCORE ZCARD ZRANGE ZRANGEBYSCORE ZLEXCOUNT TIME FLUSHALL EVAL EVALSHA`; its scripts run in Lua 5.4.
---@field redis? false|fun(command: string, ...: string): any, string?
---All HTTP servers that `bh.http.fetch` reaches: a function is given the request, and returns `{ status =, headers =, body = }`
---(200 unless it says otherwise), or nil and why there is no response. Without it no server answers.
---@field http? fun(request: bellhop.test.Fetch): table?, string?
---@field keep? boolean Leave what was loaded before open.

---What `test.load` gives: the policies at work, in a world with its own clock.
---@class bellhop.test.World
---@field secret string As `test.secret`.
local t = {}

---A client opens a WebSocket. With a policy that refuses it, `status` is not 101, and `body` and `json` say why.
---@param request? bellhop.test.Request its path is `/ws` unless you name another
---@return bellhop.test.Phone phone
function t.connect(request) end

---The same with a token in its `Authorization` header, for policies that take one there, such as bellhop's own.
---@param claims table|string a string is the user (`sub`)
---@param secret? string
---@return bellhop.test.Phone phone
function t.user(claims, secret) end

---A token for the configured secret, which lasts for an hour of the world's clock unless you name an `exp` (false: none).
---@param claims table
---@param secret? string
---@return string token
function t.jwt(claims, secret) end

---Publishes as a backend does: `{ user =, tenant =, topic =, all =, data =, opcode =, strategy =, ttl =, id =, priority = }`. A table as
---data becomes JSON.
---@param message table
---@return bellhop.test.Result? result or nil and why: what the policy said, say
---@return string? why
function t.publish(message) end

---A request to an endpoint of the policy.
---@param request bellhop.test.Request
---@return bellhop.test.Answer answer 404 where there is none, 405 where it has other methods
function t.request(request) end

---What `on_api` says to a request.
---@param request? bellhop.test.Request
---@return bellhop.test.Answer answer status 200 is yes, 0 no opinion
function t.api(request) end

---Moves the clock: timers, waits, expiry and lives run as they would.
---@param seconds number
function t.advance(seconds) end

---@return number now in Unix seconds: what `os.time()` is in the policy
function t.time() end

---Reads the files again, as SIGHUP does.
---@return true? done
---@return string? why
function t.reload() end

---Runs `on_shutdown`.
---@return boolean ended
function t.shutdown() end

---Asks the world's Redis, as another program would.
---@param command string
---@param ... string
---@return any reply
---@return string? why
function t.redis(command, ...) end

---What the function `http` is given.
---@class bellhop.test.Fetch
---@field url string
---@field method string
---@field headers table<string, string>
---@field body? string
---@field timeout number 0: the configured one.

---@class bellhop.test.Result
---@field status "delivered"|"published"|"offline"|"duplicate"
---@field local integer How many connections got it.
---@field instances integer
---@field id string

---@class bellhop.test.Request
---@field method? string GET unless you say otherwise.
---@field path? string
---@field query? string Without the `?`.
---@field host? string
---@field ip? string The client's address.
---@field secure? boolean Did it come by TLS?
---@field headers? table<string, string>
---@field body? string For endpoints.

---@class bellhop.test.Answer
---@field status integer
---@field headers table<string, string>
---@field body string
---@field json any The body, decoded; nil when it is no JSON.

---A client. What it is sent is kept; nothing is lost by reading it.
---@class bellhop.test.Phone
---@field status integer 101: it is connected. Else what it was refused with.
---@field body string Of a refusal.
---@field json any The body of a refusal, decoded.
---@field headers table<string, string> Of the answer, those of the policy.
---@field id string The connection's id.
---@field user? string Of its identity,
---@field tenant? string likewise,
---@field device? string likewise,
---@field expires? integer likewise,
---@field topics string[] likewise,
---@field tags table<string, string> likewise,
---@field protocol? string likewise.
---@field sent string[] What it has been sent, since `clear`.
---@field opcodes bellhop.Opcode[] And of what kind.
---@field closed? integer The close code, once the policy (or the core) has closed it.
---@field reason? string And the reason.
local phone = {}

---The client says something; a table becomes JSON.
---@param data string|table
---@param binary? boolean
---@return bellhop.test.Phone self so that calls can be chained
function phone:recv(data, binary) end

---The client goes.
---@param code? integer
---@param reason? string
function phone:close(code, reason) end

---What becomes of a message while so many bytes wait for this client: what `on_slow` says.
---@param queued integer
---@return "drop_oldest"|"drop_newest"|"close"
function phone:slow(queued) end

---@return any value the last message that it was sent, decoded from JSON
function phone:last() end

---Forgets what it was sent so far.
function phone:clear() end

return test
