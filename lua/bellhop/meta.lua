---@meta bellhop
-- The API of scripts, for editors (LuaLS) and for readers: the pages of docs/lua are generated from this
-- file, and tests/spec/docs_spec.lua compares it with the implementation. Nothing here runs.
--
-- A comment of two dashes that begins with `# name.md: Title` starts a page. All text is Markdown.
assert(not ..., "bellhop.meta is only for editors; use require \"bellhop\"")

---@class bellhop
---@field version string The version of bellhop, such as `"0.1.0"`.
local bh = {}

---@alias bellhop.Opcode "text"|"binary"
---@alias bellhop.Strategy "local_first"|"redis"|"both"|"local"|"durable"
---@alias bellhop.Id string|integer
---@alias bellhop.Scalar string|number|boolean

-- # hooks.md: Hooks
--
-- A policy returns a table of hooks, and bellhop calls them. All are optional; a hook that is missing costs nothing.
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
-- - An unknown key in the table is an error when the policy is loaded.
-- - With several policies (`script.files`), each hook is called in their order. The first result that is not nil
--   decides. If all return nil, the default applies; it is described with each hook. `on_init` and `on_shutdown` run in
--   all policies.
-- - An error stops the chain: no further policy is called.
-- - A hook marked *May wait* may call functions that wait (`bh.redis`, `bh.http.fetch`, `bh.sleep`, ...). The hook is
--   suspended meanwhile, and the worker handles other events. `on_tenant`, `on_deliver` and `on_slow` must not wait.
-- - The hooks of one connection run one after the other. While one waits, further messages of this client are queued;
--   when more than 32 messages or 256 KiB are queued, its socket is not read. Messages *to* the client are still
--   delivered.

---@class bellhop.Policy
---Runs once in each worker, at the start and after each reload, before all other hooks.
---
---**Returns** `false, why` to refuse. All other results are ignored. **On failure**, and when it refuses, the start or the
---reload is refused with this reason.
---@field on_init? async fun(ctx: bellhop.Init): false?, string?
---Names the tenant of a request (a WebSocket, an API request, an endpoint) before it is authenticated. The other
---hooks see it as `req.tenant`. The connection's tenant comes from the identity only.
---
---**Returns** an id, nil for no tenant, or `false, status, body` to refuse the request (404 by default). **On failure** the
---client gets 503.
---@field on_tenant? fun(req: bellhop.Request): bellhop.Id|false|nil, integer?, string?
---Decides who may open a WebSocket or an SSE connection, and as which user. When the client disconnects while the hook
---waits, the hook is cancelled: nothing after the wait runs, except that to-be-closed variables are closed.
---
---**Returns** an [identity](#identity) (`{ anonymous = true }` for a connection without a user, which gets broadcasts), or
---`false, status, body, headers` to refuse: the status is 300 to 599 (401 by default), and headers are as in the identity.
---nil is 401, and the first time it is logged: a `return` may be missing. **On failure** the client gets 503 without the
---reason.
---@field on_handshake? async fun(req: bellhop.Request): bellhop.Identity|false|nil, integer?, string?, table<string, string|string[]>?
---Decides who may use the HTTP API (`/api/...`). Runs before the keys of `api.keys` are checked.
---
---**Returns** true to allow the request, `false, status, body` to refuse it (403 by default), or nil: the keys decide. **On
---failure** the client gets 503.
---@field on_api? async fun(req: bellhop.Request): boolean?, integer?, string?
---The connection is open and has joined its topics. Messages of the client wait until this hook has finished.
---
---**Returns** `false, code, reason` to close the connection (1008 by default). **On failure** it is closed with 1011.
---@field on_open? async fun(conn: bellhop.Conn): boolean?, integer?, string?
---A client has sent a message.
---
---**Returns**
---
---- a string: it is sent to the client, with the opcode of the message;
---- a table: it is [published](publish.md#publish) with `source.kind == "client"`; when the publish is refused, this is logged,
---  and the client is not told;
---- true: nothing more happens;
---- `false, code, reason`: the connection is closed (1008 by default);
---- **nil: `websocket.client_messages` decides. `"refuse"`, the default, closes the connection with 1008.** So end the hook
---  with `return true` when there is no reply. The first time, this is logged.
---
---**On failure** the message is dropped, and the connection stays open. When the connection closes while the hook waits, the
---hook continues; `conn:send` returns `nil, "closed"`.
---@field on_message? async fun(conn: bellhop.Conn, data: string, opcode: bellhop.Opcode): string|bellhop.Publish|boolean|nil, integer?, string?
---A message is published by the API, a script or a client. Runs once, on the instance that receives the publish. It does
---not run for what is published straight to Redis (`on_deliver` does), nor for what this hook publishes itself.
---
---**Returns** the name of a strategy, true or nil to go on, or `false, reason` to refuse; the publisher gets the reason.
---Assign to fields of [msg](message.md) to change the message. **On failure** nothing is delivered, and the publisher gets an
---error.
---
---```lua
---on_publish = function(msg, source)
---    if source.kind == "client" and msg.all then return false, "clients may not broadcast" end
---    if msg.topic == "prices" then return "local" end
---    msg.ttl = 60
---end
---```
---@field on_publish? async fun(msg: bellhop.Msg, source: bellhop.Source): bellhop.Strategy|boolean|nil, string?
---A message is about to be delivered to one connection. Runs for each connection that receives it, so keep it short.
---`msg` is read only, and the same object for all connections.
---
---**Returns** nil or true to deliver, false to skip this connection, or a string: this connection gets it instead, with the
---opcode of the message. **On failure** the connection is skipped. A run may take `script.deliver_limit` (5 ms) of CPU time.
---A connection whose runs exceed it three times within a minute is closed with 1011. After three such runs on a worker, for
---whichever connections, the limit of that worker is 1 ms, until none exceeded it for a minute.
---@field on_deliver? fun(conn: bellhop.Conn, msg: bellhop.Msg): boolean|string|nil
---A connection joins a topic: one of its identity, by `conn:subscribe`, or one that the client names (`?topic=` with
---`format=json` or SSE). Does not run for its user, its tenant and broadcasts.
---
---**Returns** true or nil to allow it (a table, too: reserved for options), or `false, code, reason` to refuse it: a topic of
---the identity is skipped, and `conn:subscribe` returns `nil, "denied"`. A topic that the client names and its identity does
---not have needs true (or a table): nil refuses it, except with `--dev`. A refused topic that the client names ends its
---request with the HTTP status `code` (403 by default) and `reason`. **On failure** it is refused. The hook is cancelled when
---the connection closes.
---@field on_subscribe? async fun(conn: bellhop.Conn, topic: string): boolean|table|nil, integer?, string?
---A connection has left a topic. `why` is `"unsubscribed"` (by `conn:unsubscribe`) or `"closed"`. **On failure** the error is
---logged.
---@field on_unsubscribe? async fun(conn: bellhop.Conn, topic: string, why: "unsubscribed"|"closed")
---The connection is closed. Runs exactly once, after all other hooks of this connection. The fields of `conn` are still
---there; methods that send return `nil, "closed"`. **On failure** the error is logged.
---@field on_close? async fun(conn: bellhop.Conn, info: bellhop.CloseInfo)
---The identity has expired (`expires`, `conn:set_expiry`). Without this hook the connection is closed with 4401.
---
---**Returns** the new expiry in Unix seconds, or false. When the expiry is not in the future, the connection is closed with
---4401. **On failure** it is closed.
---@field on_expire? async fun(conn: bellhop.Conn): number|false|nil
---The send queue of a connection would exceed `websocket.queue_bytes`, because the client does not read.
---
---**Returns** `"drop_oldest"`, `"drop_newest"`, `"close"` (1008), or nil: `websocket.on_slow` decides. **On failure**, also
---when it exceeds `script.deliver_limit`, the connection is closed.
---@field on_slow? fun(conn: bellhop.Conn, queued: integer): "drop_oldest"|"drop_newest"|"close"|nil
---Messages of a topic with [history](history.md) are missing for a connection, and its protocol cannot tell it: a raw
---WebSocket. Clients that resume (SSE, `format=json`) are told themselves, so the hook does not run for them. `topic` is the
---whole name: `"user:42"`, `"tenant:7"`, `"topic:news"` or `"all"`. Runs on the instance of the connection, once for each
---connection, topic and gap, in the order of its other hooks; gaps of a topic whose hook still waits for its turn are one. Send
---the client what it needs to load its state again.
---
---All results are ignored; without this hook nothing happens. **On failure** the error is logged.
---
---```lua
---on_gap = function(conn, topic, reason)
---    conn:send_json { type = "reload", topic = topic, reason = reason }
---end
---```
---@field on_gap? async fun(conn: bellhop.Conn, topic: string, reason: string)
---A user has come online, or has been offline on all instances for `tracking.debounce` seconds. Runs on one instance of
---the cluster. When Redis has lost data, the last event of a user may be raised a second time: see
---[presence](../scaling.md#when-redis-loses-data). **On failure** the error is logged.
---@field on_presence? async fun(event: bellhop.Presence)
---A message was delivered to no connection on any instance, for example to send a push notification instead. Does not
---run for broadcasts. The publisher already has its answer (`"offline"`, or `"stored"` when it is in the topic's history).
---`msg` is read only; `attempt` counts from 1.
---
---**Returns** true (handled), `"drop"` or nil (the message is dropped), or `{ retry = seconds }` (0.1 seconds to a day): the
---message is delivered again after this time, without `on_publish`; of a stored message only this hook is called again. There
---are at most ten attempts, all within the `ttl` of the message. **On failure** it is retried after as many seconds as there
---were attempts.
---@field on_offline? async fun(msg: bellhop.Msg, attempt: integer): true|"drop"|bellhop.Retry|nil
---The server stops; the connections are still open, and new ones are refused. What it publishes is delivered before they close.
---`reason` is `"stop"`, `grace` is the time for the whole shutdown in seconds (`server.drain_timeout`). Timers have stopped.
---**On failure** the error is logged.
---@field on_shutdown? async fun(reason: string, grace: number)
---HTTP endpoints of the policy: see [endpoints](endpoints.md).
---@field http? { [string]: bellhop.Endpoint }|table<string, bellhop.Endpoint>
---Functions that run periodically: see [timers](timers.md).
---@field timers? table<string, bellhop.Timer>

---The argument of `on_init`.
---@class bellhop.Init
---@field worker integer The number of this worker, from 1.
---@field workers integer The number of workers.
---@field generation integer 1 at the start, one more after each reload.
---@field reload boolean Whether this is a reload.
---@field previous? integer The generation that is still serving.

---The result of `on_handshake`: who the connection belongs to. An unknown key or a wrong type is a failure (503), because a
---typo such as `{ tennant = "a" }` would admit a client without its tenant.
---@class bellhop.Identity
---@field user? bellhop.Id The connection gets what is published to this user. [An id](ids.md), not `broadcast`. Omit it for none; `""` is an error.
---@field anonymous? boolean True: it is meant that there is no user. Beside a user it is an error. Without both, the connection is admitted and this is logged once, or it is refused with 403 if [`script.require_user`](../configuration.md) is set. A later release will refuse it always.
---@field tenant? bellhop.Id The connection gets what is published to this tenant.
---@field device? bellhop.Id Up to 128 bytes, for scripts only.
---@field expires? number When the identity expires, in Unix seconds (such as the `exp` of a token, or `os.time() + 3600`), rounded up: see `on_expire`. A duration such as 3600 is an error.
---@field topics? bellhop.Id[] Topics to join, at most 256. `on_subscribe` runs for each.
---@field tags? table<string, bellhop.Scalar?> For [filters](publish.md#publish): at most 32, of up to 256 bytes each. Numbers and booleans become text.
---@field headers? table<string, string|string[]> Further headers of the handshake's answer, at most 32. A list sends a header several times.
---@field protocol? string The subprotocol, one of `req.subprotocols`.
---@field limits? bellhop.Limits Limits of this connection.
---@field compression? "off"|"no_takeover"|"takeover" Replaces `websocket.compression` for this connection, for [clients that break it](../api.md#clients-that-break-compression).
---@field format? "json"|"raw" What the connection gets: `"json"` is JSON frames with topic and position, as with `?format=json`; `"raw"` is the messages alone, whatever the query says. By default the query decides.

---Limits that replace the configured ones for one connection.
---@class bellhop.Limits
---@field messages_per_second? integer Replaces `websocket.messages_per_second`.
---@field bytes_per_second? integer Replaces `websocket.bytes_per_second`.
---@field queue_bytes? integer Replaces `websocket.queue_bytes`.

---Where a publish comes from.
---@class bellhop.Source
---@field kind "http"|"script"|"client"
---@field id? string The connection id of the client that published.
---@field conn? bellhop.Conn The connection of that client, while it is open.

---@class bellhop.CloseInfo
---@field code integer The close code; 1006 when the connection was lost.
---@field reason string

---@class bellhop.Presence
---@field user string
---@field online boolean
---@field at number When, in Unix seconds by the clock of Redis (without Redis: of this machine).

---@class bellhop.Retry
---@field retry number After how many seconds.

-- # conn.md: Connections
--
-- Use `conn` to send to a client, to let it join topics, to limit it, to store data for it and to close it. A `conn` is one
-- WebSocket connection; hooks get it as an argument, and [bh.hub](hub.md) finds connections.
--
-- ```lua
-- on_message = function(conn, data)
--     if not conn:allow("chat", 5, 10) then return false, 1008, "too many messages" end
--     conn.vars.count = (conn.vars.count or 0) + 1
--     conn:send_json { user = conn.user, text = data, count = conn.vars.count }
--     return true
-- end
-- ```
--
-- - There is one object for each connection, so it can be a key of a table. You may keep it for as long as you like.
-- - When the connection is closed, the fields keep their values, and methods return `nil, "closed"`.
-- - Fields are read only; only `conn.vars` is yours.

---@class bellhop.Conn
---@field id string The connection id, 11 of `A-Z a-z 0-9 _ -`: for `except`. The client gets it in the handshake header `Bellhop-Connection`.
---@field user? string From the identity.
---@field tenant? string From the identity (not from `on_tenant`).
---@field device? string From the identity.
---@field tags table<string, string> A copy of the identity's tags.
---@field ip? string The client's address, as far as [proxies are trusted](../security.md#proxies).
---@field protocol? string The subprotocol; `"sse"` for server-sent events.
---@field opened_at number In Unix seconds, with a fraction.
---@field expires? integer In Unix seconds; nil: never.
---@field queued integer Bytes in the send queue.
---@field position? string Of a client that resumes (SSE, `format=json`): where it is in its streams, as the `id` that it gives back in `?since=`. nil: it is none, or it is closed.
---@field closed boolean Whether it is closed, or about to be.
---@field vars table Your data, for the life of the connection. Plain data survives a [reload](README.md#reloading): strings, numbers, booleans, and tables of them, up to 16 deep and 10,000 values in all.
local conn = {}

---Sends a message to this client. The message is queued and written at the end of the event loop's iteration.
---@param data string
---@param opcode? bellhop.Opcode|boolean `"text"` by default; `"binary"` or true
---@return true? sent it is queued; or nil and `"closed"`, `"not valid UTF-8"` (for text), or `"too big"` (the queue is full, see `on_slow`)
---@return string? why
function conn:send(data, opcode) end

---Sends a value as JSON; [bh.json.encode](json.md) says what can be encoded.
---@param value any
---@return true? sent or nil and the reason, as `conn:send`, or why the value cannot be encoded
---@return string? why
function conn:send_json(value) end

---Closes the connection after the queued messages. `on_close` runs afterwards.
---@param code? integer 1000 to 1014 (except 1004, 1005, 1006) or 3000 to 4999; 1000 by default
---@param reason? string at most 123 bytes are sent
---@return true? done or nil and `"closed"`
---@return string? why
function conn:close(code, reason) end

---Joins a topic: runs `on_subscribe`, then waits until Redis has confirmed the subscription (without Redis, it returns at
---once). Joining a topic again succeeds. A connection is in at most 1,024 topics, those of its identity included.
---@async
---@param topic bellhop.Id
---@return true? joined or nil and `"denied"`, `"invalid argument"` (not a valid topic), `"too big"` (too many topics), `"closed"`
---@return string? why
function conn:subscribe(topic) end

---Leaves a topic.
---@param topic bellhop.Id
---@return true? left or nil and `"not found"` (it was not in the topic), `"invalid argument"`, `"closed"`
---@return string? why
function conn:unsubscribe(topic) end

---@return string[]? topics the joined topics, without user, tenant and broadcasts; or nil and `"closed"`
---@return string? why
function conn:topics() end

---Takes one token from a token bucket, which fills with `rate` tokens per second up to `burst`. Buckets survive a reload.
---@param name string of the bucket; a connection has at most 16, so do not build names from what clients send
---@param rate number tokens per second
---@param burst? number size of the bucket; by default the rate, at least 1
---@return boolean? allowed or nil and `"closed"`
---@return string? why
function conn:allow(name, rate, burst) end

---Changes the expiry of the identity. At that time `on_expire` runs, or the connection is closed with 4401.
---@param time? number in Unix seconds; nil: never; a duration such as 3600 raises an error
---@return true? done or nil and `"closed"`
---@return string? why
function conn:set_expiry(time) end

-- # request.md: Requests
--
-- Use `req` to read an HTTP request: a WebSocket handshake, an API request, or a request to an [endpoint](endpoints.md).
--
-- ```lua
-- on_handshake = function(req)
--     local app = req.params.key -- from websocket.paths = { "/app/:key" }
--     if req:header "Origin" == "https://old.example.com" then return false, 403, "this page is closed" end
--     return { user = req:arg "user", tenant = app, device = req:cookie "device" }
-- end
-- ```
--
-- It is a copy of the request, read only. You may keep it.

---@class bellhop.Request
---@field method string `"GET"`, ...
---@field path string As sent, without the query.
---@field query string As sent, without the `?`; `""` when there is none.
---@field host string The `Host` header.
---@field params table<string, string> The values of `:name` and `*name` in the path's pattern, decoded.
---@field ip string The client's address.
---@field port integer The client's port; 0 when the address comes from a proxy.
---@field tenant? string The result of `on_tenant`.
---@field subprotocols string[] The client's `Sec-WebSocket-Protocol`.
---@field listener string The address of `server.listen` that accepted it, such as `"127.0.0.1:8080"`.
---@field secure boolean Whether it came over TLS, to bellhop or to a trusted proxy.
---@field tls? bellhop.Tls The TLS connection to bellhop; nil: plain.
---@field body? string The whole body, in endpoints; nil elsewhere.
local req = {}

---The first argument with this name in the query, decoded; nil when it is missing or its escapes are invalid.
---@param name string
---@return string?
function req:arg(name) end

---All arguments with this name: `{ "a", "b" }` for `?topic=a&topic=b`.
---@param name string
---@return string[]
function req:args(name) end

---A header. The case of the name does not matter. Several headers with one name are joined with `", "`.
---@param name string
---@return string?
function req:header(name) end

---@param name string
---@return string?
function req:cookie(name) end

---The body, decoded from JSON, in endpoints: see [bh.json.decode](json.md).
---@param options? bellhop.JsonOptions
---@return any value or nil and why it is not JSON (JSON's `null` is `bh.json.null`)
---@return string? why
function req:json(options) end

---@class bellhop.Tls
---@field version? string `"TLSv1.3"`
---@field cipher? string
---@field sni? string The host name that the client asked for.
---@field verified boolean Whether the client has presented a certificate of an authority in `tls.client_ca`.
---@field subject? string The subject of that certificate, `"CN=device-7,O=Example"`.
---@field san string[] Its alternative names, `"DNS:device-7.example"`.

-- # message.md: Messages
--
-- Use `msg` to look at a message on its way, and in `on_publish` to change it.
--
-- ```lua
-- on_publish = function(msg)
--     if #msg.data > 4096 then return false, "at most 4,096 bytes" end
--     if msg.user == "support" then msg.topic = "support/inbox" end -- replaces the target
--     msg.priority = msg.topic and 1 or 100
-- end
-- ```
--
-- - In `on_publish` all fields can be assigned, except `kind`, `source` and `position`. A new target (`user`, `tenant`, `topic`,
--   `all = true`) replaces the old one. An invalid value is an error at that line.
-- - In `on_deliver` and `on_offline` it is read only, and `strategy`, `ttl`, `priority`, `source`, `history` and `collapse` are
--   nil.
-- - It is valid while its hook runs. Copy the fields that you want to keep.

---@class bellhop.Msg
---@field kind "user"|"tenant"|"topic"|"all" The kind of the target.
---@field user? string The target, when it is a user.
---@field tenant? string The target, when it is a tenant.
---@field topic? string The target, when it is a topic.
---@field all? boolean True for a broadcast.
---@field data string The payload.
---@field opcode bellhop.Opcode
---@field id? string The message id; nil in `on_publish` when the publisher gave none.
---@field except? string The id of the connection that is left out. A conn can be assigned, too.
---@field filter? table<string, string> A copy of the filter. To change it, assign a whole table, or nil.
---@field strategy bellhop.Strategy|"default" `"default"`: `delivery.strategy` applies.
---@field ttl integer In seconds; 0: no limit.
---@field priority integer 0 to 255, for scripts only.
---@field source "http"|"script"|"client" Who published it.
---@field history? boolean Whether it is stored in the topic's [history](history.md); nil: if the topic has one.
---@field collapse? string The key of the message that it replaces in the history. A string or an integer can be assigned, or nil.
---@field position? string Its position in the topic's history, in `on_deliver` and `on_offline`; nil: it is not stored.

-- # endpoints.md: Endpoints
--
-- A policy can answer HTTP requests itself: webhooks of other services, or requests of a page beside its WebSocket.
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
-- - A key is a method (`GET HEAD POST PUT PATCH DELETE OPTIONS`), one space, and a path. In the path, `:name` matches one
--   segment, and `*name` at the end matches the rest; both are decoded in `req.params`. All other text is compared as sent.
-- - The most specific path wins: text before `:name` before `*name`. When several policies have the same endpoint, the
--   first policy wins. A path of bellhop itself is an error when the policy is loaded.
-- - **API keys and `on_api` do not protect endpoints: authenticate the caller yourself.** `on_tenant` runs before an endpoint.
-- - `api.cors_origins` applies, unless the policy has an `OPTIONS` endpoint. `GET` endpoints also answer `HEAD`. The body is
--   limited to `http.body_bytes`.
-- - When the client disconnects while an endpoint waits, the endpoint is cancelled. Use [bh.spawn](timers.md) for work
--   that must finish.

---Returns `status, headers, body`. The status is 200 to 599; nil is 404 (no value at all, too, but that is logged once). The value of a header is a string, or a list to
---send it several times; `Connection`, `Content-Length`, `Date`, `Keep-Alive`, `Transfer-Encoding` and `Upgrade` cannot be
---set. A table as the body is encoded as JSON; a string is `text/plain` unless a header says otherwise. **On failure**, and for
---any other result, the client gets 500, and the error is logged.
---@alias bellhop.Endpoint async fun(req: bellhop.Request): integer?, table<string, string|string[]>?, string|table|nil

-- # timers.md: Timers and tasks
--
-- Use timers for work that is done periodically, and tasks for work that continues after a hook has returned.
--
-- ```lua
-- local bh = require "bellhop"
--
-- return {
--     timers = {
--         heartbeat = { every = 30, fn = function() bh.publish { all = true, data = "tick", strategy = "local" } end },
--         cleanup = { every = 3600, scope = "cluster", fn = function() bh.redis.call("DEL", "old") end },
--     },
--     on_handshake = function(req)
--         return { user = req:arg "user" }
--     end,
--     on_open = function(conn)
--         bh.after(60, function() conn:send "connected for a minute" end)
--     end,
-- }
-- ```
--
-- Both may wait; `script.hook_timeout` does not apply to them. Errors are logged, with the line.

---A timer of the table `timers`. Its name (the key) has the characters of topics and must be unique among all policies. It
---runs for the first time one period after the start or the reload. When a run is still in progress as the next one is due,
---the next one is skipped. A run that exceeds `script.cpu_limit` is stopped, and doubles the period of this worker's timer (up
---to an hour); the first run that stays within the limit restores the period. Each change is logged.
---@class bellhop.Timer
---@field every number The period in seconds, 0.05 to 30 days.
---@field scope? "worker"|"instance"|"cluster" Where it runs: in each worker (the default), in one worker of the instance, or in one of the cluster, which is chosen by a lease in Redis. While Redis is unavailable, cluster timers do not run. Without Redis, the instance is the cluster.
---@field fn async fun()

---Waits. Other hooks run meanwhile, so check again what you knew before.
---@async
---@param seconds number 0 to 30 days
function bh.sleep(seconds) end

---Starts a task. `fn` runs at once until it first waits, then in the background. It continues when the hook, the client or
---the request has ended. After a reload it has `script.hook_timeout` seconds to finish.
---@param fn async fun()
---@return true? started or nil and `"too many tasks (script.max_tasks)"`
---@return string? why
function bh.spawn(fn) end

---Starts a task after a delay. After a reload, tasks that have not started within `script.hook_timeout` are cancelled.
---@param seconds number 0 to 30 days
---@param fn async fun()
---@return true? planned or nil and `"too many tasks (script.max_tasks)"`
---@return string? why
function bh.after(seconds, fn) end

-- # publish.md: Publishing
--
-- Publish to a user, a tenant, a topic, everybody, or one connection.
--
-- ```lua
-- local id, why = bh.publish { user = 42, data = bh.json.encode { n = 1 } }
-- if not id then bh.log.warn("not published", { why = why }) end
-- bh.publish { topic = "news", data = "only for iOS", filter = { platform = "ios" }, ttl = 60 }
-- ```
--
-- `on_publish` runs first and may change or refuse the message. It does not run for messages to one connection, nor for
-- what `on_publish` publishes itself.

---What to publish: `data`, and exactly one of `user`, `tenant`, `topic`, `all` and `conn`. Unknown fields and wrong types
---raise an error; invalid values, such as an id with a space, return `nil, why`.
---@class bellhop.Publish
---@field user? bellhop.Id All connections of this user, on all instances: [an id](ids.md).
---@field tenant? bellhop.Id All connections of this tenant.
---@field topic? bellhop.Id All connections in this topic.
---@field all? true All connections.
---@field conn? bellhop.Conn|string One connection of this worker, or its id. The message is sent at once, without `on_publish` and `on_deliver`.
---@field data string The payload, byte for byte. Text must be valid UTF-8.
---@field opcode? bellhop.Opcode `"text"` by default.
---@field binary? boolean The same as a boolean.
---@field strategy? bellhop.Strategy See [delivery strategies](../delivery.md#strategies).
---@field ttl? number In seconds: a message that still waits then (for Redis, or for the next attempt) is dropped. 0: no limit.
---@field id? bellhop.Id A message id of your own makes the publish idempotent: a repetition is not delivered again. Up to 128 of `A-Z a-z 0-9 _ . @ - / : + =`.
---@field except? bellhop.Conn|string A connection, or its id, that does not get the message.
---@field filter? table<string, bellhop.Scalar> Only connections whose tags have all of these values: at most 8, with names of 1 to 64 bytes and values of up to 256. An empty table is an error, so that `{ platform = x }` does not reach everybody when x is nil.
---@field priority? integer 0 to 255, for `on_publish` only.
---@field history? boolean False: it is not stored in the topic's [history](history.md). True: it must be; a topic without history is an error. By default it is stored if the topic has a history.
---@field collapse? bellhop.Id A key of 1 to 128 bytes: in the history it replaces the message that had this key.

---Publishes without waiting for the result. An error that is known at once is returned; a later one is logged.
---@param message bellhop.Publish
---@return string? id the message id; or nil and why: the reason of `on_publish`, `"unavailable"` (Redis), the payload is too large or not UTF-8, an invalid id, `history` or `collapse` for a topic without history
---@return string? why
function bh.publish(message) end

---Publishes, and waits for the result that the HTTP API returns.
---
---```lua
---local result = bh.publish_wait { user = "42", data = "are you there?" }
---if result and result.status == "offline" then bh.log.info "user 42 is offline" end
---```
---@async
---@param message bellhop.Publish
---@return bellhop.PublishResult? result or nil and why, as `bh.publish`
---@return string? why
function bh.publish_wait(message) end

---@class bellhop.PublishResult
---@field id string
---@field status "delivered"|"published"|"offline"|"stored" `"delivered"`: at least one connection of this instance received it. `"published"`: none here, but other instances accepted it. `"offline"`: nobody received it. `"stored"`: nobody received it, and it is in the topic's history.
---@field strategy? "durable" The strategy that was used, when the message is in the topic's history.
---@field position? string Its position there, `"<epoch>-<offset>"`; of a repetition that of the first.
---@field instances? integer Instances that accepted it.
---@field local? integer Connections on this instance that received it.
---@field duplicate? true The id was known: nothing was delivered again, the status is that of the first publish (`"stored"` if the message is in the topic's history), and the two counts are missing.

-- # history.md: Histories of topics
--
-- Use `bh.history` to read what was published to a topic with history (a stream), and to remove from it.
--
-- ```lua
-- on_message = function(conn, data)
--     if data ~= "what is new?" then return true end
--     local page, why = bh.history.read { user = conn.user, limit = 20 }
--     if not page then bh.log.warn("no page", { why = why }) return true end
--     for _, message in ipairs(page.messages) do conn:send(message.data, message.opcode) end
--     return true
-- end
-- ```
--
-- - Which topics have a history, and how much of it, is in the section [`history`](../configuration.md#history) of the
--   configuration. A user, a tenant, a topic and broadcasts (`all`) may have one. Of other topics the result is `nil, why`.
-- - Both functions wait, and both ask Redis (without Redis the history is in this process).
-- - A page shows what is stored: `filter` and `except` of the messages, `on_deliver` and rights are yours to apply. What has
--   expired or was removed is not in it.

---@class bellhop.History
bh.history = {}

---What to read: exactly one of `user`, `tenant`, `topic` and `all`. Unknown fields and wrong types raise an error; an invalid
---id or position returns `nil, why`.
---@class bellhop.HistoryRead
---@field user? bellhop.Id
---@field tenant? bellhop.Id
---@field topic? bellhop.Id
---@field all? true
---@field since? string A position: the page continues behind it, in the order of the page. With `"asc"`, which is then the default, these are the messages after it, with `"desc"` those before it.
---@field limit? integer At most so many messages, 1 to 1,000; 100 by default. A page has about 1 MiB at most, so it may be shorter: see `more`.
---@field order? "asc"|"desc" `"desc"`, the default without `since`: the newest first. `"asc"`: the oldest first.

---Reads a page. Runs on any instance, as often as you call it.
---@async
---@param query bellhop.HistoryRead
---@return bellhop.Page? page or nil and why: an invalid id or position, the topic has no history, `"unavailable"` or `"timed out"` (Redis)
---@return string? why
function bh.history.read(query) end

---@class bellhop.Page
---@field messages bellhop.StoredMessage[]
---@field position? string The position of the newest message of the topic; nil: nothing was ever stored.
---@field more boolean There are further messages in this order: read again with the position of the last one as `since`.
---@field gap boolean `since` is unknown, or messages behind it are not kept any more: the page begins as without it.

---@class bellhop.StoredMessage
---@field id? string The message id; nil when a backend stored it without one.
---@field position string
---@field time? number When it was stored, in Unix seconds by the clock of Redis.
---@field data string The payload.
---@field opcode bellhop.Opcode
---@field filter? table<string, string>

---What to remove: exactly one of `user`, `tenant`, `topic` and `all`.
---@class bellhop.HistoryRemove
---@field user? bellhop.Id
---@field tenant? bellhop.Id
---@field topic? bellhop.Id
---@field all? true
---@field position? string The message at this position only; without it all messages of the topic.

---Removes stored messages, for all instances. Clients that come back do not get them any more, and are not told of a gap.
---What was delivered already stays delivered.
---@async
---@param query bellhop.HistoryRemove
---@return integer? removed how many messages were removed; or nil and why, as `bh.history.read`
---@return string? why
function bh.history.remove(query) end

-- # hub.md: Who is connected
--
-- Use `bh.hub` to find the connections of this instance, and `bh.tracker` to ask about the whole cluster.
--
-- ```lua
-- for _, other in ipairs(bh.hub.by_user(conn.user)) do
--     if other ~= conn then other:close(4000, "connected elsewhere") end
-- end
-- if not bh.tracker.online "42" then bh.log.info "user 42 is offline" end
-- ```
--
-- `bh.hub` answers at once. `bh.tracker` asks Redis, and waits. When Redis rejects writes, or was away a moment ago,
-- only the connections of this instance are sure: then the second result is `"partial"`.

---@class bellhop.Hub
bh.hub = {}

---@return integer count connections of this instance
function bh.hub.count() end

---The user's connections **of this worker**. To reach all of them, publish to the user.
---@param user bellhop.Id
---@return bellhop.Conn[]? conns or nil and why the id is invalid
---@return string? why
function bh.hub.by_user(user) end

---The connections of this worker that are in a topic.
---@param topic bellhop.Id
---@return bellhop.Conn[]? conns or nil and why the id is invalid
---@return string? why
function bh.hub.by_topic(topic) end

---The number of connections of this worker that are in a topic.
---@param topic bellhop.Id
---@return integer? count or nil and why the id is invalid
---@return string? why
function bh.hub.subscribers(topic) end

---The topics of this worker, with the number of connections in each. It walks over all topics of the worker, so do not
---call it for each message.
---@param prefix? string only topics that begin with it
---@return table<string, integer> counts
function bh.hub.topics(prefix) end

---Closes all connections of a user, on all instances. It does not wait.
---@param user bellhop.Id
---@param code? integer as in `conn:close`
---@param reason? string
---@return true? asked or nil and why the id is invalid
---@return string? why
function bh.hub.close_user(user, code, reason) end

---@class bellhop.Tracker
bh.tracker = {}

---Whether the user has a connection to any instance.
---@async
---@param user bellhop.Id
---@return boolean? online or nil and why: an invalid id, or `"unavailable"` (Redis)
---@return string? why
function bh.tracker.online(user) end

---The user's connections, on all instances.
---@async
---@param user bellhop.Id
---@return bellhop.Connection[]? connections or nil and why
---@return string? why
function bh.tracker.connections(user) end

---The number of connections of a tenant, on all instances.
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

-- # ids.md: Ids and channels
--
-- Use `bh.id.check` on an id from outside, such as a claim of a token, before you make a topic or a key of it.
--
-- ```lua
-- on_handshake = function(req)
--     local room, why = bh.id.check("topic", "rooms/" .. (req:arg "room" or ""))
--     if not room then return false, 400, why end
--     return { user = req:arg "user", topics = { room } }
-- end
-- ```
--
-- An id of a user or tenant is 1 to 128 bytes, that of a topic 1 to 255 bytes of valid UTF-8 without white space, control
-- characters, bidi controls and U+FFFD (which half a surrogate pair of JSON becomes): `42`, `auth0|5f7c`,
-- `us-east-1:0a1b`, `a+b@x.org`.
-- The id `broadcast` is no user. Ids are compared byte by byte and never normalised. With
-- [`ids.wide = false`](../configuration.md#ids) they have the characters `A-Z a-z 0-9 _ . @ -` only, and `/` in topics.
--
-- Hooks, events and `bh.publish` have ids as they are. Only the names of channels in Redis [encode
-- them](../scaling.md#ids-in-channels); `bh.channel` does that for scripts that publish with `bh.redis`.

---@class bellhop.Ids
bh.id = {}

---Whether a value is an id.
---@param kind "user"|"tenant"|"topic"
---@param value any a string or an integer; anything else is no id
---@return string? id the id as a string; or nil and why it is invalid
---@return string? why
function bh.id.check(kind, value) end

---Exactly one of them.
---@class bellhop.Target
---@field user? bellhop.Id
---@field tenant? bellhop.Id
---@field topic? bellhop.Id
---@field all? true

---The name of the Redis channel that reaches a user, a tenant, a topic, or everybody.
---
---```lua
---bh.channel { user = "us-east-1:0a1b" }    --> "notification:us-east-1%3A0a1b"
---```
---@param target bellhop.Target
---@return string? channel or nil and why the id is invalid
---@return string? why
function bh.channel(target) end

-- # redis.md: Redis
--
-- Use `bh.redis` to read and write your own data in Redis.
--
-- ```lua
-- local session, why = bh.redis.call("GET", "session:" .. (req:cookie "sid" or ""))
-- if why then error(why) end -- Redis is unavailable: fail closed
-- if not session then return false, 401, "no session" end
-- ```
--
-- - All functions wait. They use the first server of `redis.url`, over a connection that all hooks of a worker share. So
--   commands that block (`BLPOP`) or change the connection (`SELECT`, `SUBSCRIBE`), and `MULTI`, are not sent: the result is
--   `nil, why`, and a line is logged. Use `bh.redis.eval` for what must be atomic.
-- - On a Redis Cluster a command goes to the master of its first key, and all its keys are in one slot. A command without a
--   key is not sent, but for a few: see [scripts on a cluster](../cluster.md#scripts).
-- - Replies are strings, integers and lists. A missing value is nil, and `bh.json.null` inside lists, so that lists have no
--   holes.
-- - `nil, why` is an error reply of Redis, a connection that is down (`"unavailable"`), or no reply within
--   `redis.command_timeout` (`"timed out"`; Redis may have executed the command).
-- - When no Redis is configured, all functions return `nil, "no Redis is configured (see --redis)"`.

---@class bellhop.Redis
bh.redis = {}

---@alias bellhop.Reply any a string, an integer, a list, or nil

---Executes one command: its name and its arguments, strings and numbers, at most 1,023.
---@async
---@param command string
---@param ... string|number
---@return bellhop.Reply reply
---@return string? why
function bh.redis.call(command, ...) end

---Like `call`, but raises an error instead of returning `nil, why`, so the hook fails closed.
---@async
---@param command string
---@param ... string|number
---@return bellhop.Reply reply
function bh.redis.must(command, ...) end

---Executes several commands in one round trip, at most 1,000, each as a list.
---
---```lua
---local replies = bh.redis.pipeline { { "INCR", "visits" }, { "HGET", "user:42", "name" } }
---```
---@async
---@param commands (string|number)[][]
---@return table? replies in the same order; `{ error = why }` in place of a command that failed. nil and why when no Redis is configured
---@return string? why
function bh.redis.pipeline(commands) end

---Executes a script in Redis, by its hash. When Redis does not know the script, its text is sent.
---
---```lua
---local count = bh.redis.eval([[
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

-- # http.md: HTTP requests
--
-- Use `bh.http.fetch` to call other HTTP services.
--
-- ```lua
-- local r, why = bh.http.fetch("https://push.example/v1/send", {
--     json = { to = "42", text = "hello" },
--     headers = { authorization = "Bearer " .. bh.config "app.push_key" },
--     timeout = 2,
-- })
-- if not r then
--     bh.log.warn("push failed", { why = why })
-- elseif r.status ~= 200 then
--     bh.log.warn("push failed", { status = r.status })
-- end
-- ```
--
-- - Any status is a response. `nil, why` means that there was none: a timeout, an unknown name, an invalid certificate, a
--   response larger than `max_bytes`.
-- - A request may take `fetch.timeout` (5 s), redirects and the wait for a free connection included; `timeout` replaces it for
--   one request. Then it returns `nil, "timeout"`. A hook ends after `script.hook_timeout` (10 s) even if its requests may
--   take longer; timers and tasks do not.
-- - Only http and https. Certificates are always verified, with the system's authorities or those of `fetch.ca_file`.
-- - Connections are kept open and shared by all hooks of a worker, with HTTP/2 where the server supports it. At most
--   `fetch.per_host` requests of a worker go to one host at a time; further ones are queued, and the timeout includes this time.
-- - When a hook is cancelled, its request is cancelled, too.
-- - **When clients can influence a URL, restrict the networks with `fetch.deny` or `fetch.allow`**, otherwise they can reach
--   internal servers. The lists are checked against the address that is connected to. The environment (`http_proxy`, ...)
--   is ignored; with `fetch.proxy`, the lists apply to the proxy.

---@class bellhop.Http
bh.http = {}

---@class bellhop.FetchOptions
---@field method? string By default GET, or POST with a body.
---@field headers? table<string, string|number|(string|number)[]> A list sends a header several times.
---@field body? string Sent as it is, without a content type.
---@field json? any Sent as JSON, with its content type; instead of `body`.
---@field timeout? number For the whole request, in seconds, at most 600; `fetch.timeout` (5) by default. `script.hook_timeout` may end the hook earlier.
---@field max_bytes? integer Largest response body, at most 64 MiB; `fetch.max_bytes` (1 MiB) by default.
---@field follow? integer Redirects to follow, 0 (the default) to 10, for GET, HEAD and POST. After 301 to 303 a POST becomes a GET. `authorization` and `cookie` are sent to the first host only, other headers to all.

---@class bellhop.Response
---@field status integer
---@field headers table<string, string|string[]> Names are in lower case. Several headers with one name are joined with `", "`, but `set-cookie` is always a list.
---@field body string

---@async
---@param url string
---@param options? bellhop.FetchOptions an unknown option or a wrong type raises an error
---@return bellhop.Response? response or nil and the reason
---@return string? why
function bh.http.fetch(url, options) end

-- # cache.md: Caching
--
-- Use `bh.cache` to keep a value that is slow to get. Concurrent calls for one key share one lookup.
--
-- ```lua
-- local plan, why = bh.cache("plan", conn.tenant, 60, function()
--     return bh.redis.call("HGET", "plans", conn.tenant)
-- end)
-- ```
--
-- Each worker has its own cache of at most 10,000 values; the least recently used one is removed first. A reload empties it.

---Returns the cached value, or calls `fn` and caches its result. While `fn` runs for a key, further callers wait for its
---result.
---
---- nil is not cached: all waiting callers get the `nil, why` that fn returned.
---- When fn raises an error, its own caller gets the error, and the others get `nil` and its text.
---- A number after the value replaces the TTL: `return false, 1` caches a "no" for one second.
---@async
---@generic T
---@param namespace string
---@param key string
---@param ttl number seconds, 0 to 30 days
---@param fn async fun(): T?, (string|number)?
---@return T? value
---@return string? why
function bh.cache(namespace, key, ttl, fn) end

-- # shared.md: Data shared by workers
--
-- Use `bh.shared.NAME` for data that all workers of an instance share. Each name is its own store.
--
-- ```lua
-- local logins = bh.shared.logins
-- local n = logins:incr(req.ip, 1, 60) -- the TTL starts with the first one
-- if n and n > 10 then return false, 429, "too many attempts" end
-- ```
--
-- - Keys are strings of up to 512 bytes. Values are strings, numbers and booleans; encode tables with `bh.json.encode`.
-- - All stores together hold `script.shared_memory` (64 MiB). They survive reloads, not restarts.
-- - Nothing here waits. For data that all instances share, use [Redis](redis.md).

---@class bellhop.Shared
---@field [string] bellhop.Store A name of 1 to 64 bytes.
bh.shared = {}

---@class bellhop.Store
local store = {}

---@param key string
---@return bellhop.Scalar? value nil when it is missing or has expired
function store:get(key) end

---Sets a value; nil removes it.
---@param key string
---@param value bellhop.Scalar?
---@param ttl? number seconds; by default it does not expire
---@return true? done or nil and `"the shared memory is full (script.shared_memory)"`
---@return string? why
function store:set(key, value, ttl) end

---Sets a value only if the key does not exist.
---@param key string
---@param value bellhop.Scalar
---@param ttl? number
---@return true? done or nil and `"exists"`, or that the memory is full
---@return string? why
function store:add(key, value, ttl) end

---Adds to an integer. A missing key starts at 0.
---@param key string
---@param by? integer 1 by default
---@param ttl? number for a new key only; it is not extended
---@return integer? value the new value; or nil and `"not an integer"`, `"out of range"`, or that the memory is full
---@return string? why
function store:incr(key, by, ttl) end

---Compare and set: sets a value only if the current one is `expected` (nil: missing). 1 and 1.0 are different.
---@param key string
---@param expected bellhop.Scalar?
---@param value bellhop.Scalar? nil removes it
---@param ttl? number
---@return true? done or nil and `"changed"` (the current value is another one), or that the memory is full
---@return string? why
function store:cas(key, expected, value, ttl) end

-- # json.md: JSON
--
-- Use `bh.json` to encode and decode JSON, and `bh.json.peek` to read one value without decoding the rest.
--
-- ```lua
-- local text = bh.json.encode { id = 7, tags = bh.json.array {}, parent = bh.json.null }
-- assert(bh.json.decode(text).id == 7)
-- assert(bh.json.peek(text, "id") == 7)
-- assert(bh.json.peek('{"items":["first"]}', "items.0") == "first")
-- assert(bh.json.peek('{"price": 1.50}', "price", { raw = true }) == "1.50")
-- ```
--
-- Lua has one empty table where JSON has two: `{}` is encoded as an object, `bh.json.array {}` as a list. A decoded empty
-- list is encoded as a list again.
--
-- To pass a value on, use `peek` with `raw`: its bytes stay as they are, and nothing in them is judged except that they are
-- JSON. Lua cannot hold every number, and UTF-8 has no half surrogate pairs (`"\ud83d"`, which JavaScript makes when it cuts
-- an emoji in two): decoded, these become U+FFFD.

---@class bellhop.Json
---@field null lightuserdata JSON's `null`, for tables that cannot hold nil. It counts as true in a condition: compare it with `==`.
bh.json = {}

---Encodes a value. A table is a list (without holes) or has string keys only. Integers are written with all their digits;
---JavaScript reads those beyond 2^53 inexactly, so send such ids as strings.
---@param value any
---@return string? json or nil and why, with the path to the value: `a.b[3]: a function cannot be encoded as JSON`
---@return string? why
function bh.json.encode(value) end

---@class bellhop.JsonOptions
---@field big_integers? "error"|"float"|"string" What becomes of an integer beyond 64 bits: `nil, why` (the default), the nearest float, or a string of its digits. `"string"` also accepts other numbers that Lua cannot hold, such as `1e400`.

---@class bellhop.PeekOptions
---@field big_integers? "error"|"float"|"string" The same.
---@field raw? boolean The bytes of the value instead of the value: a string with its quotes and escapes, a number with all its digits.

---Decodes a text. Integers of 64 bits are exact. Of several members with one name, the last one counts. Texts of more than
---16 MiB and those nested deeper than 4,096 levels are refused. A text whose values take too long or too much memory raises an
---error, as its limits (`script.cpu_limit`, `script.memory_limit`) do elsewhere.
---@param text string
---@param options? bellhop.JsonOptions
---@return any value or nil and why, with the position. JSON's `null` is `bh.json.null`
---@return string? why
function bh.json.decode(text, options) end

---Reads one value of a text without building tables for the rest. A path has names and indexes (from 0), separated by dots.
---Lists and objects are returned as text. The whole text is checked, so an invalid one is found; values that are not on the
---path may be any JSON. Texts of more than 16 MiB and those nested deeper than 4,096 levels are refused.
---@param text string
---@param path string `""` is the whole text
---@param options? bellhop.PeekOptions
---@return any value nil when it is missing; nil and why when the text is not JSON; JSON's `null` is `bh.json.null`
---@return string? what why; or `"array"`, `"object"`; with `raw` also `"string"`, `"number"`, `"boolean"`, `"null"`
function bh.json.peek(text, path, options) end

---Marks a table (or a new one) as a list, and returns it: it is encoded as `[]` when it is empty.
---@param list? table
---@return table
function bh.json.array(list) end

---Marks a table (or a new one) as an object, and returns it: integer keys become strings.
---@param object? table
---@return table
function bh.json.object(object) end

-- # crypto.md: Hashes, encodings, random bytes
--
-- Use `bh.crypto` to check signatures, to hash, to encode and to make random tokens.
--
-- ```lua
-- local signature = bh.crypto.hex(bh.crypto.hmac("sha256", bh.config "app.secret", data))
-- if not bh.crypto.equal(signature, req:header "X-Signature" or "") then return false, 4401, "wrong signature" end
-- ```
--
-- All functions work on strings of bytes. Digests are raw bytes; `bh.crypto.hex` makes them readable. The digests are
-- `"md5"`, `"sha1"`, `"sha224"`, `"sha256"`, `"sha384"` and `"sha512"`.

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

---Random bytes from the system, suitable for secrets.
---@param count integer 0 to 65,536
---@return string bytes
function bh.crypto.random(count) end

---Compares in constant time: use it for signatures and secrets.
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

---The URL-safe alphabet, without padding.
---@param bytes string
---@return string
function bh.crypto.base64url(bytes) end

---@param text string
---@return string? bytes or nil and why
---@return string? why
function bh.crypto.unbase64url(text) end

-- # jwt.md: JSON Web Tokens
--
-- Use `bh.jwt.verify` to check a token.
--
-- ```lua
-- local claims, why = bh.jwt.verify(token, {
--     alg = { "HS256" }, -- required: there is no default
--     key = bh.config "auth.jwt.secret", -- or jwks = the path of a key set
--     leeway = 30,
--     require_exp = true,
-- })
-- if not claims then return false, 401, why end
-- ```
--
-- - The algorithms are HS, RS and ES with 256, 384 and 512, PS256 and EdDSA (Ed25519). `"none"` is not supported.
-- - A secret is used for HS* only and must be at least as long as the hash: 32 bytes for HS256, 48 for HS384, 64 for HS512
--   (RFC 7518, section 3.2). A shorter one raises an error. A public key (PEM: RSA of 2048 to 8192 bits, EC or Ed25519) is used
--   for all others. To accept both kinds, use a key set, where each key names its algorithm.
-- - `exp`, `nbf` and `iat` are in Unix seconds, with or without a fraction, and are compared in milliseconds. A time in
--   milliseconds, 10^12 or more, is refused.
-- - In a key set, the token's `kid` selects the key. The file is checked once a second and read again when it has changed. A
--   missing or invalid file raises an error at the first use; later the previous keys are kept, and the error is logged.

---@class bellhop.Jwt
bh.jwt = {}

---@class bellhop.JwtVerify
---@field alg string|string[] The accepted algorithms. Required.
---@field key? string The secret, or the public key as PEM text.
---@field jwks? string The path of a JSON Web Key Set, instead of `key`.
---@field issuer? string The required `iss`.
---@field audience? string The required `aud`, or one of them.
---@field leeway? number Tolerance for `exp`, `nbf` and `iat` in seconds, at most a day; 0 unless given.
---@field require_exp? boolean Refuse tokens without `exp`.

---@class bellhop.JwtSign
---@field alg "HS256"|"HS384"|"HS512"
---@field key string The secret, at least as long as the hash.

---Checks the signature, `exp`, `nbf`, `iat`, and what the options require. An invalid token is `nil, why`; invalid options
---raise an error.
---@param token string
---@param options bellhop.JwtVerify
---@return table? claims as [bh.json.decode](json.md) returns them, with `big_integers = "string"`; or nil and why
---@return string? why
function bh.jwt.verify(token, options) end

---Makes a token.
---@param claims table
---@param options bellhop.JwtSign
---@return string? token or nil and why the claims cannot be encoded
---@return string? why
function bh.jwt.sign(claims, options) end

-- # log.md: The log
--
-- Use `bh.log` to write to the server's log (section `log` of the configuration).
--
-- ```lua
-- bh.log.info("order accepted", { user = conn.user, amount = 12.5 })
-- -- level=info msg="order accepted" user=42 amount=12.5 generation=1
-- ```
--
-- `generation` is the generation of the script. Fields with names of secrets (`token`, `password`, ...) are masked. A disabled
-- level costs next to nothing. `print` logs at level info.

---@class bellhop.Log
bh.log = {}

---@alias bellhop.LogFields table<string, bellhop.Scalar?> at most 16; a field that is nil is left out

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
-- Use `bh.metrics` to add your own metrics to `/metrics`, for Prometheus.
--
-- ```lua
-- local bh = require "bellhop"
-- local orders = bh.metrics.counter("shop_orders_total", "orders received", { "tenant" })
-- local latency = bh.metrics.histogram("shop_latency_seconds", "response time of the shop")
--
-- return {
--     on_handshake = function(req)
--         return { user = req:arg "user", tenant = req:arg "tenant" }
--     end,
--     on_message = function(conn)
--         orders:inc(1, conn.tenant or "")
--         latency:observe(0.02)
--         return true
--     end,
-- }
-- ```
--
-- - Declare metrics while the policy is loaded, outside of hooks. All workers count together, and counts survive a reload. A
--   metric keeps its type and labels until the server restarts.
-- - A name has letters, digits and `_`, and does not begin with `bellhop_`. The help is one line.
-- - Label values are arguments, in the order of the label names. Each combination of values is a series. A metric has at most
--   1,000 series, then methods return `nil, why`; so do not use values that clients choose. There are at most 8 labels, and 200
--   metrics.

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

---The buckets are 0.001 to 10, for seconds.
---@param name string
---@param help? string
---@param labels? string[]
---@return bellhop.Histogram
function bh.metrics.histogram(name, help, labels) end

---@class bellhop.Counter
local counter = {}

---@param by? number 1 by default; not negative
---@param ... string label values
---@return true? counted or nil when there are too many series
---@return string? why
function counter:inc(by, ...) end

---@class bellhop.Gauge
local gauge = {}

---@param value number
---@param ... string label values
---@return true? set or nil when there are too many series
---@return string? why
function gauge:set(value, ...) end

---@param by? number 1 by default; may be negative
---@param ... string label values
---@return true? counted or nil when there are too many series
---@return string? why
function gauge:inc(by, ...) end

---@class bellhop.Histogram
local histogram = {}

---@param value number
---@param ... string label values
---@return true? counted or nil when there are too many series
---@return string? why
function histogram:observe(value, ...) end

-- # config.md: Configuration
--
-- Use `bh.config` to read the configuration: your own section `app`, and all others.
--
-- ```lua
-- local greeting = bh.config "app.greeting" or "hello"
-- local first = bh.config "app.servers.1" -- of a list, from 1
-- local app = bh.config "app" -- a table
-- ```
--
-- - Environment variables and command line options are included: `BELLHOP_APP_GREETING=hello` sets `app.greeting`, with the
--   type of the value in the file that it replaces, else as a string.
-- - A policy has no `os.getenv`. The [configuration file](../configuration.md#the-file) has it:
--   `app = { webhook_key = os.getenv "WEBHOOK_KEY" or "" }`. It returns a string, or nil when the variable is not set.
-- - The configuration is read at the start; reloading scripts does not change it.
--
-- `bh.version` is the version of bellhop, such as `"0.1.0"`.

---@param path string
---@return any value nil when it is missing
function bh.config(path) end

return bh
