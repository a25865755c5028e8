/* config_keys.c - the table of configuration keys. */
#include "config_keys.h"

#include "config.h"

#include <ctype.h>
#include <stdio.h>

#define STRING  BH_CONFIG_STRING
#define STRINGS BH_CONFIG_STRINGS
#define URLS    BH_CONFIG_URLS
#define BOOL    BH_CONFIG_BOOL
#define COUNT   BH_CONFIG_COUNT
#define BYTES   BH_CONFIG_BYTES
#define SECONDS BH_CONFIG_SECONDS
#define AUTO    BH_CONFIG_AUTO_BYTES
#define RULES   BH_CONFIG_RULES

#define AT(field) offsetof(struct bh_config, field)
#define MIB       (1024.0 * 1024.0)
#define DAY       86400.0

const struct bh_config_key bh_config_keys[] = {
    {"server.listen", STRINGS, AT(listen), 0, 0, "[\"127.0.0.1:8080\"]", NULL,
     "Addresses to listen on: `ADDRESS:PORT`, `[::1]:8080` or `unix:/PATH`; port 0 takes a "
     "free one, and `localhost` is 127.0.0.1. `tls:` in front speaks TLS; `proxy:` or `proxy:tls:` "
     "expects the header of "
     "the PROXY protocol (v1 or v2), from `server.trusted_proxies` only."},
    {"server.admin_listen", STRINGS, AT(admin_listen), 0, 0, "[]", NULL,
     "Further addresses, in the same form, that serve `/healthz`, `/readyz` and `/metrics` only. "
     "Their connections do not count for the limits of connections."},
    {"server.workers", COUNT, AT(workers), 0, 64, "0", NULL,
     "Worker threads, each with its own event loop; 0: one for each core."},
    {"server.instance", STRING, AT(instance), 0, 0, "\"\"", NULL,
     "Id of this instance in the cluster; empty: a random one at each start."},
    {"server.dev", BOOL, AT(dev), 0, 0, "false", NULL,
     "Development mode: loopback addresses only, no keys, `?user=` on the WebSocket, the "
     "demo page at `/`."},
    {"server.drain_delay", SECONDS, AT(drain_delay), 0, 3600, "0", NULL,
     "On SIGTERM: how long `/readyz` is red before anything else happens, so that load balancers "
     "stop sending new clients. Make it longer than their health check takes to notice."},
    {"server.drain_timeout", SECONDS, AT(drain_timeout), 0, 3600, "10", NULL,
     "On SIGTERM, after `server.drain_delay`: the time that connections have to close. More than "
     "200 close evenly over half of it."},
    {"server.connections_max", COUNT, AT(connections_max), 0, 1e8, "0", NULL,
     "Maximum of connections of the process; 0: the limit of file descriptors. More get 503, "
     "except for health, metrics, and the API with a key."},
    {"server.connections_per_ip", COUNT, AT(connections_per_ip), 0, 1e8, "0", NULL,
     "Maximum of connections from one address (IPv6: one /64), more get 429; 0: 1000, and no "
     "limit for loopback."},
    {"server.accepts_per_second", COUNT, AT(accepts_per_second), 0, 1e8, "50000", NULL,
     "New connections accepted per second, more wait in the backlog; 0: no limit."},
    {"server.trusted_proxies", STRINGS, AT(trusted_proxies), 0, 0, "[]", NULL,
     "Proxies that are trusted to report the client's address, by PROXY protocol or "
     "`X-Forwarded-For`: `10.0.0.0/8`, `2001:db8::/32`, `unix`."},
    {"server.backlog", COUNT, AT(backlog), 1, 65535, "1024", NULL,
     "Connections that may wait to be accepted, for each address."},
    {"server.memory_budget", AUTO, AT(memory_budget), 0, 1024.0 * 1024 * MIB, "\"auto\"", NULL,
     "Memory for unfinished bodies and messages, for what is not sent yet, and for what is held "
     "back, of all clients together. Beyond it, requests with a body get 503, and the connections "
     "of the user or address that holds most are closed with 1013. `\"auto\"`: half of the memory "
     "of the machine, or of the cgroup; 0: no limit."},
    {"tls.certificates", STRINGS, AT(tls_certificates), 0, 0, "[]", NULL,
     "PEM files, each with a certificate and its chain. A client gets the first one that "
     "fits the host it asks for, else the first of all. SIGHUP reads all files of this "
     "section again."},
    {"tls.keys", STRINGS, AT(tls_keys), 0, 0, "[]", NULL,
     "PEM files of the private keys, in the order of the certificates; empty: the keys are "
     "in the certificate files."},
    {"tls.min_version", STRING, AT(tls_min_version), 0, 0, "\"1.2\"", "1.2|1.3",
     "The lowest TLS version that is accepted."},
    {"tls.ciphers", STRING, AT(tls_ciphers), 0, 0, "\"\"", NULL,
     "Ciphers of TLS 1.2 in OpenSSL's notation; empty: ECDHE with AES-GCM or ChaCha20."},
    {"tls.client_certificates", STRING, AT(tls_client_certificates), 0, 0, "\"none\"",
     "none|optional|required",
     "Whether clients are asked for a certificate. Scripts find it in `req.tls`."},
    {"tls.client_ca", STRING, AT(tls_client_ca), 0, 0, "\"\"", NULL,
     "PEM file of the authorities that client certificates are checked against."},
    {"tls.handshake_timeout", SECONDS, AT(tls_handshake_timeout), 0.05, 600, "10", NULL,
     "Time for the PROXY header and the TLS handshake."},
    {"tls.ticket_lifetime", SECONDS, AT(tls_ticket_lifetime), 0, 7 * DAY, "7200", NULL,
     "Lifetime of session tickets and of the keys that encrypt them; 0: no tickets."},
    {"tls.ticket_keys", STRINGS, AT(tls_ticket_keys), 0, 0, "[]", NULL,
     "Files of 48 or 80 random bytes, for instances that share sessions: the first key "
     "encrypts, the others decrypt. Empty: random keys of this instance."},
    {"http.head_bytes", BYTES, AT(head_bytes), 256, MIB, "16384", NULL,
     "Maximum of a request line with its headers, more gets 431."},
    {"http.body_bytes", BYTES, AT(body_bytes), 1, 1024 * MIB, "4194304", NULL,
     "Maximum of the body of an API request, more gets 413."},
    {"http.idle_timeout", SECONDS, AT(idle_timeout), 0.1, DAY, "75", NULL,
     "Time after which an idle keep-alive connection is closed."},
    {"http.request_timeout", SECONDS, AT(request_timeout), 0.1, DAY, "10", NULL,
     "Time for the first byte of a connection, and from the first to the last byte of a "
     "request, else 408."},
    {"websocket.paths", STRINGS, AT(ws_paths), 0, 0, "[\"/ws\"]", NULL,
     "Paths where clients connect. `/app/:key` has a parameter (`req.params.key`), "
     "`/app/*rest` matches everything below."},
    {"websocket.message_bytes", BYTES, AT(message_bytes), 1, 1024 * MIB, "1048576", NULL,
     "Maximum of a message from a client, also once decompressed; more closes with 1009."},
    {"websocket.message_timeout", SECONDS, AT(message_timeout), 0, DAY, "30", NULL,
     "Time that an unfinished message may stand still; each 10 KiB that arrive give a second back. "
     "Then its connection is closed with 1008. 0: no limit."},
    {"websocket.fragments", COUNT, AT(fragments), 1, 1e9, "100000", NULL,
     "Maximum of fragments of one message; more closes with 1008."},
    {"websocket.ping_interval", SECONDS, AT(ping_interval), 0.05, DAY, "25", NULL,
     "Time without data from the client after which it is sent a ping."},
    {"websocket.pong_timeout", SECONDS, AT(pong_timeout), 0.05, DAY, "8", NULL,
     "Time to answer a ping, else the connection is dead."},
    {"websocket.close_timeout", SECONDS, AT(close_timeout), 0.05, 3600, "5", NULL,
     "Time for the client's half of the closing handshake."},
    {"websocket.handshake_timeout", SECONDS, AT(handshake_timeout), 0.05, 3600, "10", NULL,
     "Time from the upgrade request to the 101, hooks and subscriptions included."},
    {"websocket.queue_bytes", BYTES, AT(queue_bytes), 1024, 1024 * MIB, "4194304", NULL,
     "Maximum of unsent bytes of one connection; `websocket.on_slow` says what happens "
     "beyond."},
    {"websocket.on_slow", STRING, AT(on_slow), 0, 0, "\"close\"", "close|drop_oldest|drop_newest",
     "What happens to a client whose queue is full, unless the hook `on_slow` decides: close "
     "it with 1008, or drop a message."},
    {"websocket.connections_per_user", COUNT, AT(connections_per_user), 0, 1e8, "1000", NULL,
     "Maximum of connections of one user on this instance, more get 429; 0: no limit."},
    {"websocket.connections_per_tenant", COUNT, AT(connections_per_tenant), 0, 1e8, "0", NULL,
     "Maximum of connections of one tenant on this instance, more get 429; 0: no limit."},
    {"websocket.messages_per_second", COUNT, AT(messages_per_second), 0, 1e9, "50000", NULL,
     "Messages that one connection may send, with a burst of one second; above, it is read "
     "more slowly. 0: no limit."},
    {"websocket.bytes_per_second", BYTES, AT(bytes_per_second), 0, 1e11, "67108864", NULL,
     "Bytes that one connection may send per second, with a burst of one second; above, it "
     "is read more slowly. A compressed message counts as what it becomes, a ping or pong as "
     "16 bytes more than it has. 0: no limit."},
    {"websocket.control_per_second", COUNT, AT(control_per_second), 0, 1e9, "100", NULL,
     "Pings and pongs that one connection may send, with a burst of one second; more close "
     "it with 1008. 0: no limit."},
    {"websocket.origins", STRINGS, AT(origins), 0, 0, "[]", NULL,
     "Origins of the web pages that may connect: `https://app.example.com`, `*.example.com`, "
     "`http://localhost:*`. Empty: all. Otherwise other origins, and handshakes without one, "
     "get 403. With `server.dev`, pages from this machine are always allowed, and requests "
     "[for these hosts](security.md#development-mode)."},
    {"websocket.compression", STRING, AT(compression), 0, 0, "\"no_takeover\"",
     "off|no_takeover|takeover",
     "Compression (permessage-deflate). `no_takeover` compresses each message by itself, a "
     "broadcast once "
     "for all, and holds no memory for an idle connection. `takeover` compresses small "
     "similar messages better, for up to 300 KiB for each connection. `on_handshake` may choose "
     "for a "
     "connection: `compression` in the [identity](lua/hooks.md#identity)."},
    {"websocket.compression_threshold", BYTES, AT(compression_threshold), 0, MIB, "1024", NULL,
     "Smaller messages are not compressed."},
    {"websocket.compression_max", BYTES, AT(compression_max), 0, 1024 * MIB, "262144", NULL,
     "Larger messages are not compressed either: it takes too long in one piece. 0: no limit."},
    {"websocket.compression_level", COUNT, AT(compression_level), 1, 9, "1", NULL,
     "From 1 (fast) to 9 (small)."},
    {"websocket.compression_window_bits", COUNT, AT(compression_window_bits), 9, 15, "15", NULL,
     "Size of the compression window: 2 to this power, in bytes."},
    {"websocket.client_messages", STRING, AT(client_messages), 0, 0, "\"refuse\"", "refuse|ignore",
     "What happens to a client's message when there is no `on_message` hook: close with "
     "1008, or drop it."},
    {"sse.paths", STRINGS, AT(sse_paths), 0, 0, "[\"/sse\"]", NULL,
     "Paths of server-sent events (`EventSource`), with parameters as in `websocket.paths`. A "
     "script's own route goes first. An empty list: none. Limits, origins and heartbeats are those "
     "of the "
     "section `websocket`."},
    {"sse.retry", SECONDS, AT(sse_retry), 0.05, 3600, "2", NULL,
     "Time after which a client whose connection has ended comes back, give or take a half; after "
     "a refusal up to five times as long."},
    {"api.keys", STRINGS, AT(api_keys), 0, 0, "[]", NULL,
     "Keys for `Authorization: Bearer KEY`. Without keys, and without an `on_api` hook, the "
     "API is closed, except with `server.dev`."},
    {"api.cors_origins", STRINGS, AT(cors_origins), 0, 0, "[]", NULL,
     "Origins of the web pages that may call the API (CORS), written as in "
     "`websocket.origins`."},
    {"redis.url", URLS, AT(redis_urls), 0, 0, "[]", NULL,
     "The Redis that connects the instances; empty: none, a single instance. Several URLs "
     "spread the topics over several independent Redis; tracking and scripts use the first. A "
     "Redis "
     "Cluster is one URL with some of its nodes, and no other beside it."},
    {"redis.channel_prefix", STRING, AT(channel_prefix), 0, 0, "\"notification:\"", NULL,
     "Prefix of all channels, at most 64 bytes without `{` and `}`; the same for all instances and "
     "publishers."},
    {"redis.connect_timeout", SECONDS, AT(connect_timeout), 0.05, 600, "5", NULL,
     "Time to connect and authenticate."},
    {"redis.command_timeout", SECONDS, AT(command_timeout), 0.05, 600, "5", NULL,
     "Time to answer a command, else the link is closed and opened again."},
    {"redis.probe_interval", SECONDS, AT(probe_interval), 0.05, 600, "2", NULL,
     "Time between probes, messages that an instance sends to itself through Redis. "
     "`/readyz` is red when one does not come back."},
    {"redis.publish_queue", COUNT, AT(publish_queue), 0, 1e6, "0", NULL,
     "Publishes that wait in each worker while Redis is away, in their order; 0: they get "
     "503 at once."},
    {"redis.publish_wait", SECONDS, AT(publish_wait), 0.05, 600, "5", NULL,
     "The longest time that such a publish waits."},
    {"redis.unsubscribe_linger", SECONDS, AT(unsubscribe_linger), 0, 3600, "5", NULL,
     "Time that a channel stays subscribed after its last connection has closed."},
    {"fetch.timeout", SECONDS, AT(fetch_timeout), 0.05, 600, "5", NULL,
     "Time for a whole request, waiting in the queue included. `script.hook_timeout` limits "
     "it, too."},
    {"fetch.connect_timeout", SECONDS, AT(fetch_connect_timeout), 0.05, 600, "3", NULL,
     "Time to connect, with name resolution and TLS."},
    {"fetch.max_bytes", BYTES, AT(fetch_max_bytes), 1, 64 * MIB, "1048576", NULL,
     "Maximum of the body of a response."},
    {"fetch.per_host", COUNT, AT(fetch_per_host), 1, 10000, "32", NULL,
     "Concurrent requests of one worker to one scheme, host and port."},
    {"fetch.total", COUNT, AT(fetch_total), 1, 10000, "256", NULL,
     "Concurrent requests of one worker to all hosts, and connections that it keeps open."},
    {"fetch.queue", COUNT, AT(fetch_queue), 0, 1e6, "10000", NULL,
     "Further requests of one worker that may wait for their turn."},
    {"fetch.ca_file", STRING, AT(fetch_ca_file), 0, 0, "\"\"", NULL,
     "PEM file of the trusted authorities; empty: those of the system. Certificates are "
     "always verified."},
    {"fetch.proxy", STRING, AT(fetch_proxy), 0, 0, "\"\"", NULL,
     "`http://host:port`; the variables `http_proxy` and so on are ignored."},
    {"fetch.no_proxy", STRING, AT(fetch_no_proxy), 0, 0, "\"\"", NULL,
     "Hosts that are reached without the proxy: `localhost,.internal.example`."},
    {"fetch.allow", STRINGS, AT(fetch_allow), 0, 0, "[]", NULL,
     "Address ranges that requests may connect to, such as `10.0.0.0/8`, checked after name "
     "resolution; empty: all."},
    {"fetch.deny", STRINGS, AT(fetch_deny), 0, 0, "[]", NULL,
     "Address ranges that they may not connect to, such as `169.254.0.0/16`; overrides "
     "`fetch.allow`."},
    {"tracking.lease", SECONDS, AT(tracking_lease), 1, DAY, "300", NULL,
     "Time after which the connections of an instance that died no longer count."},
    {"tracking.debounce", SECONDS, AT(tracking_debounce), 0.05, 3600, "3", NULL,
     "Time that a user must be away from all instances before `on_presence` reports them "
     "offline."},
    {"tracking.key_prefix", STRING, AT(tracking_key_prefix), 0, 0, "\"\"", NULL,
     "Prefix of the keys in Redis, at most 64 bytes. Empty: `ws:` on one Redis; over several, or "
     "on a cluster, 16 parts with the prefixes `{ws0}:` to `{ws15}:`, spread over the nodes. With "
     "a prefix all keys are on one node (of several, the first in the list); on a cluster it must "
     "contain a hash tag, as `{ws}:` does. Keys of timers and of `bellhop.pusher` have the prefix, "
     "too, or `ws:`."},
    {"ids.wide", BOOL, AT(ids_wide), 0, 0, "true", NULL,
     "Whether ids of users, tenants and topics may be any text without white space and control "
     "characters. `false` allows `A-Z a-z 0-9 _ . @ -`, and `/` in topics, as version 0.1 did: "
     "keep it until every instance has been upgraded."},
    {"delivery.strategy", STRING, AT(strategy), 0, 0, "\"local_first\"",
     "local_first|redis|both|local", "The strategy of messages that name none."},
    {"delivery.payload_bytes", BYTES, AT(payload_bytes), 1, 512 * MIB, "4194304", NULL,
     "Maximum of a published message."},
    {"delivery.seen_max", COUNT, AT(seen_max), 1, 1e8, "100000", NULL,
     "Message ids remembered to drop duplicates."},
    {"delivery.seen_ttl", SECONDS, AT(seen_ttl), 1, DAY, "300", NULL,
     "Time for which they are remembered."},
    {"history.rules", RULES, 0, 0, 0, "[]", NULL,
     "Which topics are streams, and what is kept of them; the first rule that matches counts. In "
     "the file they are the list part of `history`; in the environment JSON."},
    {"history.window_bytes", BYTES, AT(history_window_bytes), 0, 1024.0 * 1024 * MIB, "67108864",
     NULL,
     "Memory of this instance for the last messages of streams that have subscribers, so that a "
     "client that comes back does not need Redis; 0: none."},
    {"history.recover_wait", SECONDS, AT(history_recover_wait), 0, 3600, "30", NULL,
     "How long a client that comes back waits for Redis. Then it is told of a gap, and gets new "
     "messages."},
    {"history.min_replicas", COUNT, AT(history_min_replicas), 0, 100, "0", NULL,
     "Replicas of Redis that must have a message of a stream before its publisher is answered "
     "(`WAIT`); 0: none."},
    {"history.memory_bytes", BYTES, AT(history_memory_bytes), 0, 1024.0 * 1024 * MIB, "268435456",
     NULL,
     "Without Redis: memory of all streams together. Beyond it, publishes to streams are refused "
     "until messages have expired; 0: no limit."},
    {"script.files", STRINGS, AT(script_files), 0, 0, "[]", NULL,
     "Policies, called in this order; empty: the policy that comes with bellhop."},
    {"script.trusted", BOOL, AT(trusted), 0, 0, "false", NULL,
     "Gives scripts all Lua libraries (`io`, `os`, `debug`, C modules) instead of the "
     "sandbox."},
    {"script.lua_dir", STRING, AT(lua_dir), 0, 0, "\"\"", NULL,
     "Directory of the bellhop Lua library; empty: the one that is installed with the "
     "program."},
    {"script.require_user", BOOL, AT(require_user), 0, 0, "false", NULL,
     "Refuses a handshake with 403 if `on_handshake` returns neither `user` nor `anonymous = "
     "true`; "
     "otherwise such a connection is admitted, and this is logged once."},
    {"script.cpu_limit", SECONDS, AT(cpu_limit), 0, 60, "0.05", NULL,
     "CPU time of a hook between two waits; 0: no limit."},
    {"script.deliver_limit", SECONDS, AT(deliver_limit), 0, 60, "0.005", NULL,
     "CPU time of an `on_deliver` or `on_slow`, which run for each receiver of a message; 0: only "
     "`script.cpu_limit`."},
    {"script.memory_limit", BYTES, AT(memory_limit), 0, 1024.0 * 1024 * MIB, "268435456", NULL,
     "Memory of the scripts of one worker; 0: no limit."},
    {"script.hook_timeout", SECONDS, AT(hook_timeout), 0, 3600, "10", NULL,
     "Time of a hook, its waits included; 0: no limit."},
    {"script.shared_memory", BYTES, AT(shared_memory), 0, 1024.0 * MIB, "67108864", NULL,
     "Memory of `bh.shared`, for all workers together."},
    {"script.max_tasks", COUNT, AT(max_tasks), 0, 1e7, "10000", NULL,
     "Hooks and tasks of one worker that wait at the same time; 0: no limit."},
    {"auth.jwt.algorithms", STRINGS, AT(jwt_algorithms), 0, 0, "[\"HS256\"]", NULL,
     "Accepted algorithms: HS, RS and ES with 256, 384 and 512, PS256, EdDSA."},
    {"auth.jwt.secret", STRING, AT(jwt_secret), 0, 0, "\"\"", NULL,
     "The key of HS*, at least as long as the hash: 32 bytes for HS256, 48 for HS384, 64 for "
     "HS512."},
    {"auth.jwt.public_key", STRING, AT(jwt_public_key), 0, 0, "\"\"", NULL,
     "The public key of RS*, PS*, ES* and EdDSA: PEM text, or the path of a PEM file."},
    {"auth.jwt.jwks", STRING, AT(jwt_jwks), 0, 0, "\"\"", NULL,
     "Path of a JSON Web Key Set, used in addition to the other keys, and read again when it "
     "changes."},
    {"auth.jwt.issuer", STRING, AT(jwt_issuer), 0, 0, "\"\"", NULL,
     "The required `iss`; empty: not checked."},
    {"auth.jwt.audience", STRING, AT(jwt_audience), 0, 0, "\"\"", NULL,
     "The required `aud`; empty: not checked."},
    {"auth.jwt.leeway", SECONDS, AT(jwt_leeway), 0, 3600, "5", NULL,
     "Clock difference allowed for `exp`, `nbf` and `iat`."},
    {"auth.jwt.cookie", STRING, AT(jwt_cookie), 0, 0, "\"token\"", NULL,
     "Name of the cookie that may carry the token, because browsers cannot set headers on a "
     "WebSocket."},
    {"auth.jwt.user_claim", STRING, AT(user_claim), 0, 0, "\"sub\"", NULL,
     "The claim that holds the user's id."},
    {"auth.jwt.tenant_claim", STRING, AT(tenant_claim), 0, 0, "\"tenant\"", NULL,
     "The claim that holds the tenant's id."},
    {"log.level", STRING, AT(log_level), 0, 0, "\"info\"", "debug|info|warn|error|off",
     "The lowest level that is logged."},
    {"log.format", STRING, AT(log_format), 0, 0, "\"logfmt\"", "logfmt|json",
     "The format of a line."},
    {"log.target", STRING, AT(log_target), 0, 0, "\"stderr\"", "stderr|syslog",
     "Where the log goes."},
};

const size_t bh_config_key_count = sizeof bh_config_keys / sizeof bh_config_keys[0];

const struct bh_config_key *bh_config_find_key(const char *path) {
    for (size_t i = 0; i < bh_config_key_count; i++)
        if (strcmp(bh_config_keys[i].path, path) == 0)
            return &bh_config_keys[i];
    return NULL;
}

void bh_config_environment_name(const struct bh_config_key *key, char out[BH_CONFIG_NAME_MAX]) {
    int n = snprintf(out, BH_CONFIG_NAME_MAX, "BELLHOP_%s", key->path);
    for (int i = 0; i < n; i++)
        out[i] = out[i] == '.' ? '_' : (char)toupper((unsigned char)out[i]);
}
