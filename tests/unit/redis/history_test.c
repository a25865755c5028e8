/* history_test.c - a history beside the gateway, on the same loop. */
#include "history_test.h"

struct history hx;

/* --- life --- */

int setup_history(void **state) {
    memset(&hx, 0, sizeof hx);
    hx.rule = (struct bh_history_rule){.pattern = BH_SLICE("user:"),
                                       .prefix = true,
                                       .size = 100,
                                       .revision = 1,
                                       .ttl_ms = 3600000,
                                       .position_ttl_ms = 7200000,
                                       .bytes = 1024 * 1024};
    hx.config = (struct bh_history_config){.ids_ms = 60000};
    bh_redis_metrics_register();
    return setup_gateway(state);
}

/* Redis before 7 has no functions. */
int setup_old_history(void **state) {
    static const char *const options[] = {"--rename-command", "FCALL",    "",
                                          "--rename-command", "FUNCTION", ""};
    int error = setup_history(state);
    if (test_redis_major() < 7)
        return error;
    test_redis_kill(&fx->redis);
    memcpy(fx->redis.options, options, sizeof options);
    test_redis_run(&fx->redis);
    return error;
}

void close_history(void) {
    if (!hx.base)
        return;
    hx.vt->worker_stop(hx.base, 0);
    hx.vt->stop(hx.base);
    close_gateway(&fx->g);
    hx.vt->free(hx.base);
    hx.base = NULL;
}

int teardown_history(void **state) {
    close_history();
    return teardown_gateway(state);
}

bool history_is_ready(const char **why) {
    const char *unused;
    int error = hx.vt->ready(hx.base, why ? why : &unused);
    assert_true(error == 0 || error == BH_EUNAVAIL);
    return error == 0;
}

static void new_history(void) {
    struct gateway *g = &fx->g;
    hx.base = bh_redis_history_new(g->broker, &hx.config, 1);
    hx.vt = hx.base->vt;
    assert_int_equal(hx.vt->start(hx.base, g->loop), 0);
    assert_int_equal(hx.vt->worker_start(hx.base, 0, g->loop, g->mailbox), 0);
    assert_int_equal(hx.vt->worker_start(hx.base, 1, g->loop, g->mailbox), BH_EINVAL);
}

/* A top is known: the link of the bus is up. */
static bool bus_is_up(void) {
    static const char *const topics[] = {"user:none"};
    struct topped t = {0};
    start_tops(topics, 1, &t);
    WAIT_UNTIL(t.count);
    return t.error == 0;
}

void open_history(void) {
    open_history_behind(NULL);
}

void open_history_behind(struct proxy *proxy) {
    struct gateway *g = &fx->g;
    hx.proxy = proxy;
    open_gateway(g);
    new_history();
    WAIT_UNTIL(is_ready(g));
    assert_false(g->vt->subscribe(g->broker, BH_SLICE("user:42")));
    WAIT_UNTIL(g->subscribed == 1);
    WAIT_UNTIL(bus_is_up());
}

int64_t counted(unsigned metric) {
    return bh_metric_read(&bh_redis_metrics[metric]);
}

static struct bh_topic topic_of(const char *name) {
    struct bh_topic topic;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &topic), 0);
    return topic;
}

/* --- the log --- */

void change_entry(int index, void (*change)(char *entry)) {
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "LINDEX {notification:42}:log %d", index);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    change(r->str);
    freeReplyObject(
        redisCommand(c, "LSET {notification:42}:log %d %b", index, r->str, (size_t)r->len));
    freeReplyObject(r);
    redisFree(c);
}

/* --- appends --- */

static void on_appended(void *ud, bh_handle handle, int error, const struct bh_appended *appended,
                        const char *why) {
    struct appended *a = ud;
    assert_int_equal(handle, 6);
    assert_true(error ? why && !appended : appended != NULL);
    a->count++;
    a->error = error;
    if (appended)
        a->result = *appended;
    snprintf(a->why, sizeof a->why, "%s", why ? why : "");
}

struct bh_message *stream_message(const char *topic, const char *id, struct bh_slice payload) {
    struct bh_topic t = topic_of(topic);
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .flags = BH_MESSAGE_ECHO,
                               .topic = &t,
                               .id = bh_slice_cstr(id),
                               .origin = BH_SLICE("one"),
                               .payload = payload};
    return bh_message_new(&parts);
}

void append_collapsed(const char *topic, const char *id, const char *payload, const char *collapse,
                      struct appended *a) {
    struct bh_message *m = stream_message(topic, id, bh_slice_cstr(payload));
    hx.vt->append(hx.base, 0, m, &hx.rule, bh_slice_cstr(collapse), on_appended, a, 6);
    bh_message_unref(m);
}

void start_append(const char *topic, const char *id, const char *payload, struct appended *a) {
    append_collapsed(topic, id, payload, "", a);
}

int append_error(const char *topic, const char *id, struct appended *a) {
    *a = (struct appended){0};
    start_append(topic, id, "{}", a);
    WAIT_UNTIL(a->count);
    assert_int_equal(a->count, 1);
    return a->error;
}

struct bh_position append(const char *topic, const char *id, const char *payload) {
    struct appended a = {0};
    start_append(topic, id, payload, &a);
    WAIT_UNTIL(a.count);
    if (a.error)
        fail_msg("append: %s", a.why);
    return a.result.position;
}

/* --- reads --- */

static void keep(struct ranged *r, int error, struct bh_range *range, const char *why) {
    assert_true(error ? why && !range : range != NULL);
    r->count++;
    r->error = error;
    r->range = range ? bh_range_ref(range) : NULL;
    snprintf(r->why, sizeof r->why, "%s", why ? why : "");
}

static void on_range(void *ud, bh_handle handle, int error, struct bh_range *range,
                     const char *why) {
    assert_int_equal(handle, 7);
    keep(ud, error, range, why);
}

void start_read(const char *topic, struct bh_position since, uint32_t limit, size_t bytes,
                struct ranged *out) {
    struct bh_topic t = topic_of(topic);
    *out = (struct ranged){0};
    hx.vt->read(hx.base, &t, &hx.rule, since, limit, bytes, on_range, out, 7);
}

struct ranged read_behind(const char *topic, struct bh_position since) {
    struct ranged r;
    start_read(topic, since, 100, 1024 * 1024, &r);
    WAIT_UNTIL(r.count);
    return r;
}

static void on_page(void *ud, bh_handle handle, int error, struct bh_range *page, bool gap,
                    bool more, const char *why) {
    struct ranged *r = ud;
    assert_int_equal(handle, 8);
    keep(r, error, page, why);
    r->gap = gap;
    r->more = more;
}

struct ranged read_page(const char *topic, bool ascending, struct bh_position from,
                        uint32_t limit) {
    struct ranged r = {0};
    struct bh_page_query query = {.topic = topic_of(topic),
                                  .from = from,
                                  .ascending = ascending,
                                  .limit = limit,
                                  .bytes = 1024 * 1024};
    hx.vt->page(hx.base, 0, &query, on_page, &r, 8);
    WAIT_UNTIL(r.count);
    return r;
}

const char *payloads(const struct bh_range *range) {
    static char text[4096];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < range->count; i++) {
        const struct bh_message *m = range->messages[i];
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i ? "," : "",
                              m->kind == BH_MESSAGE_TOMBSTONE ? 1 : (int)m->payload.n,
                              m->kind == BH_MESSAGE_TOMBSTONE ? "-" : m->payload.p);
        assert_true(n < sizeof text);
    }
    return text;
}

void release(struct ranged *r) {
    bh_range_unref(r->range);
    r->range = NULL;
}

static void on_removed(void *ud, bh_handle handle, int error, int64_t removed, const char *why) {
    struct removed *r = ud;
    assert_int_equal(handle, 9);
    assert_true(!error || why);
    *r = (struct removed){.count = r->count + 1, .error = error, .removed = removed};
}

struct removed remove_one(const char *topic, struct bh_position position) {
    struct removed r = {0};
    struct bh_topic t = topic_of(topic);
    hx.vt->remove(hx.base, 0, &t, position, on_removed, &r, 9);
    WAIT_UNTIL(r.count);
    return r;
}

static void on_tops(void *ud, bh_handle handle, int error, const struct bh_position *tops,
                    size_t count) {
    struct topped *t = ud;
    assert_int_equal(handle, 10);
    t->count++;
    t->error = error;
    t->tops = count;
    for (size_t i = 0; i < count && i < TOPS_MAX; i++)
        t->top[i] = tops[i];
}

void start_tops(const char *const *names, size_t count, struct topped *out) {
    struct bh_topic topics[TOPS_MAX];
    for (size_t i = 0; i < count; i++)
        topics[i] = topic_of(names[i]);
    *out = (struct topped){0};
    hx.vt->tops(hx.base, topics, count, on_tops, out, 10);
}
