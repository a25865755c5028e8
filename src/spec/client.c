/* spec_phone.c - a connection without a socket: what it is sent is written down, what it says is
 * said by the spec. Expiry is what the edge does in production, on the same clock. */
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "spec_internal.h"

#include <stdio.h>

#define EXPIRED 4401

static struct bh_spec_phone *of(const struct bh_subscriber *s) {
    return BH_CONTAINER_OF((struct bh_subscriber *)s, struct bh_spec_phone, subscriber);
}

static int write_down(struct bh_spec_phone *p, unsigned opcode, struct bh_slice data) {
    if (!p->open || p->code)
        return BH_ECLOSED;
    p->sent = bh_realloc(p->sent, (p->sent_count + 1) * sizeof *p->sent);
    p->sent[p->sent_count++] =
        (struct bh_spec_sent){(uint8_t)opcode, data.n, bh_strndup(data.p, data.n)};
    return 0;
}

static int on_deliver(struct bh_subscriber *s, struct bh_message *m) {
    return write_down(of(s), m->opcode, m->payload);
}

static int on_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    return write_down(of(s), opcode, data);
}

static void on_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    struct bh_spec_phone *p = of(s);
    if (p->code)
        return;
    p->code = code;
    snprintf(p->reason, sizeof p->reason, "%.*s", BH_SLICE_ARG(reason));
}

static size_t on_queued(const struct bh_subscriber *s) {
    return of(s)->queued;
}

static void on_read(struct bh_subscriber *s, bool on) {}

static struct bh_slice on_ip(struct bh_subscriber *s, char buffer[64]) {
    return bh_slice_cstr(of(s)->ip);
}

static struct bh_slice on_protocol(const struct bh_subscriber *s) {
    return bh_slice_cstr(of(s)->protocol);
}

static const struct bh_subscriber_vt vt = {on_deliver, on_send, on_close,   on_queued,
                                           on_read,    on_ip,   on_protocol};

/* --- expiry --- */

static void watch_expiry(struct bh_spec_phone *p) {
    int64_t expires = p->subscriber.identity->expires, now = bh_clock_wall_ms();
    if (expires && expires <= INT64_MAX / 1000)
        bh_timer_set(&p->expiry, expires * 1000 > now ? (uint64_t)(expires * 1000 - now) : 0);
}

static void on_expiry(void *ud, bh_handle handle, int64_t expires) {
    struct bh_subscriber *s = bh_worker_subscriber(ud, handle);
    if (!s)
        return;
    s->identity->expires = expires;
    if (expires * 1000 <= bh_clock_wall_ms())
        on_close(s, EXPIRED, BH_SLICE("expired"));
    else
        watch_expiry(of(s));
}

static void on_expiry_timer(struct bh_timer *t) {
    struct bh_spec_phone *p = BH_CONTAINER_OF(t, struct bh_spec_phone, expiry);
    struct bh_worker *w = p->world->worker;
    int64_t expires = p->subscriber.identity->expires;
    if (expires == 0 || expires * 1000 > bh_clock_wall_ms())
        watch_expiry(p); /* it was set anew meanwhile */
    else if (bh_hooks_has(w->hooks, BH_HOOK_EXPIRE))
        w->hooks->vt->expire(w->hooks, &p->subscriber, on_expiry, w, p->subscriber.handle);
    else
        on_close(&p->subscriber, EXPIRED, BH_SLICE("expired"));
}

/* --- life --- */

static void on_open(void *ud, bh_handle handle, int error) {
    struct bh_spec_phone *p = ud;
    struct bh_hooks *h = p->world->worker->hooks;
    p->open = error == 0;
    if (p->open && bh_hooks_has(h, BH_HOOK_OPEN))
        h->vt->open(h, &p->subscriber);
}

void bh_spec_phone_open(struct bh_spec_phone *p, struct bh_spec_world *w,
                        struct bh_identity *identity) {
    p->subscriber.vt = &vt;
    p->world = w;
    w->phones++;
    bh_timer_init(&p->expiry, w->loop, on_expiry_timer);
    bh_node_open(w->worker, &p->subscriber, identity, on_open, p, 0);
    bh_spec_world_settle(w);
    watch_expiry(p);
}

void bh_spec_phone_says(struct bh_spec_phone *p, unsigned opcode, struct bh_slice data) {
    struct bh_hooks *h = p->world->worker->hooks;
    if (bh_hooks_has(h, BH_HOOK_MESSAGE))
        h->vt->message(h, &p->subscriber, opcode, data);
    else if (!p->world->script_config.client_messages)
        on_close(&p->subscriber, 1008, BH_SLICE("messages from clients are not accepted"));
    bh_spec_world_settle(p->world);
}

void bh_spec_phone_close(struct bh_spec_phone *p, unsigned code, struct bh_slice reason) {
    if (!p->open)
        return;
    p->open = false;
    bh_timer_cancel(&p->expiry);
    bh_node_close(p->world->worker, &p->subscriber, code, reason);
    p->world->phones--;
    bh_spec_world_settle(p->world);
}

void bh_spec_phone_free(struct bh_spec_phone *p) {
    bh_spec_phone_close(p, 1000, bh_slice(NULL, 0));
    for (size_t i = 0; i < p->sent_count; i++)
        bh_free(p->sent[i].data);
    bh_free(p->sent);
}
