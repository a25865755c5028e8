/* Streams against a model, in random orders of everything that can happen: messages that arrive,
 * are lost, come twice; reads that are carried out early and answered late, or fail; a link that
 * breaks, and subscriptions that are lost alone; clients that come, leave and come back, topics
 * that they join and leave; snapshots that are restored. In each run every client gets each message
 * once and in order, or is told. */
#include "streams_test.h"

#define EPOCHS  4000
#define OFFSETS 512
#define TOPICS  2
#define RUNS    200
#define STEPS   400

static const char *const names[TOPICS] = {"user:1", "topic:small"};

/* --- the truth --- */

static struct { uint64_t parent, begin; } epochs[EPOCHS];
static uint32_t said[EPOCHS][OFFSETS]; /* what was appended there; 0: nothing */
static bool removed[TOPICS][OFFSETS];  /* at some time */
static uint32_t last_said;

static struct {
    bool rewinds, trims, failures, small; /* what may happen */
    unsigned topics;
} run;

static void on_epoch(uint64_t epoch, uint64_t parent, uint64_t begin) {
    assert_true(epoch < EPOCHS);
    epochs[epoch].parent = parent;
    epochs[epoch].begin = parent ? begin : 0;
}

/* Where `at` is in the chain that ends with epoch; false: it is not in it. */
static bool in_chain(struct bh_position at, uint64_t epoch, uint64_t *offset) {
    *offset = at.offset;
    for (; epoch && epoch != at.epoch; epoch = epochs[epoch].parent)
        if (epochs[epoch].begin < *offset)
            *offset = epochs[epoch].begin;
    return epoch != 0;
}

static uint32_t said_in(uint64_t epoch, uint64_t offset) {
    while (epoch && offset <= epochs[epoch].begin)
        epoch = epochs[epoch].parent;
    return epoch ? said[epoch][offset] : 0;
}

/* --- what a client has been given --- */

struct seen {
    struct bh_position at; /* epoch 0: nothing yet */
    bool told_rewound;
};

static struct seen seen[COUNT(clients)][TOPICS], raw_seen[COUNT(subs)][TOPICS];
static struct bh_position kept[COUNT(clients)][TOPICS]; /* what a client has when it comes back */
static unsigned gaps, rewinds, recovered, given;
static char trace[1024 * 1024];
static size_t trace_len;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...) {
    va_list args;
    if (trace_len > sizeof trace - 200)
        trace_len = 0;
    va_start(args, format);
    trace_len += (size_t)vsnprintf(trace + trace_len, 200, format, args);
    va_end(args);
}

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s\n", trace);                                                        \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

static unsigned topic_index(struct bh_slice name) {
    return bh_slice_eq(name, bh_slice_cstr(names[0])) ? 0 : 1;
}

/* All between two offsets was removed. */
static bool only_removed(unsigned t, uint64_t from, uint64_t to) {
    for (uint64_t o = from + 1; o < to; o++)
        if (!removed[t][o])
            return false;
    return true;
}

static void saw(struct seen *s, unsigned t, struct bh_position at, struct bh_slice text,
                bool must_tell) {
    uint64_t from, ignored, epoch = at.epoch;
    uint64_t number = 0;
    bh_slice_u64(text, UINT32_MAX, &number);
    if (s->at.epoch && in_chain((struct bh_position){at.epoch, 0}, s->at.epoch, &ignored))
        epoch = s->at.epoch; /* an entry of an older epoch */
    must(said_in(epoch, at.offset) == number);
    if (s->at.epoch) {
        must(in_chain(s->at, epoch, &from));
        if (from != s->at.offset)
            note("was at %llu-%llu\n", (unsigned long long)s->at.epoch,
                 (unsigned long long)s->at.offset);
        must(from == s->at.offset || s->told_rewound || !must_tell);
        must(at.offset > from && only_removed(t, from, at.offset));
    }
    s->at = (struct bh_position){epoch, at.offset};
    s->told_rewound = false;
}

static unsigned index_of(const struct client *c) {
    return (unsigned)(c - clients);
}

static void on_client_message(struct client *c, struct bh_message *m) {
    unsigned t = topic_index(bh_topic_name(m->topic));
    struct bh_position at = bh_subscriber_position(&c->s, bh_topic_name(m->topic));
    note("c%u got %u %llu-%llu\n", index_of(c), t, (unsigned long long)at.epoch,
         (unsigned long long)at.offset);
    must(at.offset == m->position.offset);
    given++;
    saw(&seen[index_of(c)][t], t, at, m->payload, true);
}

static void on_client_gap(struct client *c, struct bh_slice topic, const char *why) {
    struct seen *s = &seen[index_of(c)][topic_index(topic)];
    struct bh_position at = bh_subscriber_position(&c->s, topic);
    note("c%u gap %u %s %llu-%llu\n", index_of(c), topic_index(topic), why,
         (unsigned long long)at.epoch, (unsigned long long)at.offset);
    must(run.rewinds || run.trims || run.failures);
    must(run.trims || run.failures || strcmp(why, "lost") == 0 ||
         log_of(names[topic_index(topic)])->forgot);
    gaps++;
    *s = (struct seen){.at = at};
}

static void on_client_rewound(struct client *c, struct bh_slice topic) {
    struct seen *s = &seen[index_of(c)][topic_index(topic)];
    struct bh_position at = bh_subscriber_position(&c->s, topic);
    uint64_t offset;
    note("c%u rewound %u %llu-%llu\n", index_of(c), topic_index(topic),
         (unsigned long long)at.epoch, (unsigned long long)at.offset);
    must(run.rewinds);
    rewinds++;
    if (s->at.epoch && in_chain(s->at, at.epoch, &offset))
        must(at.offset <= s->at.offset && only_removed(topic_index(topic), at.offset, offset + 1));
    *s = (struct seen){.at = at, .told_rewound = true};
}

static void on_client_event(struct client *c) {
    recovered += strstr(c->log, "recovered ") != NULL;
    if (c->log[0] == 'r' || c->log[0] == 'n')
        note("c%u %s\n", index_of(c), c->log);
    c->log[0] = '\0';
}

static void on_raw(struct sub *sub, struct bh_message *m) {
    unsigned t = topic_index(bh_topic_name(m->topic));
    sub->got[0] = '\0';
    saw(&raw_seen[sub - subs][t], t, m->position, m->payload, false);
}

static void on_raw_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    struct sub *sub = BH_CONTAINER_OF(s, struct sub, s);
    raw_seen[sub - subs][topic_index(topic)] = (struct seen){0};
    hooks.log[0] = '\0';
}

/* --- the broker: what is subscribed, and what is on its way --- */

enum { NOT, ASKED, CONFIRMED, LIVE };

static int subscription[TOPICS];
static bool up;
static struct bh_message *way[TOPICS][OFFSETS];
static unsigned way_len[TOPICS];

static void look_at_calls(void) {
    char *at = broker.calls, *end;
    for (; *at; at = end + 1) {
        end = strchr(at, ' ');
        for (unsigned t = 0; t < TOPICS; t++)
            if ((size_t)(end - at) == strlen(names[t]) + 1 &&
                memcmp(at + 1, names[t], strlen(names[t])) == 0)
                subscription[t] = *at == '+' ? ASKED : NOT;
    }
    broker.calls[0] = '\0';
}

static struct bh_message *take_from_way(unsigned t) {
    struct bh_message *m = way[t][0];
    memmove(&way[t][0], &way[t][1], --way_len[t] * sizeof m);
    return m;
}

static void lose_way(unsigned t) {
    while (way_len[t])
        bh_message_unref(take_from_way(t));
}

static void drop_link(void) {
    up = false;
    note("down\n");
    broker.sink.on_state(broker.sink.ud, 0, false);
    for (unsigned t = 0; t < TOPICS; t++) {
        lose_way(t);
        if (subscription[t] != NOT)
            subscription[t] = ASKED;
    }
}

static void raise_link(void) {
    up = true;
    note("up\n");
    broker.sink.on_state(broker.sink.ud, 0, true);
    broker.sink.on_subscribed(broker.sink.ud, BH_SLICE("all"));
}

/* While the other topic stays; what is on its way may still come. */
static void lose_subscription(unsigned t) {
    look_at_calls();
    if (subscription[t] == NOT)
        return;
    note("lost %u\n", t);
    subscription[t] = ASKED;
    if (test_random() % 2)
        lose_way(t);
    broker.sink.on_lost(broker.sink.ud, bh_slice_cstr(names[t]));
}

/* The server takes the subscription; its confirmation arrives before the messages. */
static void subscribe_one(unsigned t) {
    look_at_calls();
    if (!up)
        return;
    if (subscription[t] == ASKED) {
        subscription[t] = CONFIRMED;
    } else if (subscription[t] == CONFIRMED) {
        subscription[t] = LIVE;
        note("live %u\n", t);
        broker.sink.on_subscribed(broker.sink.ud, bh_slice_cstr(names[t]));
    }
}

static void append_one(unsigned t) {
    char text[16];
    struct log *log = log_of(names[t]);
    if (log->top + 2 >= OFFSETS || fake.last_epoch + 2 >= EPOCHS)
        return;
    snprintf(text, sizeof text, "%u", ++last_said);
    struct bh_message *m = log_append(names[t], text);
    said[m->position.epoch][m->position.offset] = last_said;
    note("append %u %llu-%llu\n", t, (unsigned long long)m->position.epoch,
         (unsigned long long)m->position.offset);
    look_at_calls();
    if (subscription[t] >= CONFIRMED && way_len[t] < OFFSETS)
        way[t][way_len[t]++] = m;
    else
        bh_message_unref(m);
}

static void arrive_one(unsigned t) {
    look_at_calls();
    bool late = subscription[t] == ASKED && up; /* of a subscription that was lost */
    if ((subscription[t] != LIVE && !late) || !way_len[t])
        return;
    struct bh_message *m = take_from_way(t);
    unsigned times = test_random() % 8 == 0 ? 0 : test_random() % 10 == 0 ? 2 : 1;
    note("arrive %u %llu-%llu x%u\n", t, (unsigned long long)m->position.epoch,
         (unsigned long long)m->position.offset, times);
    while (times--)
        broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
}

static void remove_one(unsigned t) {
    struct log *log = log_of(names[t]);
    if (log->top < log->first || !log->first)
        return;
    uint64_t o = log->first + test_random() % (log->top - log->first + 1);
    char text[24];
    struct bh_topic topic = test_topic(names[t]);
    removed[t][o] = true;
    if (!log->epochs[o])
        return;
    log->epochs[o] = 0;
    snprintf(text, sizeof text, "%llu", (unsigned long long)o);
    struct bh_message parts = {.kind = BH_MESSAGE_PURGE,
                               .opcode = BH_BINARY,
                               .topic = &topic,
                               .position = {log->epoch, 0},
                               .payload = bh_slice_cstr(text)};
    struct bh_message *m = bh_message_new(&parts);
    note("remove %u %s\n", t, text);
    if (subscription[t] >= CONFIRMED && way_len[t] < OFFSETS)
        way[t][way_len[t]++] = m;
    else
        bh_message_unref(m);
}

/* --- clients --- */

static void on_opened(void *ud, bh_handle handle, int error) {}

static void start_seen(struct client *c, struct bh_resume *since) {
    since->count = 0;
    for (unsigned t = 0; t < run.topics; t++) {
        struct bh_position *at = &kept[index_of(c)][t];
        seen[index_of(c)][t] = (struct seen){.at = *at};
        if (at->epoch)
            since->topics[since->count++] =
                (struct bh_resume_topic){bh_topic_hash(bh_slice_cstr(names[t])), *at};
    }
}

static void come(struct client *c) {
    struct bh_slice topics[] = {BH_SLICE("small")};
    struct bh_identity parts = {.user = BH_SLICE("1"),
                                .topics = topics,
                                .topic_count = run.topics == 2 && test_random() % 2},
                       *who;
    struct bh_resume since;
    assert_int_equal(bh_identity_new(&parts, &who, NULL), 0);
    if (test_random() % 4 == 0)
        memset(kept[index_of(c)], 0, sizeof kept[0]);
    start_seen(c, &since);
    *c = (struct client){.s.vt = &client_vt,
                         .room = run.small ? 30 : 100000,
                         .on_event = on_client_event,
                         .on_message = on_client_message,
                         .on_gap = on_client_gap,
                         .on_rewound = on_client_rewound};
    note("c%u comes", index_of(c));
    for (unsigned i = 0; i < since.count; i++)
        note(" %llu-%llu", (unsigned long long)since.topics[i].position.epoch,
             (unsigned long long)since.topics[i].position.offset);
    note("\n");
    bh_node_resume(worker[test_random() % 3], &c->s, who, &since, on_opened, NULL, 0);
}

static void go(struct client *c) {
    for (unsigned t = 0; t < run.topics; t++) {
        struct bh_position at = bh_subscriber_position(&c->s, bh_slice_cstr(names[t]));
        if (at.epoch)
            kept[index_of(c)][t] = at;
    }
    note("c%u goes\n", index_of(c));
    client_close(c);
}

static void join_or_leave(struct client *c) {
    if (run.topics < 2)
        return;
    note("c%u joins or leaves\n", index_of(c));
    if (bh_node_unsubscribe(c->s.worker, &c->s, BH_SLICE("small")) == 0)
        return;
    /* Where it was does not count when it subscribes while it is connected. */
    seen[index_of(c)][1] = (struct seen){0};
    bh_node_subscribe(c->s.worker, &c->s, BH_SLICE("small"), on_opened, NULL, 0);
}

static void raw_come_or_go(struct sub *sub) {
    if (sub->s.handle) {
        bh_node_close(sub->s.worker, &sub->s, 1000, (struct bh_slice){0});
        return;
    }
    memset(raw_seen[sub - subs], 0, sizeof raw_seen[0]);
    *sub = (struct sub){.s.vt = &sub_vt, .on_deliver = on_raw};
    bh_node_open(worker[test_random() % 3], &sub->s,
                 identity("1", NULL, run.topics == 2 ? "small" : NULL), on_opened, NULL, 0);
}

static void client_step(void) {
    struct client *c = &clients[test_random() % COUNT(clients)];
    if (!c->s.handle)
        come(c);
    else if (test_random() % 3 == 0)
        join_or_leave(c);
    else if (test_random() % 2 == 0)
        go(c);
}

/* --- one run --- */

static void history_step(void) {
    if (!fake.call_count)
        return;
    unsigned i = test_random() % fake.call_count;
    note("call %u of %u\n", i, fake.call_count);
    if (test_random() % 2)
        call_carry_out(i);
    else if (run.failures && test_random() % 4 == 0)
        call_fail(i, BH_EUNAVAIL);
    else
        call_answer(i);
}

static void link_step(unsigned t) {
    if (!up)
        raise_link();
    else if (test_random() % 8 == 0)
        drop_link();
    else if (test_random() % 4 == 0)
        lose_subscription(t);
    else
        subscribe_one(t);
}

static void log_step(unsigned t) {
    if (run.rewinds && test_random() % 4 == 0) {
        unsigned n = test_random() % 4;
        note("rewind %u by %u\n", t, n);
        log_rewind(names[t], n);
    } else if (run.trims && test_random() % 4 == 0) {
        log_trim(names[t], test_random() % 5);
    } else {
        remove_one(t);
    }
}

static void step(void) {
    unsigned t = test_random() % run.topics;
    switch (test_random() % 12) {
    case 0:
    case 1:
    case 2:
        append_one(t);
        break;
    case 3:
    case 4:
    case 5:
        arrive_one(t);
        break;
    case 6:
        client_step();
        break;
    case 7:
        link_step(t);
        break;
    case 8:
        subscribe_one(t);
        break;
    case 9:
        if (test_random() % 6 == 0)
            log_step(t);
        else if (test_random() % 6 == 0)
            raw_come_or_go(&subs[test_random() % 3]);
        break;
    default:
        history_step();
    }
    if (test_random() % 3 == 0)
        bh_loop_tick(loop, false);
    if (test_random() % 8 == 0)
        bh_clock_fake_advance(test_random() % (run.failures ? 3000 : 200));
}

/* Everything arrives in the end. */
static void come_to_rest(void) {
    if (!up)
        raise_link();
    fake.hold = false;
    for (int round = 0; round < 200; round++) {
        for (unsigned t = 0; t < run.topics; t++) {
            subscribe_one(t);
            while (subscription[t] == LIVE && way_len[t]) {
                struct bh_message *m = take_from_way(t);
                channel(m);
            }
        }
        calls_answer_all();
        pass(500);
    }
}

static void check_end(void) {
    for (unsigned i = 0; i < COUNT(clients); i++) {
        if (!clients[i].s.handle)
            continue;
        assert_true(bh_subscriber_is_recovered(&clients[i].s));
        for (unsigned t = 0; t < run.topics; t++) {
            const struct log *log = log_of(names[t]);
            struct bh_position at = bh_subscriber_position(&clients[i].s, bh_slice_cstr(names[t]));
            uint64_t offset;
            if (!bh_hub_find(&clients[i].s.worker->hub, bh_slice_cstr(names[t])) || !at.epoch)
                continue;
            note("end c%u %u at %llu-%llu log %llu-%llu\n", i, t, (unsigned long long)at.epoch,
                 (unsigned long long)at.offset, (unsigned long long)log->epoch,
                 (unsigned long long)log->top);
            must(log->marked || (at.epoch == log->epoch && at.offset == log->top));
            if (seen[i][t].at.epoch && !log->marked) {
                must(in_chain(seen[i][t].at, log->epoch, &offset));
                must(only_removed(t, offset, log->top + 1));
            }
        }
    }
}

static void one_run(void) {
    memset(said, 0, sizeof said);
    memset(epochs, 0, sizeof epochs);
    memset(removed, 0, sizeof removed);
    memset(kept, 0, sizeof kept);
    memset(subscription, 0, sizeof subscription);
    memset(way_len, 0, sizeof way_len);
    trace_len = 0;
    log_on_epoch = on_epoch;
    streams_up(3, false);
    with_hooks(BH_HOOK_GAP);
    hooks.on_gap = on_raw_gap;
    if (!run.trims)
        rules[1].size = rules[0].size = 4000;
    up = true;
    fake.hold = true;
    for (int i = 0; i < STEPS; i++)
        step();
    come_to_rest();
    check_end();
    for (unsigned t = 0; t < TOPICS; t++)
        lose_way(t);
    streams_teardown(NULL);
}

static void runs(void) {
    gaps = rewinds = recovered = given = 0;
    for (int i = 0; i < RUNS; i++)
        one_run();
    print_message("%u messages, %u recoveries, %u gaps, %u rewinds\n", given, recovered, gaps,
                  rewinds);
}

static void test_one_epoch(void **state) {
    memset(&run, 0, sizeof run);
    run.topics = 1;
    runs();
    assert_int_equal(gaps, 0);
    assert_int_equal(rewinds, 0);
    assert_true(recovered > 0);
}

static void test_one_epoch_of_two_topics(void **state) {
    memset(&run, 0, sizeof run);
    run.topics = 2;
    runs();
    assert_int_equal(gaps, 0);
    assert_int_equal(rewinds, 0);
}

static void test_rewinds(void **state) {
    memset(&run, 0, sizeof run);
    run.topics = 1;
    run.rewinds = true;
    runs();
    assert_true(rewinds > 0);
}

static void test_trims_and_failures(void **state) {
    memset(&run, 0, sizeof run);
    run.topics = 2;
    run.trims = run.failures = true;
    runs();
    assert_true(gaps > 0);
}

static void test_everything(void **state) {
    memset(&run, 0, sizeof run);
    run.topics = 2;
    run.rewinds = run.trims = run.failures = run.small = true;
    runs();
    assert_true(gaps > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_epoch),  cmocka_unit_test(test_one_epoch_of_two_topics),
        cmocka_unit_test(test_rewinds),    cmocka_unit_test(test_trims_and_failures),
        cmocka_unit_test(test_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
