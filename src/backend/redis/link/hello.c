/* hello.c - which server this is, and what it knows.
 *
 * Shard channels and functions came with Redis 7, and Valkey has always had them. Other servers say
 * a version that tells nothing; then the commands are expected to work. */
#include "link/hello.h"

#include "bellhop/base/log.h"

#include <stdio.h>

#define REDIS_WITH_FUNCTIONS 7

static struct bh_slice value_of(const struct bh_reply *list, const char *name) {
    for (size_t i = 0; list->type == BH_REPLY_ARRAY && i + 1 < list->count; i += 2)
        if (bh_slice_eq(list->elements[i].str, bh_slice_cstr(name)))
            return list->elements[i + 1].str;
    return BH_SLICE("");
}

static void set_text(char out[32], struct bh_slice text) {
    snprintf(out, 32, "%.*s", text.n < 31 ? (int)text.n : 31, text.p ? text.p : "");
}

static bool is_old(const struct bh_redis_hello *h) {
    struct bh_slice version = bh_slice_cstr(h->version), major;
    uint64_t number;
    return strcmp(h->server, "redis") == 0 && bh_slice_split(&version, '.', &major) &&
           bh_slice_u64(major, UINT32_MAX, &number) == 0 && number < REDIS_WITH_FUNCTIONS;
}

static void tell(const struct bh_redis_hello *h) {
    bh_info("Redis server", bh_kv_str("link", h->link->name), bh_kv_str("server", h->server),
            bh_kv_str("version", h->version), bh_kv_str("cluster", h->in_cluster ? "yes" : "no"),
            bh_kv_str("shard_channels", h->sharded ? "yes" : "no"),
            bh_kv_str("functions", h->sharded ? "yes" : "no"));
    if (h->in_cluster && !h->link->config->cluster && !h->link->config->sharded)
        bh_warn("this Redis is a node of a cluster: keys of other nodes cannot be used",
                bh_kv_str("hint", "use redis+cluster:// in place of redis://"));
}

/* "ERR unknown command" is an answer, too. */
static void on_hello(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_hello *h = c->ud, before = *h;
    if (error)
        return;
    bool unknown = reply->type == BH_REPLY_ERROR &&
                   bh_slice_starts(reply->str, BH_SLICE("ERR unknown command"));
    set_text(h->server, unknown ? BH_SLICE("redis") : value_of(reply, "server"));
    set_text(h->version, unknown ? BH_SLICE("5 or older") : value_of(reply, "version"));
    h->in_cluster = bh_slice_eq(value_of(reply, "mode"), BH_SLICE("cluster"));
    h->sharded = !unknown && !is_old(h);
    if (strcmp(before.server, h->server) != 0 || strcmp(before.version, h->version) != 0)
        tell(h);
    if (h->done)
        h->done(h);
}

void bh_redis_hello_ask(struct bh_redis_hello *h, struct bh_redis_link *link,
                        void (*done)(struct bh_redis_hello *h)) {
    struct bh_redis_completion c = {.fire = on_hello, .ud = h};
    h->link = link;
    h->done = done;
    bh_redis_link_send(link, 1, (struct bh_slice[]){BH_SLICE("HELLO")}, &c);
}
