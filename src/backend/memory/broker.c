/* broker.c - the broker of a single instance.
 *
 * A message that a worker publishes is mailed to the bus and returns there as on_message, so that
 * one instance and many share one path. Nothing can be down: subscriptions are live at once.
 *
 * A mail may still be in the mailbox of the bus when the node frees the broker, so the broker is
 * ref-counted: the node and each mail hold a reference. Only the sink belongs to the bus thread. */
#include "bellhop/backend/memory.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "broker.h"

struct broker {
    struct bh_broker base;
    atomic_uint refs;
    _Atomic(struct bh_mailbox *) bus; /* NULL before the start */
    struct bh_broker_sink sink;
    bool stopped; /* bus thread only */
};

struct echo {
    struct bh_mail mail;
    struct broker *broker;
    struct bh_message *message;
};

static struct broker *of(struct bh_broker *b) {
    return BH_CONTAINER_OF(b, struct broker, base);
}

static void release(struct bh_broker *base) {
    struct broker *b = of(base);
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        bh_free(b);
}

static void free_echo(struct echo *e) {
    release(&e->broker->base);
    bh_message_unref(e->message);
    bh_free(e);
}

struct bh_broker *bh_memory_broker_ref(struct bh_broker *base) {
    atomic_fetch_add_explicit(&of(base)->refs, 1, memory_order_relaxed);
    return base;
}

int bh_memory_broker_post(struct bh_broker *base, struct bh_mail *mail) {
    struct bh_mailbox *bus = atomic_load_explicit(&of(base)->bus, memory_order_acquire);
    return bus ? bh_mailbox_post(bus, mail) : BH_EUNAVAIL;
}

void bh_memory_broker_bring(struct bh_broker *base, struct bh_message *m) {
    struct broker *b = of(base);
    if (!b->stopped)
        b->sink.on_message(b->sink.ud, m);
}

static void on_echo(struct bh_mail *mail) {
    struct echo *e = BH_CONTAINER_OF(mail, struct echo, mail);
    bh_memory_broker_bring(&e->broker->base, e->message);
    free_echo(e);
}

static int start(struct bh_broker *base, struct bh_loop *bus, struct bh_mailbox *bus_mailbox,
                 const struct bh_broker_sink *sink) {
    struct broker *b = of(base);
    b->sink = *sink;
    b->stopped = false;
    atomic_store_explicit(&b->bus, bus_mailbox, memory_order_release);
    b->sink.on_state(b->sink.ud, 0, true);
    return 0;
}

static bool subscribe(struct bh_broker *base, struct bh_slice topic) {
    return true;
}

static void unsubscribe(struct bh_broker *base, struct bh_slice topic) {}

static void stop(struct bh_broker *base) {
    of(base)->stopped = true;
}

static int worker_start(struct bh_broker *base, unsigned worker, struct bh_loop *loop) {
    return 0;
}

static void worker_stop(struct bh_broker *base, unsigned worker) {}

static void publish(struct bh_broker *base, unsigned worker, struct bh_message *m,
                    bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct echo *e = bh_malloc(sizeof *e);
    *e = (struct echo){.mail.fn = on_echo, .broker = of(base), .message = bh_message_ref(m)};
    bh_memory_broker_ref(base);
    if (bh_memory_broker_post(base, &e->mail) == 0) {
        done(ud, handle, 0, 1, NULL);
        return;
    }
    free_echo(e);
    done(ud, handle, BH_EUNAVAIL, -1, "this instance is starting or stopping");
}

static int ready(const struct bh_broker *base, const char **why) {
    *why = NULL;
    return 0;
}

static const struct bh_broker_vt vt = {
    .name = "memory",
    .shared = false,
    .start = start,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .stop = stop,
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .publish = publish,
    .ready = ready,
    .free = release,
};

struct bh_broker *bh_memory_broker_new(void) {
    struct broker *b = bh_calloc(1, sizeof *b);
    b->base.vt = &vt;
    b->stopped = true;
    atomic_init(&b->refs, 1);
    return &b->base;
}
