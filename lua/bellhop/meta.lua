---@meta bellhop
-- What scripts have, for editors (LuaLS) and for people: the pages of docs/lua are made from this
-- file, and a test holds it against what is there (tests/spec/docs_spec.lua). Nothing here runs.
--
-- A block of two dashes that begins with `# name.md: Title` opens a page; Markdown all over.
assert(not ..., "bellhop.meta is for editors to read; scripts say require \"bellhop\"")

---@class bellhop
---@field version string The version of bellhop, such as `"0.1.0"`.
local bh = {}

---@alias bellhop.Opcode "text"|"binary"
---@alias bellhop.Strategy "local_first"|"redis"|"both"|"local"
---@alias bellhop.Id string|integer
---@alias bellhop.Scalar string|number|boolean

-- # hooks.md: Hooks
--
-- A policy returns a table of hooks. Each one is optional, and costs nothing when it is not there; a
-- key that is no hook is an error when the policy is loaded.
--
-- ```lua
-- local bh = require "bellhop"
--
-- return {
--     on_handshake = function(req)
--         return { user = req:arg "user", topics = { "news" } }
--     end,
--     on_message = function(conn, data)
--         if data == "ping" then return "pong" end
--         return { topic = "news", data = data, except = conn }
--     end,
-- }
-- ```
--
-- Of several policies (`script.files`) each hook is asked in their order: the first value that is not
-- nil decides, and nil asks the next one, then the default that is named below. An error ends the
-- matter, too: no further policy is asked. `on_init` and `on_shutdown` are no questions, so those of
-- all policies run.
--
-- A hook that **waits** may call what waits (`bh.redis`, `bh.http.fetch`, `bh.sleep`, ...): it is
-- suspended then, and the worker goes on with others. `on_tenant`, `on_deliver` and `on_slow` must
-- not. The hooks of one connection run one after the other: while one waits, later messages of that
-- client wait in line, and beyond 32 messages or 256 KiB its socket is not read. Messages *to* the
-- client are delivered meanwhile.

---@class bellhop.Policy
---Runs once in each worker, at the start and after each reload, before any other hook.
---
---**Returns** `false, why` to refuse; anything else is fine. **On failure**, and when it refuses, the
---start or the reload is refused, with this reason.
---@field on_init? async fun(ctx: bellhop.Init): false?, string?
---Names the tenant of whatever comes in, before anybody is asked who it is: a WebSocket, an API
---request, an endpoint. The others see it as `req.tenant`; it is not yet the connection's, which only
---the identity says.
---
---**Returns** an id, or `false, status, body` to refuse (404 unless you say otherwise); nil: none.
---**On failure** the client gets 503.
---@field on_tenant? fun(req: bellhop.Request): bellhop.Id|false|nil, integer?, string?
---Decides who may open a WebSocket, and who they are. When the client goes while it waits, it is
---cancelled: nothing after the wait runs, only its to-be-closed variables are closed.
---
---**Returns** an [identity](#identity) (`{}` is an anonymous connection, which gets broadcasts), or
---`false, status, body, headers` to refuse: status is 300 to 599, 401 unless you say otherwise, and
---headers are as in the identity. nil is 401. **On failure** the client gets 503, and is told no more.
---@field on_handshake? async fun(req: bellhop.Request): bellhop.Identity|false|nil, integer?, string?, table<string, string|string[]>?
---Decides who may use the HTTP API (`/api/...`). It is asked before the keys of `api.keys`.
---
---**Returns** true, or `false, status, body` (403 unless you say otherwise); nil leaves it to the
---keys. **On failure** the request gets 503.
---@field on_api? async fun(req: bellhop.Request): boolean?, integer?, string?
---The connection is open and in its topics; what it sends waits until this hook has ended.
---
---**Returns** `false, code, reason` to close it (1008 unless you say otherwise). **On failure** it is
---closed with 1011.
---@field on_open? async fun(conn: bellhop.Conn): boolean?, integer?, string?
---A message from a client.
---
---**Returns** a string: the reply, text or binary as the message was; a table: it is
---[published](publish.md#publish), with `source.kind == "client"`, and when that is refused the log
---says so, the client nothing; true: you have done all there is to do; `false, code, reason`: the
---connection is closed (1008 unless you say otherwise). **nil is nobody's wish, and then
---`websocket.client_messages` decides: `"refuse"`, the default, closes with 1008.** So end with
---`return true` where nothing is to be sent. **On failure** the message is dropped, and the connection
---stays.
---
---When the connection closes while it waits, it runs to its end; `conn:send` says `nil, "closed"`.
---@field on_message? async fun(conn: bellhop.Conn, data: string, opcode: bellhop.Opcode): string|bellhop.Publish|boolean|nil, integer?, string?
---Each publish, once, on the instance where it enters bellhop: by the API, by a script, by a client.
---What is published straight to Redis does not pass here (`on_deliver` sees that, too), nor what this
---hook publishes itself.
---
---**Returns** the name of a strategy, true (go on), or `false, reason` to refuse, which the publisher
---is told; nil goes on. Change the message by assigning to [msg](message.md). **On failure** nothing
---is delivered, and the publisher gets an error.
---
---```lua
---on_publish = function(msg, source)
---    if source.kind == "client" and msg.all then return false, "clients may not" end
---    if msg.topic == "prices" then return "local" end
---    msg.ttl = 60
---end
---```
---@field on_publish? async fun(msg: bellhop.Msg, source: bellhop.Source): bellhop.Strategy|boolean|nil, string?
---Each delivery, to each connection: keep it short. It must not wait. msg cannot be changed, and is the
---same object for all of them.
---
---**Returns** nil or true to deliver, false to leave this connection out, or a string: what this one
---gets instead, text or binary as the message is. **On failure** it is left out.
---@field on_deliver? fun(conn: bellhop.Conn, msg: bellhop.Msg): boolean|string|nil
---A connection wants to join a topic: one of its identity's, or by `conn:subscribe`. Not asked for its
---user, its tenant and broadcasts.
---
---**Returns** true (or a table, for settings to come), or `false, code, reason` to refuse: a topic of
---the identity is left out then, and `conn:subscribe` answers `nil, "denied"`. nil lets it in. **On
---failure** it is refused. Cancelled when the connection closes.
---@field on_subscribe? async fun(conn: bellhop.Conn, topic: string): boolean|table|nil, integer?, string?
---A connection has left a topic: why is `"unsubscribed"` (`conn:unsubscribe`) or `"closed"`. **On
---failure** the log says so.
---@field on_unsubscribe? async fun(conn: bellhop.Conn, topic: string, why: "unsubscribed"|"closed")
---Last, exactly once, after all other hooks of that connection. Its fields are still there; whatever
---would send answers `nil, "closed"`. **On failure** the log says so.
---@field on_close? async fun(conn: bellhop.Conn, info: bellhop.CloseInfo)
---The identity has expired (`expires`, `conn:set_expiry`).
---
---**Returns** the new expiry in Unix seconds, or false. Without a time that lies ahead the connection is
---closed with 4401; without this hook, at once. **On failure** it is closed.
---@field on_expire? async fun(conn: bellhop.Conn): number|false|nil
---More than `websocket.queue_bytes` would wait for a client that does not read. It must not wait.
---
---**Returns** `"drop_oldest"`, `"drop_newest"`, or `"close"` (1008); nil: as `websocket.on_slow` says.
---**On failure** it is closed.
---@field on_slow? fun(conn: bellhop.Conn, queued: integer): "drop_oldest"|"drop_newest"|"close"|nil
---A user has come online, or has been away from all instances for `tracking.debounce` seconds. Raised on
---one instance of the cluster. **On failure** the log says so.
---@field on_presence? async fun(event: bellhop.Presence)
---A message reached nobody, on any instance: a push is in order, perhaps. Not for broadcasts; the
---publisher has had its answer (`"offline"`) by then. msg cannot be changed; attempt counts from 1.
---
---**Returns** true (handled), `{ retry = seconds }` (again after so long, 0.1 s to a day; ten attempts at
---most, and not beyond the message's ttl; `on_publish` does not see it again), or `"drop"`. nil drops
---it. **On failure** it is tried again, after as many seconds as there were attempts.
---@field on_offline? async fun(msg: bellhop.Msg, attempt: integer): true|"drop"|bellhop.Retry|nil
---The server stops: what is still to be said, before the connections are closed. reason is `"stop"`;
---grace the seconds that there are for all of this (`server.drain_timeout`). The timers have stopped.
---**On failure** the log says so.
---@field on_shutdown? async fun(reason: string, grace: number)
---Endpoints of your own: see [endpoints](endpoints.md).
---@field http? table<string, bellhop.Endpoint>
---What happens again and again: see [timers](timers.md).
---@field timers? table<string, bellhop.Timer>

---What `on_init` is told.
---@class bellhop.Init
---@field worker integer Which worker this is, from 1.
---@field workers integer How many there are.
---@field generation integer 1 at the start, one more with each reload.
---@field reload boolean Is this a reload?
---@field previous? integer The generation that still serves.

---What `on_handshake` returns: who a connection is. An unknown key or a wrong type is a failure (503),
---because `{ tennant = "a" }` would let somebody in without a tenant.
---@class bellhop.Identity
---@field user? bellhop.Id Gets what is published to this user. 1 to 128 of `A-Z a-z 0-9 _ . @ -`, not `broadcast`; leave it out rather than empty.
---@field tenant? bellhop.Id Gets what is published to this tenant. Likewise.
---@field device? bellhop.Id Up to 128 bytes, for scripts only.
---@field expires? number When it ends, in Unix seconds (a token's `exp`): see `on_expire`.
---@field topics? bellhop.Id[] Topics to join, 256 at most; each is shown to `on_subscribe`.
---@field tags? table<string, bellhop.Scalar> What [filters](publish.md#publish) look at, 32 at most, of up to 256 bytes; numbers and booleans become text.
---@field headers? table<string, string|string[]> Further headers of the answer, 32 at most; a list is several of one name.
---@field protocol? string The subprotocol, one of `req.subprotocols`.
---@field limits? bellhop.Limits Other limits than those configured for all connections.

---@class bellhop.Limits
---@field messages_per_second? integer Instead of `websocket.messages_per_second`.
---@field bytes_per_second? integer Instead of `websocket.bytes_per_second`.
---@field queue_bytes? integer Instead of `websocket.queue_bytes`.

---Where a publish comes from.
---@class bellhop.Source
---@field kind "http"|"script"|"client"
---@field id? string The connection's id, when a client published.
---@field conn? bellhop.Conn That connection, while it is there.

---@class bellhop.CloseInfo
---@field code integer The close code; 1006 when the connection broke off.
---@field reason string

---@class bellhop.Presence
---@field user string
---@field online boolean
---@field at number When, in Unix seconds by the clock of Redis (without Redis: of this machine).

---@class bellhop.Retry
---@field retry number After how many seconds.

-- # conn.md: Connections
--
-- A `conn` is a client's WebSocket. Hooks are given one, and `bh.hub` lists them. There is one object
-- for each connection, so it can be a key of a table; keep it as long as you like: once the
-- connection is closed, its fields stay as they were, and methods that would act on it answer
-- `nil, "closed"`. Fields are read only, but for what you keep in `conn.vars`.
--
-- ```lua
-- on_message = function(conn, data)
--     if not conn:allow("chat", 5, 10) then return false, 1008, "slow down" end
--     conn.vars.count = (conn.vars.count or 0) + 1
--     conn:send_json { you = conn.user, said = data, so_far = conn.vars.count }
--     return true
-- end
-- ```

---@class bellhop.Conn
---@field id string The connection's own id, 11 of `A-Z a-z 0-9 _ -`: for `except`, and in the header `Bellhop-Connection` of its handshake.
---@field user? string Of the identity.
---@field tenant? string Of the identity (not what `on_tenant` said).
---@field device? string Of the identity.
---@field tags table<string, string> A copy of the identity's tags.
---@field ip? string The client's address, as far as [proxies are trusted](../../README.md#on-the-open-internet).
---@field protocol? string The subprotocol that was agreed on.
---@field opened_at number In Unix seconds, with a fraction.
---@field expires? integer In Unix seconds; nil: never.
---@field queued integer Bytes that wait for the client to read.
---@field closed boolean Is it closed, or about to be?
---@field vars table Yours, for as long as the connection lives. Of what you keep here data outlives a [reload](README.md#reloading): strings, numbers, booleans, and tables of them, up to 16 deep and 10,000 values in all.
local conn = {}

---Sends a message to this client. The message is queued, and written at the end of the turn.
---@param data string
---@param opcode? bellhop.Opcode|boolean `"text"` unless you say `"binary"` (or true)
---@return true? sent queued; nil and `"closed"`, `"not valid UTF-8"` (text must be), or `"too big"` (its queue is full: see `on_slow`)
---@return string? why
function conn:send(data, opcode) end

---Sends a value as JSON: see [bh.json.encode](json.md) for what can be encoded.
---@param value any
---@return true? sent or nil and why, as `conn:send`, or why there is no JSON for this value
---@return string? why
function conn:send_json(value) end

---Closes the connection; `on_close` will run. What was sent before still goes out.
---@param code? integer 1000 to 1014 (not 1004, 1005, 1006) or 3000 to 4999; 1000 unless you name one
---@param reason? string up to 123 bytes reach the client
---@return true? done or nil and `"closed"`
---@return string? why
function conn:close(code, reason) end

---Joins a topic, after `on_subscribe`'s consent, and waits until messages arrive (on Redis' word, where
---there is one). Being in it already is fine. At most 1,024 topics, those of the identity included.
---@async
---@param topic bellhop.Id
---@return true? joined or nil and `"denied"`, `"invalid argument"` (no id of a topic), `"too big"` (too many), `"closed"`
---@return string? why
function conn:subscribe(topic) end

---Leaves a topic.
---@param topic bellhop.Id
---@return true? left or nil and `"not found"` (it was not in it), `"invalid argument"`, `"closed"`
---@return string? why
function conn:unsubscribe(topic) end

---@return string[]? topics that it is in, without its user, its tenant and broadcasts; or nil and `"closed"`
---@return string? why
function conn:topics() end

---A bucket of tokens, kept in C: takes one, if there is one. It fills by `rate` a second up to `burst`.
---Buckets go along with a reload.
---@param name string of the bucket; a connection has 16 at most, so do not make names of what clients send
---@param rate number how many a second
---@param burst? number how many at once; the rate, at least 1, unless you say otherwise
---@return boolean? allowed or nil and `"closed"`
---@return string? why
function conn:allow(name, rate, burst) end

---Moves the end of the identity: then `on_expire` is asked, or the connection closed with 4401.
---@param time? number in Unix seconds; nil: never
---@return true? done or nil and `"closed"`
---@return string? why
function conn:set_expiry(time) end

-- # request.md: Requests
--
-- A `req` is an HTTP request: the handshake of a WebSocket, one to the API, or one to an
-- [endpoint](endpoints.md) of yours. It is a copy, which you may keep; it is read only.
--
-- ```lua
-- on_handshake = function(req)
--     local app = req.params.key -- websocket.paths = { "/app/:key" }
--     if req:header "Origin" ~= "https://app.example.com" then return false, 403, "wrong page" end
--     return { user = req:arg "user", tenant = app, device = req:cookie "device" }
-- end
-- ```

---@class bellhop.Request
---@field method string `"GET"`, ...
---@field path string As sent, without the query.
---@field query string As sent, without the `?`; `""` when there is none.
---@field host string The `Host` header.
---@field params table<string, string> What the `:name` and `*name` of the path's pattern stand for, decoded.
---@field ip string The client's address.
---@field port integer And its port; 0 when a proxy spoke for it.
---@field tenant? string What `on_tenant` said.
---@field subprotocols string[] What the client offers in `Sec-WebSocket-Protocol`.
---@field listener string The address of `server.listen` that took it, `"127.0.0.1:8080"`.
---@field secure boolean Did it come by TLS, to us or to a trusted proxy?
---@field tls? bellhop.Tls Of the TLS connection to us; nil: plain.
---@field body? string In endpoints: all of it. nil elsewhere.
local req = {}

---The first argument of that name in the query, decoded; nil when there is none (or its escapes are broken).
---@param name string
---@return string?
function req:arg(name) end

---All arguments of that name: of `?topic=a&topic=b` the list `{ "a", "b" }`.
---@param name string
---@return string[]
function req:args(name) end

---A header, whatever the case of its name; several of one name are joined with `", "`.
---@param name string
---@return string?
function req:header(name) end

---@param name string
---@return string?
function req:cookie(name) end

---The body, as Lua values: see [bh.json.decode](json.md). In endpoints.
---@return any value or nil and why it is no JSON (JSON's `null` is `bh.json.null`)
---@return string? why
function req:json() end

---@class bellhop.Tls
---@field version? string `"TLSv1.3"`
---@field cipher? string
---@field sni? string The host that the client asked for.
---@field verified boolean Has it shown a certificate of an authority in `tls.client_ca`?
---@field subject? string Of that certificate, `"CN=device-7,O=Example"`.
---@field san string[] Its names, `"DNS:device-7.example"`.

-- # message.md: Messages
--
-- A `msg` is a message on its way. In `on_publish` you may assign to all fields but `kind` and
-- `source`; a target (`user`, `tenant`, `topic`, `all = true`) replaces the one that there was. What is
-- wrong is an error at that line, with the reason. In `on_deliver` and `on_offline` it is read only, and
-- `strategy`, `ttl`, `priority` and `source` are nil. It is there while its hook runs: what you keep of
-- it, copy.

---@class bellhop.Msg
---@field kind "user"|"tenant"|"topic"|"all" What the target is.
---@field user? string The target, if it is a user;
---@field tenant? string a tenant;
---@field topic? string a topic.
---@field all? boolean True if it is for everybody.
---@field data string The payload.
---@field opcode bellhop.Opcode
---@field id? string Of the message; nil in `on_publish` while it has none.
---@field except? string The id of the connection that is left out; you may assign a conn, too.
---@field filter? table<string, string> A copy of the filter: to change it, assign a whole table, or nil.
---@field strategy bellhop.Strategy|"default" `"default"`: whatever `delivery.strategy` says.
---@field ttl integer Seconds; 0: for ever.
---@field priority integer 0 to 255, for scripts only.
---@field source "http"|"script"|"client" Who published.

-- # endpoints.md: Endpoints
--
-- A policy may answer HTTP requests of its own, for webhooks or for what a page asks beside its
-- WebSocket:
--
-- ```lua
-- local bh = require "bellhop"
--
-- return {
--     http = {
--         ["POST /hooks/:user"] = function(req)
--             local signature = bh.crypto.hex(bh.crypto.hmac("sha256", bh.config "app.secret", req.body))
--             if not bh.crypto.equal(signature, req:header "X-Signature" or "") then return 401 end
--             local event, why = req:json()
--             if not event then return 400, nil, { error = why } end
--             bh.publish { user = req.params.user, data = event.text }
--             return 204
--         end,
--     },
-- }
-- ```
--
-- - A key is method (`GET HEAD POST PUT PATCH DELETE OPTIONS`), one space, and a path. `:name` is one
--   segment, `*name` at the end all that is left, and `req.params` has them decoded; the rest is compared
--   as it was sent. The most specific path wins (text before `:name` before `*name`), of several policies
--   with the same endpoint the first. A path that bellhop answers itself is refused when the policy is
--   loaded.
-- - Neither API keys nor `on_api` guard them, so check who asks; `on_tenant` is asked before them.
--   `api.cors_origins` holds for them, too, unless you have `OPTIONS` of your own. `GET` answers `HEAD`. A
--   body has at most `http.body_bytes`.
-- - When the client goes while one waits, it is cancelled; what has to be done all the same belongs into
--   [bh.spawn](timers.md).

---Returns `status, headers, body`. The status is 200 to 599. The value of a header is text, or a list for
---several of one name; `Connection`, `Content-Length`, `Date`, `Keep-Alive`, `Transfer-Encoding` and
---`Upgrade` are not yours. A table as the body becomes JSON; a string is `text/plain` unless a header says
---otherwise. nil is 404. **On failure**, and for any other result, the client gets 500, and the log says why.
---@alias bellhop.Endpoint async fun(req: bellhop.Request): integer?, table<string, string|string[]>?, string|table|nil

-- # timers.md: Timers and tasks
--
-- Timers are what a policy does again and again; tasks what it does beside its hooks. Both may wait as
-- long as they like (`script.hook_timeout` is not for them), and what fails is logged, with the line.
--
-- ```lua
-- local bh = require "bellhop"
--
-- return {
--     timers = {
--         heartbeat = { every = 30, fn = function() bh.publish { all = true, data = "tick", strategy = "local" } end },
--         cleanup = { every = 3600, scope = "cluster", fn = function() bh.redis.call("DEL", "old") end },
--     },
--     on_open = function(conn)
--         bh.after(60, function() conn:send "still there?" end)
--     end,
-- }
-- ```

---A timer of the table `timers`. Its name is that of its key: the alphabet of topics, and no other policy
---may have a timer of that name. The first run is one period after the start, or the reload; when a run is
---still under way as the next one is due, that one is left out.
---@class bellhop.Timer
---@field every number Seconds from one start to the next, 0.05 to 30 days.
---@field scope? "worker"|"instance"|"cluster" Where: in each worker (unless you say otherwise), in one of the instance, or in one of the cluster, by a lease in Redis: while Redis is away, nowhere. Without Redis the instance is the cluster.
---@field fn async fun()

---Waits. In the middle of a hook others run, so look again at what you knew before.
---@async
---@param seconds number 0 to 30 days
function bh.sleep(seconds) end

---Starts a task of your own: fn runs at once, up to its first wait, then beside whoever called. It goes on
---when the hook, the client or a request has ended; after a reload it has `script.hook_timeout` seconds.
---@param fn async fun()
---@return true? started or nil and `"too many tasks (script.max_tasks)"`
---@return string? why
function bh.spawn(fn) end

---The same, after so many seconds. A reload cancels those that have not begun, once `script.hook_timeout` has passed.
---@param seconds number 0 to 30 days
---@param fn async fun()
---@return true? planned or nil and `"too many tasks (script.max_tasks)"`
---@return string? why
function bh.after(seconds, fn) end

-- # publish.md: Publishing
--
-- To a user, a tenant, a topic, everybody, or one connection. `on_publish` sees it first (unless it is to
-- one connection, or comes from `on_publish` itself), and may change or refuse it.
--
-- ```lua
-- local id, why = bh.publish { user = 42, data = bh.json.encode { n = 1 } }
-- if not id then bh.log.warn("not published", { why = why }) end
-- bh.publish { topic = "news", data = "for iOS only", filter = { platform = "ios" }, ttl = 60 }
-- ```

---What is published: exactly one of `user`, `tenant`, `topic`, `all` and `conn`, and `data`. Unknown fields and
---wrong types are errors; what depends on data, such as the letters of an id, is `nil, why`.
---@class bellhop.Publish
---@field user? bellhop.Id All devices of this user, wherever they are. Ids are 1 to 128 of `A-Z a-z 0-9 _ . @ -`, those of topics also `/`.
---@field tenant? bellhop.Id All of this tenant.
---@field topic? bellhop.Id All that are in this topic.
---@field all? true Everybody.
---@field conn? bellhop.Conn|string One connection of this worker, or its id. It is sent at once, without `on_publish` and `on_deliver`.
---@field data string The payload, byte for byte. Text must be valid UTF-8.
---@field opcode? bellhop.Opcode `"text"` unless you say otherwise.
---@field binary? boolean The same as a boolean.
---@field strategy? bellhop.Strategy See [delivery strategies](../../README.md#delivery-strategies).
---@field ttl? number Seconds after which it is not delivered any more, where it still waits (for Redis, for the next attempt); 0: for ever.
---@field id? bellhop.Id An id of your own makes it idempotent: a repetition delivers nothing again. Up to 128 of `A-Z a-z 0-9 _ . @ - / : + =`.
---@field except? bellhop.Conn|string A connection, or its id, that is left out.
---@field filter? table<string, bellhop.Scalar> Only those whose tags have all of these values: at most 8, names of 1 to 64 bytes, values of up to 256. An empty table is an error, lest `{ platform = x }` reach everybody when x is nil.
---@field priority? integer 0 to 255: yours, `on_publish` sees it.

---Publishes, and does not wait for what becomes of it: a refusal that is known at once is answered, a later
---one logged.
---@param message bellhop.Publish
---@return string? id of the message; or nil and why: what `on_publish` said, that Redis is away (`"unavailable"`), that the payload is too large or no UTF-8, a bad id
---@return string? why
function bh.publish(message) end

---Publishes, and waits for what the HTTP API answers.
---
---```lua
---local result = bh.publish_wait { user = "42", data = "are you there?" }
---if result and result.status == "offline" then bh.log.info "not there" end
---```
---@async
---@param message bellhop.Publish
---@return bellhop.PublishResult? result or nil and why, as above
---@return string? why
function bh.publish_wait(message) end

---@class bellhop.PublishResult
---@field id string
---@field status "delivered"|"published"|"offline" At least one connection of this instance got it; none here, but other instances took it; nobody did.
---@field instances? integer How many instances took it.
---@field local? integer How many connections of this instance got it.
---@field duplicate? true The id was known: nothing was delivered again, and the two counts are missing.

-- # hub.md: Who is there
--
-- `bh.hub` is about this instance, and answers at once. `bh.tracker` is about the whole cluster, asks
-- Redis, and waits.

---@class bellhop.Hub
bh.hub = {}

---@return integer count of the connections of this instance
function bh.hub.count() end

---The user's connections **of this worker**: to reach all of them, publish to the user.
---@param user bellhop.Id
---@return bellhop.Conn[]? conns or nil and why this is no id
---@return string? why
function bh.hub.by_user(user) end

---The connections in a topic, of this worker.
---@param topic bellhop.Id
---@return bellhop.Conn[]? conns or nil and why this is no id
---@return string? why
function bh.hub.by_topic(topic) end

---How many connections of this worker are in a topic.
---@param topic bellhop.Id
---@return integer? count or nil and why this is no id
---@return string? why
function bh.hub.subscribers(topic) end

---The topics that connections of this worker are in, and how many. It looks at all topics of the
---worker, so ask now and then, not for each message.
---@param prefix? string only those that begin with it
---@return table<string, integer> counts
function bh.hub.topics(prefix) end

---Closes all connections of a user, on every instance. It does not wait.
---@param user bellhop.Id
---@param code? integer as in `conn:close`
---@param reason? string
---@return true? asked or nil and why this is no id
---@return string? why
function bh.hub.close_user(user, code, reason) end

---@class bellhop.Tracker
bh.tracker = {}

---Is the user connected, to any instance?
---@async
---@param user bellhop.Id
---@return boolean? online or nil and why: no id, `"unavailable"` (Redis is away)
---@return string? why
function bh.tracker.online(user) end

---The user's connections, on all instances.
---@async
---@param user bellhop.Id
---@return bellhop.Connection[]? connections or nil and why
---@return string? why
function bh.tracker.connections(user) end

---How many connections a tenant has, on all instances.
---@async
---@param tenant bellhop.Id
---@return integer? count or nil and why
---@return string? why
function bh.tracker.count(tenant) end

---@class bellhop.Connection
---@field instance string
---@field id string
---@field tenant? string
---@field opened_at number In Unix seconds.

-- # redis.md: Redis
--
-- The Redis of `redis.url` (the first one of a list), over a link that all hooks of a worker share: so no
-- command that blocks (`BLPOP`), none that changes the link (`SELECT`, `SUBSCRIBE`), and no `MULTI`: what has to
-- be one step is a script for `bh.redis.eval`. Everything here waits. `nil, why` is an error that Redis answers, a link
-- that is down (`"unavailable"`), or no reply within `redis.command_timeout` (`"timed out"`; Redis may have done it all
-- the same).
--
-- Where no Redis is configured, all of it is `nil, "no Redis is configured (see --redis)"`.
--
-- Replies become strings, integers and lists. What is missing is nil, and inside of lists `bh.json.null`, so
-- that lists have no holes.
--
-- ```lua
-- local session, why = bh.redis.call("GET", "session:" .. (req:cookie "sid" or ""))
-- if why then error(why) end -- Redis is away: fail closed
-- if not session then return false, 401, "no session" end
-- ```

---@class bellhop.Redis
bh.redis = {}

---@alias bellhop.Reply string|integer|table|nil

---One command: its name and its arguments, strings and numbers, 1,023 at most.
---@async
---@param command string
---@param ... string|number
---@return bellhop.Reply reply
---@return string? why
function bh.redis.call(command, ...) end

---The same, but what would be `nil, why` is an error, so the hook fails closed.
---@async
---@param command string
---@param ... string|number
---@return bellhop.Reply reply
function bh.redis.must(command, ...) end

---Several commands in one go, 1,000 at most, each a list.
---
---```lua
---local replies = bh.redis.pipeline { { "INCR", "visits" }, { "HGET", "user:42", "name" } }
---```
---@async
---@param commands (string|number)[][]
---@return table? replies in that order; the place of a command that failed holds `{ error = why }`. nil and why when there is no Redis
---@return string? why
function bh.redis.pipeline(commands) end

---Runs a script in Redis, by its hash, and as a whole where Redis does not know it yet.
---
---```lua
---local left = bh.redis.eval([[
---    local n = redis.call("INCR", KEYS[1])
---    if n == 1 then redis.call("EXPIRE", KEYS[1], ARGV[1]) end
---    return n]], { "visits:42" }, { 60 })
---```
---@async
---@param script string
---@param keys? (string|number)[]
---@param args? (string|number)[]
---@return bellhop.Reply reply
---@return string? why
function bh.redis.eval(script, keys, args) end

-- # http.md: Asking other servers
--
-- ```lua
-- local r, why = bh.http.fetch("https://push.example/v1/send", {
--     json = { to = "42", text = "hello" },
--     headers = { authorization = "Bearer " .. bh.config "app.push_key" },
--     timeout = 2,
-- })
-- if not r then
--     bh.log.warn("no push", { why = why })
-- elseif r.status ~= 200 then
--     bh.log.warn("no push", { status = r.status })
-- end
-- ```
--
-- Any status is a response; `nil, why` is for what brought none: a time-out, a name, a certificate, a response
-- above `max_bytes`. Only http and https; certificates are always verified, against `fetch.ca_file` where the
-- system does not know the authority. Connections are kept and shared by all hooks of a worker, HTTP/2 where
-- the server speaks it; at most `fetch.per_host` requests of a worker go to one host at the same time, and the others
-- wait their turn, which the time-out counts, too. A hook that ends early takes its request with it.
--
-- A URL that clients have a part in can reach what they cannot: name the networks in `fetch.deny` or
-- `fetch.allow`, which are held against the address that is connected to. `http_proxy` and its like are not
-- looked at: set `fetch.proxy`; then those lists mean the proxy.

---@class bellhop.Http
bh.http = {}

---@class bellhop.FetchOptions
---@field method? string GET, or POST with a body, unless you name one.
---@field headers? table<string, string|number|(string|number)[]> A list is several of one name.
---@field body? string Sent as it is; it sets no content type.
---@field json? any Encoded, with its content type; instead of `body`.
---@field timeout? number Seconds for all of it, at most 600; `fetch.timeout` (10) unless you say otherwise. `script.hook_timeout` ends the hook before that, perhaps.
---@field max_bytes? integer Of the response's body, at most 64 MiB; `fetch.max_bytes` (1 MiB) unless you say otherwise.
---@field follow? integer How many redirects to follow, 0 to 10: GET, HEAD and POST only; after 301 to 303 a POST goes on as GET; `authorization` and `cookie` stay with the first host, your other headers go along. 0 unless you say otherwise.

---@class bellhop.Response
---@field status integer
---@field headers table<string, string|string[]> Names in lower case; one that comes more often is joined with `", "`, but `set-cookie` is always a list.
---@field body string

---@async
---@param url string
---@param options? bellhop.FetchOptions an unknown one, or a wrong type, is an error
---@return bellhop.Response? response or nil and a sentence
---@return string? why
function bh.http.fetch(url, options) end

-- # cache.md: Caching
--
-- What costs a wait is fetched once, whoever else asks meanwhile, and kept for a while: in this worker, for this
-- generation (a reload begins anew), at most 10,000 values; the one that was used longest ago goes first.

---The value of `fn()`, from the cache if it is there. One call of fn at a time for each key; whoever asks while it is
---under way waits for its result. nil is not kept: what fn returns as `nil, why` goes to all who wait, and so does, as
---text, an error that it raises (its own caller gets the error). A number beside the value is its own life in seconds:
---`return false, 1` keeps a "no" for a second.
---
---```lua
---local plan, why = bh.cache("plan", conn.tenant, 60, function()
---    return bh.redis.call("HGET", "plans", conn.tenant)
---end)
---```
---@async
---@generic T
---@param namespace string
---@param key string
---@param ttl number seconds, 0 to 30 days
---@param fn async fun(): T?, (string|number)?
---@return T? value
---@return string? why
function bh.cache(namespace, key, ttl, fn) end

-- # shared.md: What workers share
--
-- Each worker has a Lua state of its own, with its own globals. `bh.shared.NAME` is one store for all workers of
-- the instance, for any name that you like; it outlives reloads. All stores together hold `script.shared_memory`
-- (64 MiB). Nothing here waits. For what all instances share there is [Redis](redis.md).
--
-- ```lua
-- local logins = bh.shared.logins
-- local n = logins:incr(req.ip, 1, 60) -- the life counts from the first one
-- if n and n > 10 then return false, 429, "too many attempts" end
-- ```
--
-- Keys are strings of up to 512 bytes, values strings, numbers and booleans; encode tables with `bh.json.encode`.

---@class bellhop.Shared
---@field [string] bellhop.Store A name of 1 to 64 bytes.
bh.shared = {}

---@class bellhop.Store
local store = {}

---@param key string
---@return bellhop.Scalar? value nil when there is none, or its life is over
function store:get(key) end

---Sets a value; nil removes it.
---@param key string
---@param value bellhop.Scalar?
---@param ttl? number seconds; for good unless you say otherwise
---@return true? done or nil and `"the shared memory is full (script.shared_memory)"`
---@return string? why
function store:set(key, value, ttl) end

---Sets a value that is not there yet.
---@param key string
---@param value bellhop.Scalar
---@param ttl? number
---@return true? done or nil and `"exists"`, or that the memory is full
---@return string? why
function store:add(key, value, ttl) end

---Adds to an integer, which begins at 0.
---@param key string
---@param by? integer 1 unless you say otherwise
---@param ttl? number of one that begins; it is not prolonged
---@return integer? value the new one; or nil and `"not an integer"`, `"out of range"`, or that the memory is full
---@return string? why
function store:incr(key, by, ttl) end

---Sets a value if the present one is `expected` (nil: if there is none). 1 and 1.0 differ.
---@param key string
---@param expected bellhop.Scalar?
---@param value bellhop.Scalar? nil removes it
---@param ttl? number
---@return true? done or nil and `"changed"`: somebody else was faster; or that the memory is full
---@return string? why
function store:cas(key, expected, value, ttl) end

-- # json.md: JSON
--
-- Lua has one empty table where JSON has two empty containers: `{}` is encoded as an object, and
-- `bh.json.array {}` as a list. An empty list that was decoded stays one.
--
-- ```lua
-- bh.json.encode { id = 7, tags = bh.json.array {}, parent = bh.json.null } -- {"id":7,"tags":[],"parent":null}
-- local kind = bh.json.peek(data, "event.type")
-- local first = bh.json.peek(data, "items.0")
-- ```

---@class bellhop.Json
---@field null lightuserdata JSON's `null`, for what would be a hole in a table. It is a value, and true in a condition: compare it with `==`.
bh.json = {}

---A table is a list (without holes) or has string keys only. Integers are exact up to 2^53 and refused beyond:
---send them as strings.
---@param value any
---@return string? json or nil and why, with the path to the value: `a.b[3]: a function has no form in JSON`
---@return string? why
function bh.json.encode(value) end

---Integers are exact up to 2^53 and refused beyond, as in encoding (`peek` has them up to 2^63); of several members with
---one name the last one counts.
---@param text string
---@return any value or nil and why, with the byte. JSON's `null` is `bh.json.null`
---@return string? why
function bh.json.decode(text) end

---One value of a text, without building tables for the rest: names with dots between them, and indexes from 0. Lists
---and objects are their text, and the second result is what they are. It reads the whole text, so an invalid one is
---found. Texts of more than 16 MiB are refused.
---@param text string
---@param path string `""` is the whole
---@return any value nil when it is not there; nil and why when this is no JSON; JSON's `null` is `bh.json.null`
---@return string? what why; or `"array"`, `"object"`
function bh.json.peek(text, path) end

---Marks a table (a new one, without an argument) as a list, and returns it: it is encoded as `[]` when it is empty.
---@param list? table
---@return table
function bh.json.array(list) end

---Marks a table as an object, and returns it: integer keys become text.
---@param object? table
---@return table
function bh.json.object(object) end

-- # crypto.md: Digests, encodings, random bytes
--
-- All of it works on strings of bytes, and digests are raw bytes: `bh.crypto.hex` makes them readable. Digests are
-- `"md5"`, `"sha1"`, `"sha224"`, `"sha256"`, `"sha384"` and `"sha512"`.
--
-- ```lua
-- local signature = bh.crypto.hex(bh.crypto.hmac("sha256", secret, req.body))
-- if not bh.crypto.equal(signature, req:header "X-Signature" or "") then return 401 end
-- ```

---@class bellhop.Crypto
bh.crypto = {}

---@alias bellhop.Digest "md5"|"sha1"|"sha224"|"sha256"|"sha384"|"sha512"

---@param digest bellhop.Digest
---@param data string
---@return string bytes
function bh.crypto.hash(digest, data) end

---@param digest bellhop.Digest
---@param key string
---@param data string
---@return string bytes
function bh.crypto.hmac(digest, key, data) end

---So many random bytes, good for secrets.
---@param count integer 0 to 65,536
---@return string bytes
function bh.crypto.random(count) end

---Compares in a time that tells nothing about where they differ: for signatures and secrets.
---@param a string
---@param b string
---@return boolean
function bh.crypto.equal(a, b) end

---@param bytes string
---@return string
function bh.crypto.hex(bytes) end

---@param text string digits of either case
---@return string? bytes or nil and why
---@return string? why
function bh.crypto.unhex(text) end

---@param bytes string
---@return string
function bh.crypto.base64(bytes) end

---@param text string
---@return string? bytes or nil and why
---@return string? why
function bh.crypto.unbase64(text) end

---The alphabet of URLs, without padding.
---@param bytes string
---@return string
function bh.crypto.base64url(bytes) end

---@param text string
---@return string? bytes or nil and why
---@return string? why
function bh.crypto.unbase64url(text) end

-- # jwt.md: JSON Web Tokens
--
-- ```lua
-- local claims, why = bh.jwt.verify(token, {
--     alg = { "RS256", "ES256" }, -- must be named: there is no default
--     jwks = "/etc/bellhop/keys.json", -- or key = the secret, or the PEM text
--     issuer = "https://id.example",
--     audience = "bellhop",
--     leeway = 30,
--     require_exp = true,
-- })
-- if not claims then return false, 401, why end
-- ```
--
-- The algorithms are HS, RS and ES with 256, 384 and 512, PS256 and EdDSA (Ed25519); `"none"` there is not. A key
-- serves its own kind only: a secret the HS, at least as long as the hash; a public key (PEM, RSA of 2048 to 8192
-- bits, EC or Ed25519) all others; a list that mixes both wants a key set, where each key says what it is for. Of
-- the set the token's `kid` picks the key. The file of a set is looked at once a second and read again when it has
-- changed; one that is missing or broken at the first look is an error, later it leaves the old keys in place, and a
-- line in the log.

---@class bellhop.Jwt
bh.jwt = {}

---@class bellhop.JwtVerify
---@field alg string|string[] Which algorithms are accepted. Required.
---@field key? string The secret, or the public key as PEM text.
---@field jwks? string The path of a JSON Web Key Set, instead of `key`.
---@field issuer? string The `iss` that the token must have.
---@field audience? string What must be (among) its `aud`.
---@field leeway? number Seconds that `exp`, `nbf` and `iat` may be off, at most a day.
---@field require_exp? boolean Refuse tokens without `exp`.

---@class bellhop.JwtSign
---@field alg "HS256"|"HS384"|"HS512"
---@field key string The secret.

---Checks signature, `exp`, `nbf` and `iat`, and what the options ask for. A wrong token is `nil, why`; wrong options
---are an error.
---@param token string
---@param options bellhop.JwtVerify
---@return table? claims as [bh.json.decode](json.md) makes them; or nil and why
---@return string? why
function bh.jwt.verify(token, options) end

---@param claims table
---@param options bellhop.JwtSign
---@return string? token or nil and why the claims are no JSON
---@return string? why
function bh.jwt.sign(claims, options) end

-- # log.md: The log
--
-- Lines go where the server's go (section `log`), with the generation of the script. Fields named like
-- secrets (`token`, `password`, ...) are masked. A level that is off costs next to nothing. `print` writes one of level info.
--
-- ```lua
-- bh.log.info("order accepted", { user = conn.user, amount = 12.5 })
-- -- level=info msg="order accepted" user=42 amount=12.5 generation=1
-- ```

---@class bellhop.Log
bh.log = {}

---@alias bellhop.LogFields table<string, bellhop.Scalar> 16 at most

---@param message string
---@param fields? bellhop.LogFields
function bh.log.debug(message, fields) end

---@param message string
---@param fields? bellhop.LogFields
function bh.log.info(message, fields) end

---@param message string
---@param fields? bellhop.LogFields
function bh.log.warn(message, fields) end

---@param message string
---@param fields? bellhop.LogFields
function bh.log.error(message, fields) end

-- # metrics.md: Metrics
--
-- What you count appears in `/metrics`, for Prometheus. Metrics are declared while the policy is loaded, outside of
-- hooks; they belong to the process, so all workers count together, and go on after a reload.
--
-- ```lua
-- local bh = require "bellhop"
-- local orders = bh.metrics.counter("shop_orders_total", "orders that came in", { "tenant" })
-- local latency = bh.metrics.histogram("shop_latency_seconds", "of the shop's answers")
--
-- return {
--     on_message = function(conn)
--         orders:inc(1, conn.tenant or "")
--         latency:observe(0.02)
--         return true
--     end,
-- }
-- ```
--
-- Names are letters, digits and `_`, and do not begin with `bellhop_`; the help is one line. The values of the labels
-- are arguments, in the order of their names. Each combination of values is a series: 1,000 of a metric at
-- most, then `nil, why`; so take no labels from what clients send. At most 8 labels, and 200 metrics. A metric keeps
-- its type and its labels until the server is restarted.

---@class bellhop.Metrics
bh.metrics = {}

---@param name string
---@param help? string
---@param labels? string[]
---@return bellhop.Counter
function bh.metrics.counter(name, help, labels) end

---@param name string
---@param help? string
---@param labels? string[]
---@return bellhop.Gauge
function bh.metrics.gauge(name, help, labels) end

---Of seconds, say: with buckets from 0.001 to 10.
---@param name string
---@param help? string
---@param labels? string[]
---@return bellhop.Histogram
function bh.metrics.histogram(name, help, labels) end

---@class bellhop.Counter
local counter = {}

---@param by? number 1 unless you say otherwise; not below 0
---@param ... string the values of the labels
---@return true? counted or nil and that there are too many series
---@return string? why
function counter:inc(by, ...) end

---@class bellhop.Gauge
local gauge = {}

---@param value number
---@param ... string
---@return true? set or nil and that there are too many series
---@return string? why
function gauge:set(value, ...) end

---@param by? number 1 unless you say otherwise; may be below 0
---@param ... string
---@return true? counted or nil and that there are too many series
---@return string? why
function gauge:inc(by, ...) end

---@class bellhop.Histogram
local histogram = {}

---@param value number
---@param ... string
---@return true? counted or nil and that there are too many series
---@return string? why
function histogram:observe(value, ...) end

-- # config.md: Configuration
--
-- Everything in the configuration, by its path, after environment and command line had their say. What is yours
-- stands in the section `app`. It is read at the start: a reload of scripts does not change it. `bh.version` is the
-- version of bellhop, such as `"0.1.0"`.

---```lua
---local greeting = bh.config "app.greeting" or "hello"
---local first = bh.config "app.servers.1" -- of a list, from 1
---local whole = bh.config "app" -- a table
---```
---@param path string
---@return any value nil when it is not there
function bh.config(path) end

return bh
