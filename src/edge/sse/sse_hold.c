/* sse_hold.c - see the header. */
#include "sse/sse_hold.h"

#include "bellhop/base/mem.h"

void bh_sse_hold_end(struct bh_sse_conn *c) {
    if (!c->hold)
        return;
    bh_hold_end(&c->hold->hold);
    bh_free(c->hold);
    c->hold = NULL;
}

static void begin(struct bh_sse_conn *c) {
    const struct bh_identity *identity = c->subscriber.identity;
    struct bh_slice user = identity ? identity->user : bh_slice(NULL, 0);
    c->hold = bh_malloc(sizeof *c->hold);
    c->hold->conn = c;
    bh_hold_init(&c->hold->hold, &c->server->admission->holds, c->server->hold_ops,
                 bh_hold_owner(user, &c->ip));
}

void bh_sse_hold_change(struct bh_sse_conn *c) {
    size_t queued = c->stuck ? bh_outq_share(&c->out) : 0;
    if (!queued) {
        bh_sse_hold_end(c);
        return;
    }
    if (!c->hold)
        begin(c);
    bh_hold_set(&c->hold->hold, 0, 0, queued, true);
}
