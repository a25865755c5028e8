/* gateway.c - a broker with one worker on one loop, against a real Redis. */
#include "gateway.h"

struct fixture *fx;

/* --- the sink --- */

static void on_message(void *ud, struct bh_message *m) {
    struct gateway *g = ud;
    g->messages++;
    bh_message_unref(g->last);
    g->last = bh_message_ref(m);
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    struct gateway *g = ud;
    g->subscribed++;
    snprintf(g->last_subscribed, sizeof g->last_subscribed, "%.*s", BH_SLICE_ARG(topic));
}

static void on_state(void *ud, unsigned shard, bool up) {
    struct gateway *g = ud;
    assert_true(up != g->up);
    g->up = up;
    g->ups += up;
    g->downs += !up;
}

/* --- the gateway --- */

bool is_ready(const struct gateway *g) {
    const char *why;
    int error = g->vt->ready(g->broker, &why);
    assert_true(error == 0 || (error == BH_EUNAVAIL && why && *why));
    return error == 0;
}

void open_gateway(struct gateway *g) {
    *g = (struct gateway){.loop = bh_loop_new()};
    g->mailbox = bh_mailbox_new(g->loop);
    g->broker = bh_redis_broker_new(&fx->config, 1);
    g->vt = g->broker->vt;
    assert_false(is_ready(g));
    struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, g};
    assert_int_equal(g->vt->start(g->broker, g->loop, g->mailbox, &sink), 0);
    assert_int_equal(g->vt->worker_start(g->broker, 0, g->loop), 0);
    assert_int_equal(g->vt->worker_start(g->broker, 1, g->loop), BH_EINVAL);
}

void close_gateway(struct gateway *g) {
    if (!g->loop)
        return;
    g->vt->worker_stop(g->broker, 0);
    g->vt->stop(g->broker);
    assert_false(is_ready(g));
    g->vt->free(g->broker);
    bh_mailbox_free(g->mailbox);
    bh_loop_free(g->loop);
    bh_message_unref(g->last);
    g->loop = NULL;
}

void open_ready(struct gateway *g) {
    open_gateway(g);
    TICK_UNTIL(g->loop, is_ready(g));
}

int setup_gateway(void **state) {
    fx = bh_calloc(1, sizeof *fx);
    test_redis_start(&fx->redis);
    fx->config = (struct bh_redis_config){.host = "127.0.0.1",
                                          .port = fx->redis.port,
                                          .channel_prefix = "notification:",
                                          .instance = "one",
                                          .connect_timeout_ms = 300,
                                          .command_timeout_ms = 300,
                                          .probe_ms = 50,
                                          .backoff_min_ms = 5,
                                          .backoff_max_ms = 50};
    return 0;
}

int teardown_gateway(void **state) {
    close_gateway(&fx->g);
    test_redis_stop(&fx->redis);
    bh_free(fx);
    return 0;
}

void subscribe(struct gateway *g, const char *topic) {
    unsigned before = g->subscribed;
    if (g->vt->subscribe(g->broker, bh_slice_cstr(topic)))
        return;
    TICK_UNTIL(g->loop, g->subscribed > before && strcmp(g->last_subscribed, topic) == 0);
}

/* --- publishing --- */

void on_published(void *ud, bh_handle handle, int error, int64_t receivers, const char *why) {
    struct done *d = ud;
    assert_int_equal(handle, 5);
    assert_true(error == 0 || (why && receivers == -1));
    d->count++;
    d->errors += error != 0;
    d->error = error;
    d->receivers = receivers;
    snprintf(d->why, sizeof d->why, "%s", why ? why : "");
}

struct bh_message *new_message(const char *topic, struct bh_slice payload) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to,
                               .kind = BH_MESSAGE_DATA,
                               .opcode = BH_BINARY,
                               .flags = BH_MESSAGE_DEDUP,
                               .except = 0x1122334455667788,
                               .id = BH_SLICE("id-1"),
                               .origin = BH_SLICE("one"),
                               .payload = payload};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    return bh_message_new(&parts);
}

void publish(struct gateway *g, const char *topic, struct bh_slice payload, struct done *d) {
    struct bh_message *m = new_message(topic, payload);
    g->vt->publish(g->broker, 0, m, on_published, d, 5);
    bh_message_unref(m);
}

long long subscribers(const char *channel) {
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "PUBSUB NUMSUB %s", channel);
    long long n = r->element[1]->integer;
    freeReplyObject(r);
    redisFree(c);
    return n;
}
