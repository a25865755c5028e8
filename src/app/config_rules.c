/* config_rules.c - a table of rules, each with the keys that it is about. */
#include "config_rules.h"

#include "bellhop/base/jwt.h"
#include "bellhop/base/mem.h"
#include "config_keys.h"
#include "config_values.h"
#include "listen_address.h"

#include "bellhop/backend/redis.h"

#define LISTEN       "server.listen"
#define ADMIN_LISTEN "server.admin_listen"

/* --- addresses --- */

struct address {
    const char *key, *item;
    struct bh_edge_listen listen;
};

/* Two listeners of ours could share a port, and each would get some of the connections. Port 0 is
 * another port each time. */
static bool is_same(const struct bh_addr *a, const struct bh_addr *b) {
    char first[BH_ADDR_TEXT_MAX], second[BH_ADDR_TEXT_MAX];
    bh_addr_format(a, first);
    bh_addr_format(b, second);
    return strcmp(first, second) == 0 && (a->sa.sa_family == AF_UNIX || bh_addr_port(a) != 0);
}

static void check_address(const struct bh_config *c, const struct address *a, struct bh_report *r) {
    if (c->dev && !bh_addr_is_loopback(&a->listen.address))
        bh_report_key(r, c, a->key,
                      "%s: %s: with --dev only loopback addresses are allowed, because it needs no "
                      "keys; use 127.0.0.1 or [::1]",
                      a->key, a->item);
    if (a->listen.tls && c->tls_certificates.count == 0)
        bh_report_key(r, c, a->key,
                      "%s: %s: needs a certificate: set tls.certificates and tls.keys", a->key,
                      a->item);
    if (a->listen.proxy && c->trusted_proxies.count == 0)
        bh_report_key(r, c, a->key,
                      "%s: %s: accepts connections from proxies only: list them in "
                      "server.trusted_proxies",
                      a->key, a->item);
}

static void check_unique(const struct bh_config *c, const struct address *all, size_t which,
                         struct bh_report *r) {
    const struct address *a = &all[which];
    char text[BH_ADDR_TEXT_MAX];
    for (size_t i = 0; i < which; i++) {
        if (!is_same(&all[i].listen.address, &a->listen.address))
            continue;
        bh_addr_format(&a->listen.address, text);
        bh_report_key(r, c, a->key, "%s: %s: the address is already in %s", a->key, text,
                      all[i].key);
        return;
    }
}

static size_t read_addresses(const char *key, const struct bh_strings *list, struct address *out) {
    const char *why;
    for (size_t i = 0; i < list->count; i++) {
        out[i] = (struct address){.key = key, .item = list->items[i]};
        bh_listen_address_parse(bh_slice_cstr(list->items[i]), &out[i].listen, &why);
    }
    return list->count;
}

static void addresses(const struct bh_config *c, struct bh_report *r) {
    struct address *all = bh_calloc(c->listen.count + c->admin_listen.count + 1, sizeof *all);
    size_t count = read_addresses(LISTEN, &c->listen, all);
    if (count == 0)
        bh_report_key(r, c, LISTEN, LISTEN ": no address");
    count += read_addresses(ADMIN_LISTEN, &c->admin_listen, all + count);
    for (size_t i = 0; i < count; i++) {
        check_address(c, &all[i], r);
        check_unique(c, all, i, r);
    }
    bh_free(all);
}

/* --- others --- */

static void websocket_paths(const struct bh_config *c, struct bh_report *r) {
    if (c->ws_paths.count == 0)
        bh_report_key(r, c, "websocket.paths",
                      "websocket.paths: no path; the default is {\"/ws\"}");
}

static void compression(const struct bh_config *c, struct bh_report *r) {
    if (c->compression_max && c->compression_max < c->compression_threshold)
        bh_report_key(r, c, "websocket.compression_max",
                      "websocket.compression_max: is below compression_threshold, so nothing would "
                      "be compressed; that is compression = \"off\"");
}

static bool has_cluster(const struct bh_redis_config *nodes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (nodes[i].cluster)
            return true;
    return false;
}

static void redis_nodes(const struct bh_config *c, struct bh_report *r) {
    struct bh_redis_config nodes[BH_SHARDS_MAX] = {0};
    size_t count = c->redis_urls.count, a, b;
    const char *why;
    if (count > BH_SHARDS_MAX) {
        bh_report_key(r, c, "redis.url", "redis.url has %zu URLs; the maximum is %d", count,
                      BH_SHARDS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++)
        bh_redis_config_parse(bh_slice_cstr(c->redis_urls.items[i]), &nodes[i], &why);
    if (count > 1 && has_cluster(nodes, count))
        bh_report_key(r, c, "redis.url",
                      "redis.url: a Redis Cluster must be the only URL: name several of its nodes "
                      "in it, redis+cluster://host1,host2");
    else if (bh_redis_shards_twins(nodes, count, &a, &b))
        bh_report_key(r, c, "redis.url", "redis.url: URLs %zu and %zu are the same node", a + 1,
                      b + 1);
    for (size_t i = 0; i < count; i++)
        bh_redis_config_deinit(&nodes[i]);
}

static void tracking_prefix(const struct bh_config *c, struct bh_report *r) {
    struct bh_redis_config node;
    const char *why;
    if (c->redis_urls.count == 0)
        return;
    bh_redis_config_parse(bh_slice_cstr(c->redis_urls.items[0]), &node, &why);
    if (!bh_redis_tracker_prefix_ok(&node, c->tracking_key_prefix))
        bh_report_key(r, c, "tracking.key_prefix",
                      "tracking.key_prefix: on a Redis Cluster it must contain a hash tag, as "
                      "{ws}: does, because all its keys have to be on one node; leave it empty to "
                      "spread them over the nodes");
    bh_redis_config_deinit(&node);
}

static bool is_default(const struct bh_strings *algorithms) {
    return algorithms->count == 1 && strcmp(algorithms->items[0], "HS256") == 0;
}

/* A policy of one's own may have other keys. Without any setting, no client is meant to connect. */
static void jwt_keys(const struct bh_config *c, struct bh_report *r) {
    if (is_default(&c->jwt_algorithms) || c->script_files.count || c->dev || *c->jwt_jwks)
        return;
    if (c->jwt_algorithms.count == 0)
        bh_report_key(r, c, "auth.jwt.algorithms",
                      "auth.jwt.algorithms: no algorithm, so no token would be accepted");
    for (size_t i = 0; i < c->jwt_algorithms.count; i++) {
        const char *name = c->jwt_algorithms.items[i];
        bool shared = strncmp(name, "HS", 2) == 0;
        if (*(shared ? c->jwt_secret : c->jwt_public_key))
            continue;
        bh_report_key(r, c, "auth.jwt.algorithms",
                      "auth.jwt.algorithms: %s: no key to verify tokens: set auth.jwt.%s or "
                      "auth.jwt.jwks",
                      name, shared ? "secret" : "public_key");
    }
}

/* Policies may use it for HS256 without naming that in auth.jwt.algorithms. */
static void jwt_secret(const struct bh_config *c, struct bh_report *r) {
    size_t n = strlen(c->jwt_secret);
    char why[BH_JWT_WHY_MAX];
    if (n && bh_jwt_secret_check(n, bh_config_jwt_algorithms(c) | BH_JWT_HS256, why))
        bh_report_key(r, c, "auth.jwt.secret", "auth.jwt.secret: %s", why);
}

/* --- the table --- */

static const struct rule {
    void (*check)(const struct bh_config *c, struct bh_report *r);
    const char *keys[5];
} rules[] = {
    {addresses, {LISTEN, ADMIN_LISTEN, "server.dev", "tls.certificates", "server.trusted_proxies"}},
    {websocket_paths, {"websocket.paths"}},
    {compression, {"websocket.compression_max", "websocket.compression_threshold"}},
    {redis_nodes, {"redis.url"}},
    {tracking_prefix, {"redis.url", "tracking.key_prefix"}},
    {jwt_secret, {"auth.jwt.secret"}},
    {jwt_keys,
     {"auth.jwt.algorithms", "auth.jwt.secret", "auth.jwt.public_key", "auth.jwt.jwks",
      "script.files"}},
};

static bool is_about_failed(const struct rule *rule, const bool *failed) {
    for (size_t i = 0; i < sizeof rule->keys / sizeof *rule->keys && rule->keys[i]; i++)
        if (failed[bh_config_find_key(rule->keys[i]) - bh_config_keys])
            return true;
    return false;
}

void bh_config_check_rules(const struct bh_config *c, const bool *failed,
                           struct bh_report *report) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!is_about_failed(&rules[i], failed))
            rules[i].check(c, report);
}
