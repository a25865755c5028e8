/* hot_streams.c - the paths of topics with history: an append, as the publisher's worker sees it;
 * messages that come from the broker as envelopes, with a position and without, through the bus to
 * one socket and to a crowd that speaks each of the protocols.
 *
 * The history is one of this file: it appends at once and echoes nothing, so that its own cost,
 * which is Redis', is not counted. */
#include "hot_streams.h"

#include "bellhop/base/log.h"
#include "bellhop/core/envelope.h"
#include "broker.h"
#include "counting.h"
#include "limits/edge_metrics.h"
#include "null_clients.h"

#include <stdio.h>
#include <string.h>

#define BATCH   16
#define ROUNDS  500
#define USERS   1000
#define EPOCH   1700000000000000u
#define HOUR_MS (3600 * 1000)

/* --- a history --- */

static int start(struct bh_history *h, struct bh_loop *bus) {
    return 0;
}

static void stop(struct bh_history *h) {}

static void read_top(struct bh_history *h, const struct bh_topic *topic,
                     const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                     size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    struct bh_range *range = bh_range_new(0, NULL);
    range->outcome = BH_HISTORY_NEW;
    range->top = range->since = (struct bh_position){EPOCH, 0};
    done(ud, handle, 0, range, NULL);
    bh_range_unref(range);
}

static void find_tops(struct bh_history *h, const struct bh_topic *topics, size_t count,
                      bh_tops_cb done, void *ud, bh_handle handle) {
    struct bh_position tops[BH_HISTORY_TOPS_MAX];
    for (size_t i = 0; i < count; i++)
        tops[i] = (struct bh_position){EPOCH, 0};
    done(ud, handle, 0, tops, count);
}

static void append(struct bh_history *h, unsigned worker, struct bh_message *m,
                   const struct bh_history_rule *rule, struct bh_slice collapse,
                   bh_appended_cb done, void *ud, bh_handle handle) {
    static uint64_t top;
    struct bh_appended appended = {.position = {EPOCH, ++top}, .receivers = 1};
    done(ud, handle, 0, &appended, NULL);
}

static const struct bh_history_vt vt = {
    .start = start, .stop = stop, .read = read_top, .tops = find_tops, .append = append};
static struct bh_history history = {&vt};

static const struct bh_history_rule rules[] = {
    {.pattern = BH_SLICE("user:"), .prefix = true, .size = 100, .revision = 1, .ttl_ms = HOUR_MS},
    {.pattern = BH_SLICE("all"), .size = 100, .revision = 1, .ttl_ms = HOUR_MS},
};
static const struct bh_history_config config = {
    .rules = rules, .rule_count = 1, .window_bytes = 1 << 20, .recover_wait_ms = HOUR_MS};
/* Without the users: so all clients have the same streams. */
static const struct bh_history_config config_of_all = {
    .rules = rules + 1, .rule_count = 1, .window_bytes = 1 << 20, .recover_wait_ms = HOUR_MS};

/* --- messages from the broker --- */

struct arriving {
    struct instance instance;
    struct bh_slice payload;
    unsigned count; /* messages in each round */
    unsigned users; /* 0: to all */
    bool stream;    /* with a position */
    uint64_t sent;
    uint64_t tops[USERS];
    struct bh_topic topics[BATCH];
    struct bh_bytes envelopes[BATCH];
};

static void make_envelope(struct arriving *a, unsigned i, uint64_t offset) {
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_message parts = {.opcode = BH_TEXT,
                               .origin = BH_SLICE("another"),
                               .id = BH_SLICE("0123456789abcdefghijkl"),
                               .payload = a->payload};
    if (a->stream) {
        parts.flags = BH_MESSAGE_POSITION;
        parts.position = (struct bh_position){EPOCH, offset};
        parts.stored_ms = 1700000000000;
    }
    size_t n = bh_envelope_head(&parts, 0, head);
    bh_bytes_clear(&a->envelopes[i]);
    bh_bytes_add(&a->envelopes[i], bh_slice(head, n));
    bh_bytes_add(&a->envelopes[i], a->payload);
}

static void prepare(void *ud) {
    struct arriving *a = ud;
    for (unsigned i = 0; i < a->count; i++, a->sent++) {
        unsigned user = a->users ? (unsigned)(a->sent * 7919 % a->users) : 0;
        char name[32] = "all";
        if (a->users)
            snprintf(name, sizeof name, "user:u%06u", user);
        counting_must(bh_topic_parse(bh_slice_cstr(name), &a->topics[i]) == 0, name);
        make_envelope(a, i, ++a->tops[user]);
    }
}

static void bring(void *ud) {
    struct arriving *a = ud;
    for (unsigned i = 0; i < a->count; i++) {
        struct bh_message *m;
        const char *why;
        counting_must(
            bh_envelope_open(&a->topics[i], bh_bytes_slice(&a->envelopes[i]), 0, &m, &why) == 0,
            "an envelope");
        bh_memory_broker_bring(a->instance.broker, m);
        bh_message_unref(m);
    }
}

/* The second turn is that of the worker. */
static void arrive(void *ud) {
    struct arriving *a = ud;
    instance_tick_with(&a->instance, bring, a);
    bh_loop_tick(a->instance.loop, false);
}

static void deinit(struct arriving *a) {
    for (unsigned i = 0; i < BATCH; i++)
        bh_bytes_free(&a->envelopes[i]);
}

static void count_to_user(const char *name, struct bh_slice payload, bool stream) {
    static struct arriving a;
    struct path path = {name, ROUNDS, BATCH, prepare, arrive};
    a = (struct arriving){.payload = payload, .count = BATCH, .users = USERS, .stream = stream};
    instance_open_with_history(&a.instance, stream ? &history : NULL, stream ? &config : NULL);
    struct null_client *clients = null_clients_open(&a.instance, USERS);
    null_deliveries = 0;
    counting_path(&path, &a);
    counting_must(null_deliveries == a.sent, name);
    null_clients_close(&a.instance, clients, USERS);
    instance_close(&a.instance);
    deinit(&a);
}

/* --- appending --- */

struct appending {
    struct instance instance;
    struct bh_slice payload;
    struct bh_publish publish[BATCH];
    unsigned sent, done;
};

static void prepare_appends(void *ud) {
    struct appending *a = ud;
    for (unsigned i = 0; i < BATCH; i++) {
        struct bh_publish *p = &a->publish[i];
        char topic[32];
        snprintf(topic, sizeof topic, "user:u%06u", a->sent++ * 7919 % USERS);
        bh_publish_init(p, BH_SOURCE_HTTP);
        p->opcode = BH_TEXT;
        counting_must(bh_topic_parse(bh_slice_cstr(topic), &p->topic) == 0, topic);
        p->data = bh_buf_copy(a->payload);
    }
}

static void on_appended(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    struct appending *a = ud;
    a->done += r->error == 0 && r->position.epoch == EPOCH;
}

static void append_each(void *ud) {
    struct appending *a = ud;
    for (unsigned i = 0; i < BATCH; i++)
        bh_node_publish(a->instance.worker, &a->publish[i], on_appended, a, 0);
}

static void append_all(void *ud) {
    struct appending *a = ud;
    instance_tick_with(&a->instance, append_each, a);
}

static void count_append(struct bh_slice payload) {
    static const struct path path = {"stream: append for one of 1,000 users", ROUNDS, BATCH,
                                     prepare_appends, append_all};
    struct appending a = {.payload = payload};
    instance_open_with_history(&a.instance, &history, &config);
    struct null_client *clients = null_clients_open(&a.instance, USERS);
    counting_path(&path, &a);
    counting_must(a.done == a.sent, path.name);
    null_clients_close(&a.instance, clients, USERS);
    instance_close(&a.instance);
}

void count_streams(struct bh_slice payload) {
    count_append(payload);
    count_to_user("broker: 128 B to one of 1,000 users", payload, false);
    count_to_user("stream: 128 B to one of 1,000 users", payload, true);
}

/* --- crowds --- */

static void count_to_crowd(const char *name, const char *protocol, struct bh_slice payload,
                           unsigned crowd) {
    static struct arriving a;
    struct path path = {name, 8, crowd, prepare, arrive};
    struct crowd sockets;
    a = (struct arriving){.payload = payload, .count = 1, .stream = true};
    instance_open_with_history(&a.instance, &history, &config_of_all);
    crowd_open(&sockets, &a.instance, crowd, protocol);
    for (int i = 0; i < 8; i++)
        bh_loop_tick(a.instance.loop, false);
    int64_t before = bh_metric_read(&bh_edge_metrics[BH_EDGE_MESSAGES_OUT]);
    counting_path(&path, &a);
    int64_t sent = bh_metric_read(&bh_edge_metrics[BH_EDGE_MESSAGES_OUT]) - before;
    counting_must(sent >= (int64_t)path.rounds * crowd, name);
    crowd_close(&sockets, &a.instance);
    instance_close(&a.instance);
    deinit(&a);
}

void count_stream_crowds(struct bh_slice payload, unsigned crowd) {
    count_to_crowd("stream: 128 B to each of 10,000 sockets", CROWD_WS, payload, crowd);
    count_to_crowd("stream: 128 B as JSON to each of 10,000", CROWD_JSON, payload, crowd);
    count_to_crowd("stream: 128 B as SSE to each of 10,000", CROWD_SSE, payload, crowd);
}
