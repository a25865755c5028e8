/* node_test.c - see the header. */
#include "node_test.h"

/* --- broker --- */

static struct fake_broker *fake_broker_of(struct bh_broker *b) {
    return (struct fake_broker *)b;
}

static int fake_start(struct bh_broker *b, struct bh_loop *bus_loop, struct bh_mailbox *mailbox,
                      const struct bh_broker_sink *sink) {
    fake_broker_of(b)->sink = *sink;
    fake_broker_of(b)->bus = mailbox;
    return fake_broker_of(b)->start_error;
}

static void fake_call(struct fake_broker *f, char sign, struct bh_slice topic) {
    size_t n = strlen(f->calls);
    snprintf(f->calls + n, sizeof f->calls - n, "%c%.*s ", sign, BH_SLICE_ARG(topic));
}

static bool fake_subscribe(struct bh_broker *b, struct bh_slice topic) {
    fake_call(fake_broker_of(b), '+', topic);
    return fake_broker_of(b)->live_at_once;
}

static void fake_unsubscribe(struct bh_broker *b, struct bh_slice topic) {
    fake_call(fake_broker_of(b), '-', topic);
}

void fake_stop(struct bh_broker *b) {}

struct fake_echo {
    struct bh_mail mail;
    struct fake_broker *broker;
    struct bh_message *message;
};

static void on_fake_echo(struct bh_mail *mail) {
    struct fake_echo *e = BH_CONTAINER_OF(mail, struct fake_echo, mail);
    e->broker->sink.on_message(e->broker->sink.ud, e->message);
    bh_message_unref(e->message);
    bh_free(e);
}

static void fake_publish(struct bh_broker *b, unsigned index, struct bh_message *m,
                         bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct fake_broker *f = fake_broker_of(b);
    f->published++;
    bh_message_unref(f->last);
    f->last = bh_message_ref(m);
    if (f->echo) {
        struct fake_echo *e = bh_malloc(sizeof *e);
        *e = (struct fake_echo){{.fn = on_fake_echo}, f, bh_message_ref(m)};
        bh_mailbox_post(f->bus, &e->mail);
    }
    if (!f->hold) {
        done(ud, handle, f->publish_error, f->publish_error ? -1 : f->receivers,
             f->publish_error ? "no broker" : NULL);
        return;
    }
    f->held = done;
    f->held_ud = ud;
    f->held_handle = handle;
}

static int fake_ready(const struct bh_broker *b, const char **why) {
    *why = "the fake is never ready";
    return BH_EUNAVAIL;
}

void fake_broker_init(struct fake_broker *f, bool shared) {
    *f = (struct fake_broker){.receivers = 2,
                              .vt = {.name = "fake",
                                     .shared = shared,
                                     .start = fake_start,
                                     .subscribe = fake_subscribe,
                                     .unsubscribe = fake_unsubscribe,
                                     .stop = fake_stop,
                                     .publish = fake_publish,
                                     .ready = fake_ready}};
    f->broker.vt = &f->vt;
}

/* --- subscribers --- */

static struct sub *sub_of(struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, struct sub, s);
}

static void sub_got(struct sub *sub, struct bh_slice payload) {
    size_t n = strlen(sub->got);
    snprintf(sub->got + n, sizeof sub->got - n, "%.*s ", BH_SLICE_ARG(payload));
}

static int sub_deliver(struct bh_subscriber *s, struct bh_message *m) {
    sub_got(sub_of(s), m->payload);
    if (sub_of(s)->on_deliver)
        sub_of(s)->on_deliver(sub_of(s), m);
    return 0;
}

int sub_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    sub_got(sub_of(s), data);
    return 0;
}

/* As the edge does it: leaves the node at once. */
void sub_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    struct sub *sub = sub_of(s);
    sub->closes++;
    sub->code = code;
    snprintf(sub->reason, sizeof sub->reason, "%.*s", BH_SLICE_ARG(reason));
    bh_node_close(s->worker, s, code, reason);
}

const struct bh_subscriber_vt sub_vt = {
    .deliver = sub_deliver, .send = sub_send, .close = sub_close};

/* --- hooks --- */

#define HOOK_LOG(h, ...)                                                                           \
    snprintf((h)->log + strlen((h)->log), sizeof(h)->log - strlen((h)->log), __VA_ARGS__)

static void fake_on_subscribe(struct bh_hooks *base, struct bh_subscriber *s, struct bh_slice topic,
                              bh_allowed_cb done, void *ud, bh_handle handle) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    HOOK_LOG(h, "ask %.*s; ", BH_SLICE_ARG(topic));
    h->held_allowed = done;
    h->held_ud = ud;
    h->held_handle = handle;
    if (!h->hold)
        done(ud, handle, !h->refuse, h->refuse ? 403 : 0, (struct bh_slice){0});
}

static void fake_on_unsubscribe(struct bh_hooks *base, struct bh_subscriber *s,
                                struct bh_slice topic, const char *why) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    HOOK_LOG(h, "left %.*s %s; ", BH_SLICE_ARG(topic), why);
    assert_non_null(s->identity);
    if (h->on_unsubscribe)
        h->on_unsubscribe(s, topic);
}

static void fake_on_close(struct bh_hooks *base, struct bh_subscriber *s, unsigned code,
                          struct bh_slice reason) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    HOOK_LOG(h, "close %u %.*s; ", code, BH_SLICE_ARG(reason));
    assert_non_null(s->identity);
    assert_int_equal(s->link_count, 0);
    s->script = NULL;
}

static void fake_on_publish(struct bh_hooks *base, struct bh_publish *p,
                            void (*done)(void *ud, int error, const char *why), void *ud) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    HOOK_LOG(h, "publish %s; ", p->topic.name);
    if (h->on_publish)
        h->on_publish(p);
    h->held_published = done;
    h->held_ud = ud;
    if (!h->hold)
        done(ud, h->publish_error, h->publish_error ? "not today" : NULL);
}

static enum bh_verdict fake_on_deliver(struct bh_hooks *base, struct bh_subscriber *s,
                                       struct bh_message *m, struct bh_slice *replacement) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    if (h->on_deliver)
        h->on_deliver(s, m);
    *replacement = BH_SLICE("replaced");
    return h->verdict;
}

static void fake_on_gap(struct bh_hooks *base, struct bh_subscriber *s, struct bh_slice topic,
                        const char *why) {
    struct fake_hooks *h = (struct fake_hooks *)base;
    HOOK_LOG(h, "gap %.*s %s; ", BH_SLICE_ARG(topic), why);
    if (h->on_gap)
        h->on_gap(s, topic, why);
}

static void fake_hooks_init(struct fake_hooks *h, unsigned present) {
    *h = (struct fake_hooks){.vt = {.subscribe = fake_on_subscribe,
                                    .unsubscribe = fake_on_unsubscribe,
                                    .close = fake_on_close,
                                    .publish = fake_on_publish,
                                    .deliver = fake_on_deliver,
                                    .gap = fake_on_gap},
                             .hooks.present = present};
    h->hooks.vt = &h->vt;
}

/* --- the node --- */

struct bh_loop *loop;
struct bh_mailbox *bus;
static struct bh_mailbox *boxes[3];
struct bh_node *node;
struct bh_worker *worker[3];
struct fake_broker broker;
struct fake_hooks hooks;
struct sub subs[8];
struct local_tracker tracker;
struct bh_history *history;
struct bh_history_config history_config;

/* Enough ticks for mail to go to and fro between workers and bus. */
void settle(void) {
    for (int i = 0; i < 12; i++)
        bh_loop_tick(loop, false);
}

void pass(uint64_t ms) {
    bh_clock_fake_advance(ms);
    settle();
}

void node_up_with(unsigned workers, bool shared, enum bh_strategy strategy, struct bh_tracker *t) {
    const struct bh_node_config config = {.instance = BH_SLICE("i1"),
                                          .strategy = strategy,
                                          .linger_ms = LINGER,
                                          .payload_max = PAYLOAD_MAX,
                                          .seen_max = 1000,
                                          .seen_ms = SEEN_MS,
                                          .history = history_config};
    if (!t)
        tracker = (struct local_tracker){.base = {.vt = &local_tracker_vt}};
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    bh_clock_fake(1000000, 1700000000000);
    memset(subs, 0, sizeof subs);
    for (size_t i = 0; i < COUNT(subs); i++)
        subs[i].s.vt = &sub_vt;
    fake_broker_init(&broker, shared);
    loop = bh_loop_new();
    bus = bh_mailbox_new(loop);
    node = bh_node_new(&config, &broker.broker, t ? t : &tracker.base, loop, bus);
    if (history)
        bh_node_set_history(node, history);
    for (unsigned i = 0; i < workers; i++) {
        boxes[i] = bh_mailbox_new(loop);
        worker[i] = bh_node_add_worker(node, loop, boxes[i]);
    }
    assert_int_equal(bh_node_start(node), 0);
    if (shared)
        broker.sink.on_subscribed(broker.sink.ud, BH_SLICE("all"));
    else
        broker.live_at_once = true;
    broker.sink.on_state(broker.sink.ud, 0, true);
}

void node_up(unsigned workers, bool shared) {
    node_up_with(workers, shared, BH_STRATEGY_LOCAL_FIRST, NULL);
}

void with_hooks(unsigned present) {
    fake_hooks_init(&hooks, present);
    for (unsigned i = 0; i < bh_node_worker_count(node); i++)
        worker[i]->hooks = &hooks.hooks;
}

/* In the order of the daemon: subscribers, node, mailboxes, memory. */
void node_down(void) {
    unsigned workers = bh_node_worker_count(node);
    for (size_t i = 0; i < COUNT(subs); i++)
        if (subs[i].s.handle)
            bh_node_close(subs[i].s.worker, &subs[i].s, 1001, BH_SLICE("going away"));
    assert_int_equal(bh_node_connection_count(node), 0);
    bh_node_stop(node);
    for (unsigned i = 0; i < workers; i++)
        bh_mailbox_free(boxes[i]);
    bh_mailbox_free(bus);
    bh_node_free(node);
    bh_message_unref(broker.last);
    bh_loop_free(loop);
    bh_clock_real();
    history = NULL;
    history_config = (struct bh_history_config){0};
}

int node_teardown(void **state) {
    node_down();
    return 0;
}

/* --- what verbs answer --- */

void on_joined(void *ud, bh_handle handle, int error) {
    struct answer *a = ud;
    a->count++;
    a->handle = handle;
    a->error = error;
}

void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    struct answer *a = ud;
    a->count++;
    a->handle = handle;
    a->error = r->error;
    a->duplicate = r->duplicate;
    a->status = r->status;
    a->instances = r->instances;
    a->local = r->local;
    a->position = r->position;
    a->strategy = r->strategy;
    snprintf(a->id, sizeof a->id, "%.*s", BH_SLICE_ARG(r->id));
    snprintf(a->why, sizeof a->why, "%s", r->why ? r->why : "");
}

struct bh_identity *identity(const char *user, const char *tenant, const char *topic) {
    struct bh_slice topics[] = {bh_slice_cstr(topic)};
    struct bh_identity parts = {.user = bh_slice_cstr(user),
                                .tenant = bh_slice_cstr(tenant),
                                .topics = topics,
                                .topic_count = topic ? 1 : 0},
                       *out;
    assert_int_equal(bh_identity_new(&parts, &out, NULL), 0);
    return out;
}

void open_sub(unsigned w, struct sub *sub, const char *user, struct answer *a) {
    *a = (struct answer){0};
    bh_node_open(worker[w], &sub->s, identity(user, "7", "news"), on_joined, a, 77);
}

/* Makes all topics live of one that is being opened. */
void all_live(const char *user, const struct answer *a) {
    char name[BH_TOPIC_NAME_MAX + 1];
    settle();
    snprintf(name, sizeof name, "user:%s", user);
    broker.sink.on_subscribed(broker.sink.ud, bh_slice_cstr(name));
    broker.sink.on_subscribed(broker.sink.ud, BH_SLICE("tenant:7"));
    broker.sink.on_subscribed(broker.sink.ud, BH_SLICE("topic:news"));
    settle();
    assert_answer(*a, 0);
}

void opened(unsigned w, struct sub *sub, const char *user) {
    struct answer a;
    open_sub(w, sub, user, &a);
    all_live(user, &a);
}

struct bh_publish publish_of(const char *topic, const char *payload) {
    return (struct bh_publish){
        .topic = test_topic(topic), .data = bh_buf_copy(bh_slice_cstr(payload)), .opcode = BH_TEXT};
}

void publish(unsigned w, struct bh_publish p, struct answer *a) {
    *a = (struct answer){0};
    bh_node_publish(worker[w], &p, on_published, a, 88);
}

struct answer publish_and_settle(unsigned w, struct bh_publish p) {
    struct answer a;
    publish(w, p, &a);
    settle();
    assert_int_equal(a.count, 1);
    assert_int_equal(a.handle, 88);
    return a;
}

void with_id(struct bh_publish *p, const char *id) {
    p->id_given = true;
    p->id_len = (uint8_t)strlen(id);
    memcpy(p->id, id, p->id_len);
}

/* As if another instance had published it. */
void arrives(const char *topic, const char *payload, const char *id, uint8_t flags) {
    struct bh_topic to = test_topic(topic);
    struct bh_message parts = {.opcode = BH_TEXT,
                               .flags = flags,
                               .topic = &to,
                               .origin = BH_SLICE("elsewhere"),
                               .id = bh_slice_cstr(id),
                               .payload = bh_slice_cstr(payload)};
    struct bh_message *m = bh_message_new(&parts);
    broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
    settle();
}
