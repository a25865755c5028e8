---@meta bellhop.test
-- The API of specs, as lua/bellhop/meta.lua is the API of scripts: for editors (LuaLS) and for the page
-- testing.md. tests/spec/docs_spec.lua compares it with the implementation. Nothing here runs.
assert(not ..., "bellhop.test.meta is only for editors; use require \"bellhop.test\"")

-- # testing.md: Testing a policy
--
-- Write a spec beside the policy and run it with `bellhop test`. This is `policy_minimal_spec.lua`, for
-- [policy_minimal.lua](../../examples/policy_minimal.lua):
--
-- ```lua
-- local t = require("bellhop.test").load "policy_minimal.lua"
--
-- it("answers ping", function()
--     local client = t.connect { headers = { cookie = "token=" .. t.jwt { sub = "u1" } } }
--     client:recv "ping"
--     assert.same({ "pong" }, client.sent)
--     t.publish { topic = "news", data = "hello" }
--     assert.equal("hello", client.sent[2])
--     t.advance(3600)
--     assert.equal(4401, client.closed) -- the token has expired
-- end)
-- ```
--
-- `bellhop test [-c FILE] SPEC...` runs [busted](https://lunarmodules.github.io/busted/) (`apt-get install lua-busted`)
-- inside the real core, so a spec tests the code that runs in production. Only the clients, Redis, HTTP servers and the
-- clock are fake. Options after the specs are passed to busted (`--filter`, `-t`, ...).
--
-- - An environment has one worker and one instance, named `test`. All limits apply, `script.cpu_limit` too.
-- - The clock stands still until the spec calls `t.advance`.
-- - Work that is due runs while the spec calls something: connecting, sending, publishing and `t.advance` all run it.
-- - Errors in hooks are written to stderr, in the format of the server's log.
-- - An unknown option or a value of the wrong type raises an error at the line of the spec.
-- - A spec can use all of Lua, `io` and `debug` included. The policy runs in its own, sandboxed state.

---The result of `require "bellhop.test"`.
---@class bellhop.test
---@field now integer The time at which each environment starts, in Unix seconds.
---@field secret string The value of `auth.jwt.secret` that `load` and `try` configure.
local test = {}

---Starts policies in a new environment and closes the previous one. Raises an error when they do not start.
---@param files string|string[] searched as a path, in the folder of the spec (`*_spec.lua`), in the folder above it, and in bellhop's Lua folder
---@param options? bellhop.test.Options
---@return bellhop.test.Env t
function test.load(files, options) end

---Like `load`, but returns the error: for policies that must not start.
---@param files string|string[]
---@param options? bellhop.test.Options
---@return bellhop.test.Env? t
---@return string? why the error of loading, or of `on_init`
function test.try(files, options) end

---Closes the environment. `load` and `try` call it first.
function test.close() end

---Makes a token (HS256) with exactly these claims.
---@param claims table|string a table, or JSON text
---@param secret? string
---@return string token
function test.jwt(claims, secret) end

---@param value any
---@return string json
function test.encode(value) end

---@param json string
---@return any value or nil and the reason
---@return string? why
function test.decode(json) end

---Creates a fake Redis for the option `redis`. Wrap it to make some commands fail.
---@return fun(command: string, ...: string): any redis
function test.redis() end

---@class bellhop.test.Options
---@field config? table Merged over the default configuration (or that of `-c FILE`): `{ app = { greeting = "hi" } }`. Policies read it with `bh.config`. Of the settings of bellhop itself it changes `websocket.paths` and `history` only; limits, for example, are those of `-c FILE`. Unknown keys and values of the wrong type raise an error; `app` is free.
---False: no Redis is configured. A function is called with each command and returns the reply: a string, an integer, a list (false in it is nil) or nil; `nil, text` is an error reply, false is a connection that is down. Without this option a fake Redis stores values. It checks commands as Redis 7 does (`ERR wrong number of arguments for 'get' command`), and says so when it does not have a command or an option of Redis. It has `PING SET GET DEL EXISTS INCR INCRBY DECR EXPIRE PEXPIRE TTL PTTL HSET HGET HMGET HGETALL HDEL HLEN HEXISTS HINCRBY HSETNX SADD SREM SMEMBERS SRANDMEMBER SISMEMBER SCARD RPUSH LPUSH LLEN LRANGE LTRIM ZADD ZREM ZSCORE ZCARD ZRANGE ZRANGEBYSCORE ZLEXCOUNT TIME FLUSHALL EVAL EVALSHA` and runs scripts in Lua 5.4.
---@field redis? false|fun(command: string, ...: string): any, string?
---The HTTP servers for `bh.http.fetch`: a function is called with each request and returns `{ status =, headers =, body = }`
---(status 200 by default), or nil and an error. A table with other fields is an error of the request. Without this option every request fails.
---@field http? fun(request: bellhop.test.Fetch): table?, string?
---@field keep? boolean Do not close the previous environment.

---The result of `test.load`: an environment, in which the policies run with their own clock.
---@class bellhop.test.Env
---@field secret string The same as `test.secret`.
local t = {}

---The former name of `bellhop.test.Env`, for one release.
---@alias bellhop.test.World bellhop.test.Env

---Opens a WebSocket. When the policy rejects it, `status` is not 101, and `body` and `json` say why.
---@param request? bellhop.test.Request its path is `/ws` by default
---@return bellhop.test.Client client
function t.connect(request) end

---Like `connect`, with a token in the header `Authorization`.
---@param claims table|string a string is the user (`sub`)
---@param secret? string
---@return bellhop.test.Client client
function t.user(claims, secret) end

---Makes a token for the configured secret, or for another one of at least 32 bytes. It expires after an hour, unless `exp` is given (false: never).
---@param claims table
---@param secret? string
---@return string token
function t.jwt(claims, secret) end

---Publishes as a backend does, to exactly one target: `t.publish { topic = "news", data = "hello" }`.
---@param message bellhop.test.Publish
---@return bellhop.test.Result? result or nil and the reason, such as that of `on_publish`
---@return string? why
function t.publish(message) end

---Reads the history of a topic. The rules are in the option `config`: `{ history = { { topic = "user:*", ttl = 60 } } }`.
---Histories are in the memory of the environment; messages expire when `t.advance` moves the clock.
---@param query bellhop.HistoryRead
---@return bellhop.Page? page or nil and the reason, as [bh.history.read](history.md#bhhistoryreadquery)
---@return string? why
function t.history(query) end

---Sends a request to an endpoint of the policy.
---@param request bellhop.test.Request
---@return bellhop.test.Answer answer 404 when there is no such endpoint, 405 when it has other methods
function t.request(request) end

---Calls `on_api` with a request.
---@param request? bellhop.test.Request
---@return bellhop.test.Answer answer status 200: allowed, 0: no decision
function t.api(request) end

---Moves the clock. Timers, waits, expiries and TTLs run as in production.
---@param seconds number
function t.advance(seconds) end

---@return number now in Unix seconds, as `os.time()` in the policy
function t.time() end

---Reloads the files, as SIGHUP does.
---@return true? done
---@return string? why
function t.reload() end

---Runs `on_shutdown`.
---@return boolean ended
function t.shutdown() end

---Sends a command to the environment's Redis, as another program would.
---@param command string
---@param ... string
---@return any reply
---@return string? why
function t.redis(command, ...) end

---The argument of the function in the option `http`.
---@class bellhop.test.Fetch
---@field url string
---@field method string
---@field headers table<string, string>
---@field body? string
---@field timeout number In seconds; 0: the configured one.

---The fields of [bh.publish](publish.md#publish), except `conn`. Unknown fields and wrong values raise an error.
---@class bellhop.test.Publish
---@field user? bellhop.Id All connections of this user.
---@field tenant? bellhop.Id All connections of this tenant.
---@field topic? bellhop.Id All connections in this topic.
---@field all? true All connections.
---@field data any The payload. What is no string is encoded as JSON; nil is an empty payload.
---@field opcode? bellhop.Opcode `"text"` by default.
---@field binary? boolean The same as a boolean.
---@field strategy? bellhop.Strategy
---@field ttl? number In seconds; 0: no limit.
---@field id? bellhop.Id Makes the publish idempotent.
---@field except? bellhop.test.Client|string A client, or the id of a connection, that does not get the message.
---@field filter? table<string, bellhop.Scalar> Only connections whose tags have all of these values.
---@field priority? integer 0 to 255, for `on_publish` only.
---@field history? boolean
---@field collapse? bellhop.Id

---@class bellhop.test.Result
---@field status "delivered"|"published"|"offline"|"stored" As in `bh.publish_wait`.
---@field strategy? "durable" When it is in the topic's history.
---@field position? string Its position there.
---@field local? integer The number of connections that received it.
---@field instances? integer
---@field duplicate? true The id was known: nothing was delivered again, the status is that of the first publish, and the two counts are missing.
---@field id string

---Unknown keys and values of the wrong type raise an error.
---@class bellhop.test.Request
---@field method? string GET by default.
---@field path? string
---@field query? string Without the `?`.
---@field host? string
---@field ip? string The client's address.
---@field secure? boolean Whether it came over TLS.
---@field headers? table<string, string>
---@field body? string For `t.request` only.
---@field resume? boolean For `t.connect` only. True: the client resumes, as one of SSE or `format=json`; it is a new one. So does a client whose identity has `format = "json"`. What it is sent is recorded as it is, without the frames of JSON.
---@field since? string For `t.connect` only: the `position` of an earlier client. This one resumes there, and gets what that one missed.

---@class bellhop.test.Answer
---@field status integer
---@field headers table<string, string>
---@field body string
---@field json any The decoded body; nil when it is not JSON.

---A client. It records what it receives; reading does not remove it.
---@class bellhop.test.Client
---@field status integer 101: connected. Otherwise the status of the rejection.
---@field body string Body of a rejection.
---@field json any The decoded body of a rejection.
---@field headers table<string, string> Headers that the policy added to the answer.
---@field id string Connection id.
---@field user? string Of the identity.
---@field tenant? string Of the identity.
---@field device? string Of the identity.
---@field expires? integer Of the identity.
---@field topics string[] Of the identity.
---@field tags table<string, string> Of the identity.
---@field protocol? string Subprotocol.
---@field compression? string Of the identity.
---@field format? string Of the identity.
---@field sent string[] The messages sent to this client since `clear`.
---@field opcodes bellhop.Opcode[] The opcode of each.
---@field positions (string|false)[] The position of each in the history of its topic; false: it has none.
---@field position? string Of a client that resumes: where it is, for `since` of the next one. It stays when the client has closed.
---@field recovered? boolean Of a client that resumes: whether it gets everything since then. nil: not known yet.
---@field gaps { topic: string, reason: string }[] Of a client that resumes: the topics of which it was told that messages are missing.
---@field rewound string[] Of a client that resumes: the topics of which it was told that the history has lost messages.
---@field closed? integer The close code, after the policy (or the core) has closed the connection.
---@field reason? string The close reason.
local client = {}

---The former name of `bellhop.test.Client`, for one release.
---@alias bellhop.test.Phone bellhop.test.Client

---The client sends a message. A table is encoded as JSON.
---@param data string|table
---@param binary? boolean
---@return bellhop.test.Client self so that calls can be chained
function client:recv(data, binary) end

---The client disconnects.
---@param code? integer
---@param reason? string
function client:close(code, reason) end

---Calls `on_slow` as if so many bytes were queued for this client.
---@param queued integer
---@return "drop_oldest"|"drop_newest"|"close"
function client:slow(queued) end

---Pretends that messages of a topic are missing for this client. For a client that resumes they are added to `gaps`; for
---others `on_gap` runs.
---@param topic string its name: `"user:42"`, `"tenant:7"`, `"topic:news"`, `"all"`
---@param reason? "expired"|"unavailable"|"lost"|"size"|"off"|"slow" `"expired"` by default
---@return bellhop.test.Client self
function client:gap(topic, reason) end

---@return any value the last message sent to this client, decoded from JSON
function client:last() end

---Removes the recorded messages from `sent` and `opcodes`.
function client:clear() end

return test
