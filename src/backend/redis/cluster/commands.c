/* commands.c - commands of scripts in a cluster: to the master of their first key.
 *
 * A command that may be redirected is sent again, so it is copied: its arguments are the caller's
 * only during the call. Of a command without keys any master may be asked. */
#include "link/commands.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "cluster/cluster.h"
#include "link/keys.h"
#include "link/metrics.h"

struct command {
    struct bh_redis_routed routed;
    struct bh_redis_routes *routes;
    bh_reply_cb done;
    void *ud;
    bh_handle handle;
    size_t argc;
    struct bh_slice argv[]; /* and their bytes */
};

static struct command *copy(size_t argc, const struct bh_slice *argv) {
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    struct command *c = bh_malloc(sizeof *c + argc * sizeof *argv + bytes);
    char *p = (char *)&c->argv[argc];
    *c = (struct command){.argc = argc};
    c->routed.bytes = (uint32_t)bytes;
    for (size_t i = 0; i < argc; i++) {
        c->argv[i] = bh_slice(p, argv[i].n);
        if (argv[i].n)
            memcpy(p, argv[i].p, argv[i].n);
        p += argv[i].n;
    }
    return c;
}

static void finish(struct command *c, int error, const struct bh_reply *reply) {
    c->done(c->ud, c->handle, error, reply);
    bh_free(c);
}

static void on_reply(const struct bh_redis_completion *completion, int error,
                     const struct bh_reply *reply) {
    struct command *c = completion->ud;
    if (error || reply->type != BH_REPLY_ERROR ||
        !bh_redis_routes_again(c->routes, &c->routed, reply))
        finish(c, error, reply);
}

static struct command *of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct command, routed);
}

static const char *send_command(struct bh_redis_routed *r, struct bh_redis_link *link) {
    struct command *c = of(r);
    struct bh_redis_completion completion = {.fire = on_reply, .ud = c};
    if (!bh_redis_link_send(link, c->argc, c->argv, &completion))
        return "the link to Redis is full, or down";
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_COMMANDS]);
    return NULL;
}

static void fail_command(struct bh_redis_routed *r, int error, const char *why) {
    finish(of(r), error, NULL);
}

static const struct bh_redis_routed_vt routed_vt = {.send = send_command, .fail = fail_command};

void bh_redis_cluster_call(struct bh_redis *r, unsigned worker, size_t argc,
                           const struct bh_slice *argv, bh_reply_cb done, void *ud,
                           bh_handle handle) {
    struct bh_redis_cluster *cluster = BH_CONTAINER_OF(r, struct bh_redis_cluster, commands);
    struct bh_slice key;
    const char *why = bh_redis_command_refused(argc, argv);
    if (!why)
        why = bh_redis_command_key(argc, argv, &key);
    if (why) {
        bh_redis_command_refuse(argc, argv, why, done, ud, handle);
        return;
    }
    unsigned slot = key.p ? bh_redis_slot(key) : bh_random_below(BH_REDIS_SLOTS);
    struct command *c = copy(argc, argv);
    c->routed.vt = &routed_vt;
    c->routes = &cluster->sides[worker]->routes;
    c->done = done;
    c->ud = ud;
    c->handle = handle;
    bh_redis_routes_send(c->routes, &c->routed, slot);
}
