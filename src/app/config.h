/* config.h - the configuration: defaults, overridden by the file, the environment and the command
 * line, in this order.
 *
 * It is read once, at start, on the main thread, and immutable afterwards. A key has a path
 * ("redis.url") and an environment variable (BELLHOP_REDIS_URL). Durations are given in seconds and
 * stored in milliseconds. All checks that need no other file than the configuration happen here,
 * for all commands. */
#ifndef BELLHOP_SRC_APP_CONFIG_H
#define BELLHOP_SRC_APP_CONFIG_H

#include "bellhop/base/json.h"
#include "bellhop/base/log.h"
#include "report.h"
#include "string_list.h"

#define BH_CONFIG_AUTO UINT64_MAX

struct bh_config {
    struct bh_strings listen, admin_listen;
    uint64_t workers; /* 0: one for each core */
    char *instance;   /* "": random */
    bool dev;
    uint64_t drain_delay, drain_timeout;
    uint64_t connections_max, connections_per_ip, accepts_per_second;
    uint64_t backlog;
    uint64_t memory_budget; /* may be BH_CONFIG_AUTO */
    struct bh_strings trusted_proxies;

    struct bh_strings tls_certificates, tls_keys, tls_ticket_keys;
    char *tls_min_version, *tls_ciphers, *tls_client_certificates, *tls_client_ca;
    uint64_t tls_handshake_timeout, tls_ticket_lifetime;

    uint64_t head_bytes, body_bytes, idle_timeout, request_timeout;

    struct bh_strings ws_paths;
    uint64_t message_bytes, message_timeout, fragments;
    uint64_t ping_interval, pong_timeout, close_timeout;
    uint64_t handshake_timeout, queue_bytes;
    uint64_t connections_per_user, connections_per_tenant;
    uint64_t messages_per_second, bytes_per_second, control_per_second;
    char *on_slow, *client_messages;
    struct bh_strings origins;
    char *compression;
    uint64_t compression_threshold, compression_max, compression_level, compression_window_bits;

    struct bh_strings sse_paths;
    uint64_t sse_retry;

    struct bh_strings api_keys, cors_origins;

    struct bh_strings redis_urls; /* empty: no Redis */
    char *channel_prefix;
    uint64_t connect_timeout, command_timeout, probe_interval, unsubscribe_linger;
    uint64_t publish_queue, publish_wait;

    uint64_t fetch_timeout, fetch_connect_timeout, fetch_max_bytes;
    uint64_t fetch_per_host, fetch_total, fetch_queue;
    char *fetch_ca_file, *fetch_proxy, *fetch_no_proxy;
    struct bh_strings fetch_allow, fetch_deny;

    uint64_t tracking_lease, tracking_debounce;
    char *tracking_key_prefix;

    bool ids_wide;

    char *strategy;
    uint64_t payload_bytes, seen_max, seen_ttl;

    uint64_t history_window_bytes, history_recover_wait, history_min_replicas;
    uint64_t history_memory_bytes; /* the rules are in the tree */

    struct bh_strings script_files;
    bool trusted;
    bool require_user;
    char *lua_dir;
    uint64_t cpu_limit, deliver_limit, memory_limit, shared_memory, hook_timeout, max_tasks;

    struct bh_strings jwt_algorithms;
    char *jwt_secret, *jwt_public_key, *jwt_jwks, *jwt_issuer, *jwt_audience, *jwt_cookie;
    char *user_claim, *tenant_claim;
    uint64_t jwt_leeway;

    char *log_level, *log_format, *log_target;

    struct bh_json *tree; /* all keys, for scripts */
    char **places;        /* of each key, what set it: "bellhop.conf.lua:12"; NULL: the default */
};

/* A key set on the command line. Several options for one list add up. */
struct bh_config_option {
    const char *path;
    const char *value;
};

/* file NULL: none. Adds every mistake and warning to the report. 0, or BH_EINVAL when there is a
 * mistake: then wrong values are missing in c, and c->tree is NULL if the file cannot be read at
 * all. Free c in both cases. */
int bh_config_load(struct bh_config *c, const char *file, const struct bh_config_option *options,
                   size_t option_count, struct bh_report *report);
void bh_config_free(struct bh_config *c);

#endif
