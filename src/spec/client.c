/* client.c - a connection without a socket.
 *
 * It is a subscriber of the core like a WebSocket of the edge. It records what it is sent and how
 * it was asked to close; the spec sends its messages. Its expiry timer does what the edge does. */
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "spec_internal.h"

#include <stdio.h>

#define EXPIRED 4401

static struct bh_spec_client *of(const struct bh_subscriber *s) {
    return BH_CONTAINER_OF((struct bh_subscriber *)s, struct bh_spec_client, subscriber);
}

static int record(struct bh_spec_client *c, unsigned opcode, struct bh_slice data,
                  struct bh_position position) {
    if (!c->open || c->code)
        return BH_ECLOSED;
    c->sent = bh_realloc(c->sent, (c->sent_count + 1) * sizeof *c->sent);
    c->sent[c->sent_count++] =
        (struct bh_spec_sent){(uint8_t)opcode, data.n, bh_strndup(data.p, data.n), position};
    return 0;
}

static int on_deliver(struct bh_subscriber *s, struct bh_message *m) {
    return record(of(s), m->opcode, m->payload, m->position);
}

static int on_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    return record(of(s), opcode, data, (struct bh_position){0});
}

static void on_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    struct bh_spec_client *c = of(s);
    if (c->code)
        return;
    c->code = code;
    snprintf(c->reason, sizeof c->reason, "%.*s", BH_SLICE_ARG(reason));
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

static const struct bh_subscriber_vt vt = {
    .deliver = on_deliver,
    .send = on_send,
    .close = on_close,
    .queued = on_queued,
    .read = on_read,
    .ip = on_ip,
    .protocol = on_protocol,
};

/* --- one that resumes --- */

static void on_recovered(struct bh_subscriber *s, bool complete) {
    of(s)->recovered = complete ? BH_SPEC_RECOVERED_YES : BH_SPEC_RECOVERED_NO;
}

static void note(struct bh_subscriber *s, struct bh_slice topic, const char *gap) {
    struct bh_spec_client *c = of(s);
    c->notes = bh_realloc(c->notes, (c->note_count + 1) * sizeof *c->notes);
    c->notes[c->note_count++] = (struct bh_spec_note){bh_strndup(topic.p, topic.n), gap};
}

static void on_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    note(s, topic, why);
}

static void on_rewound(struct bh_subscriber *s, struct bh_slice topic) {
    note(s, topic, NULL);
}

static const struct bh_subscriber_vt resuming_vt = {
    .deliver = on_deliver,
    .send = on_send,
    .close = on_close,
    .queued = on_queued,
    .read = on_read,
    .ip = on_ip,
    .protocol = on_protocol,
    .recovered = on_recovered,
    .gap = on_gap,
    .rewound = on_rewound,
};

/* --- expiry --- */

static void set_expiry_timer(struct bh_spec_client *c) {
    int64_t expires = c->subscriber.identity->expires, now = bh_clock_wall_ms();
    if (expires && expires <= INT64_MAX / 1000)
        bh_timer_set(&c->expiry, expires * 1000 > now ? (uint64_t)(expires * 1000 - now) : 0);
}

static void on_expiry(void *ud, bh_handle handle, int64_t expires) {
    struct bh_subscriber *s = bh_worker_subscriber(ud, handle);
    if (!s)
        return;
    s->identity->expires = expires;
    if (expires * 1000 <= bh_clock_wall_ms())
        on_close(s, EXPIRED, BH_SLICE("expired"));
    else
        set_expiry_timer(of(s));
}

static void on_expiry_timer(struct bh_timer *t) {
    struct bh_spec_client *c = BH_CONTAINER_OF(t, struct bh_spec_client, expiry);
    struct bh_worker *w = c->env->worker;
    int64_t expires = c->subscriber.identity->expires;
    if (expires == 0 || expires * 1000 > bh_clock_wall_ms())
        set_expiry_timer(c); /* it was changed meanwhile */
    else if (bh_hooks_has(w->hooks, BH_HOOK_EXPIRE))
        w->hooks->vt->expire(w->hooks, &c->subscriber, on_expiry, w, c->subscriber.handle);
    else
        on_close(&c->subscriber, EXPIRED, BH_SLICE("expired"));
}

/* --- open, message, close --- */

static void on_open(void *ud, bh_handle handle, int error) {
    struct bh_spec_client *c = ud;
    struct bh_hooks *h = c->env->worker->hooks;
    c->open = error == 0;
    if (c->open && bh_hooks_has(h, BH_HOOK_OPEN))
        h->vt->open(h, &c->subscriber);
}

void bh_spec_client_open(struct bh_spec_client *c, struct bh_spec_env *env,
                         struct bh_identity *identity, const struct bh_resume *since) {
    c->subscriber.vt = since ? &resuming_vt : &vt;
    c->resumes = since != NULL;
    c->env = env;
    c->accepted = true;
    env->clients++;
    bh_timer_init(&c->expiry, env->loop, on_expiry_timer);
    if (since)
        bh_node_resume(env->worker, &c->subscriber, identity, since->count ? since : NULL, on_open,
                       c, 0);
    else
        bh_node_open(env->worker, &c->subscriber, identity, on_open, c, 0);
    bh_spec_env_run_due(env);
    set_expiry_timer(c);
}

void bh_spec_client_message(struct bh_spec_client *c, unsigned opcode, struct bh_slice data) {
    struct bh_hooks *h = c->env->worker->hooks;
    if (bh_hooks_has(h, BH_HOOK_MESSAGE))
        h->vt->message(h, &c->subscriber, opcode, data);
    else if (!c->env->script_config.client_messages)
        on_close(&c->subscriber, 1008, BH_SLICE("messages from clients are not accepted"));
    bh_spec_env_run_due(c->env);
}

void bh_spec_client_close(struct bh_spec_client *c, unsigned code, struct bh_slice reason) {
    if (!c->open)
        return;
    bh_spec_client_position(c, c->position);
    c->open = false;
    bh_timer_cancel(&c->expiry);
    bh_node_close(c->env->worker, &c->subscriber, code, reason);
    c->env->clients--;
    bh_spec_env_run_due(c->env);
}

void bh_spec_client_position(const struct bh_spec_client *c, char out[BH_RESUME_TEXT_MAX + 1]) {
    if (c->resumes && c->open)
        bh_subscriber_resume_text(&c->subscriber, out);
    else if (out != c->position)
        memcpy(out, c->position, sizeof c->position);
}

void bh_spec_client_gap(struct bh_spec_client *c, struct bh_slice topic, const char *why) {
    bh_subscriber_tell_gap(&c->subscriber, topic, why);
    bh_spec_env_run_due(c->env);
}

void bh_spec_client_free(struct bh_spec_client *c) {
    bh_spec_client_close(c, 1000, bh_slice(NULL, 0));
    for (size_t i = 0; i < c->sent_count; i++)
        bh_free(c->sent[i].data);
    bh_free(c->sent);
    for (size_t i = 0; i < c->note_count; i++)
        bh_free(c->notes[i].topic);
    bh_free(c->notes);
}
