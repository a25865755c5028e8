/* streams_test.c - see the header. */
#include "streams_test.h"

void (*log_on_epoch)(uint64_t epoch, uint64_t parent, uint64_t begin);
struct fake_history fake;
struct client clients[8];
struct bh_history_rule rules[3];

/* --- the log --- */

struct log *log_of(const char *topic) {
    for (unsigned i = 0; i < fake.log_count; i++)
        if (strcmp(fake.logs[i].topic, topic) == 0)
            return &fake.logs[i];
    if (fake.log_count == fake.log_cap) {
        fake.log_cap = fake.log_cap ? fake.log_cap * 2 : 8;
        fake.logs = bh_realloc(fake.logs, fake.log_cap * sizeof *fake.logs);
    }
    struct log *log = &fake.logs[fake.log_count++];
    memset(log, 0, offsetof(struct log, epochs));
    snprintf(log->topic, sizeof log->topic, "%s", topic);
    return log;
}

static void begin_epoch(struct log *log) {
    uint64_t before = log->epoch;
    if (log->epoch && log->marked) {
        assert_true(log->parents < COUNT(log->parent));
        log->parent[log->parents].epoch = log->epoch;
        log->parent[log->parents++].begin = log->top;
    }
    if (!log->epoch || log->marked) {
        log->epoch = ++fake.last_epoch;
        if (log_on_epoch)
            log_on_epoch(log->epoch, before, log->top);
    }
    if (log->first == 0)
        log->first = 1;
    log->marked = false;
}

static struct bh_message *entry(const struct log *log, uint64_t offset) {
    uint64_t epoch = log->epochs[offset];
    struct bh_topic topic = test_topic(log->topic);
    struct bh_message parts = {.kind = epoch ? BH_MESSAGE_DATA : BH_MESSAGE_TOMBSTONE,
                               .opcode = BH_TEXT,
                               .flags = BH_MESSAGE_POSITION | BH_MESSAGE_ECHO,
                               .topic = &topic,
                               .position = {epoch ? epoch : log->epoch, offset},
                               .id = BH_SLICE("id"),
                               .origin = BH_SLICE("elsewhere"),
                               .payload = bh_slice_cstr(epoch ? log->text[offset] : NULL)};
    return bh_message_new(&parts);
}

struct bh_message *log_append(const char *topic, const char *text) {
    struct log *log = log_of(topic);
    begin_epoch(log);
    assert_true(log->top + 1 < LOG_MAX);
    log->epochs[++log->top] = log->epoch;
    snprintf(log->text[log->top], sizeof log->text[0], "%s", text);
    for (size_t i = 0; i < COUNT(rules); i++) {
        struct bh_topic t = test_topic(topic);
        const struct bh_history_rule *rule = bh_history_rule_of(&history_config, &t);
        if (rule && log->top - log->first >= rule->size)
            log->first = log->top - rule->size + 1;
    }
    return entry(log, log->top);
}

void log_rewind(const char *topic, unsigned n) {
    struct log *log = log_of(topic);
    log->top = n < log->top ? log->top - n : 0;
    log->marked = true;
    if (log->first > log->top + 1)
        log->first = log->top + 1;
    while (log->parents && log->parent[log->parents - 1].begin > log->top && (log->forgot = true))
        log->epoch = log->parent[--log->parents].epoch; /* the snapshot is older than that epoch */
}

void log_trim(const char *topic, unsigned keep) {
    struct log *log = log_of(topic);
    if (log->top - log->first + 1 > keep)
        log->first = log->top - keep + 1;
}

void log_remove_all(const char *topic) {
    struct log *log = log_of(topic);
    log->floor = log->top;
    log->first = log->top + 1;
}

/* --- the port --- */

static struct fake_history *fake_of(struct bh_history *h) {
    return (struct fake_history *)h;
}

static bool find_since(const struct log *log, struct bh_position asked, uint64_t *since) {
    *since = asked.offset < log->top ? asked.offset : log->top;
    bool found = asked.epoch == log->epoch;
    for (unsigned i = log->parents; !found && i-- > 0;) {
        if (log->parent[i].begin < *since)
            *since = log->parent[i].begin;
        found = log->parent[i].epoch == asked.epoch;
    }
    return found;
}

static struct bh_range *range_of(const struct log *log, uint64_t since) {
    size_t count = (size_t)(log->top - since);
    struct bh_message **all = bh_malloc((count + 1) * sizeof *all);
    for (size_t i = 0; i < count; i++)
        all[i] = entry(log, since + 1 + i);
    struct bh_range *r = bh_range_new(count, all);
    bh_free(all);
    return r;
}

static struct bh_range *carry_out_read(const struct call *c) {
    struct log *log = log_of(c->topics->name);
    uint64_t since = 0;
    if (!log->epoch)
        begin_epoch(log);
    bool found = c->since.epoch && find_since(log, c->since, &since);
    bool rewound = found && since < c->since.offset;
    if (since < log->floor)
        since = log->floor;
    size_t bytes = 0;
    for (uint64_t o = since + 1; found && o <= log->top; o++)
        bytes += log->epochs[o] ? strlen(log->text[o]) : 0;
    bool ok = found && since + 1 >= log->first && log->top - since <= c->limit && bytes <= c->bytes;
    struct bh_range *r = ok ? range_of(log, since) : bh_range_new(0, NULL);
    r->outcome = ok ? BH_HISTORY_OK : c->since.epoch ? BH_HISTORY_GAP : BH_HISTORY_NEW;
    r->top = (struct bh_position){log->epoch, log->top};
    r->since = (struct bh_position){log->epoch, ok ? since : log->top};
    r->rewound = ok && rewound;
    return r;
}

static void carry_out(struct call *c) {
    c->carried_out = true;
    if (c->what == CALL_READ) {
        c->range = carry_out_read(c);
        return;
    }
    c->tops = bh_calloc(c->count, sizeof *c->tops);
    for (size_t i = 0; i < c->count; i++) {
        struct log *log = log_of(c->topics[i].name);
        c->tops[i] = (struct bh_position){log->epoch, log->epoch ? log->top : 0};
    }
}

static void answer(struct call *c, int error) {
    if (!error && !c->carried_out)
        carry_out(c);
    if (c->what == CALL_READ)
        c->done_read(c->ud, c->handle, error, error ? NULL : c->range, error ? "no" : NULL);
    else
        c->done_tops(c->ud, c->handle, error, c->tops, c->count);
    bh_range_unref(c->range);
    bh_free(c->tops);
    bh_free(c->topics);
}

static void start_call(struct fake_history *f, struct call c) {
    if (!f->hold) {
        answer(&c, f->error);
        return;
    }
    assert_true(f->call_count < CALL_MAX);
    f->calls[f->call_count++] = c;
    if (f->call_count > f->call_max)
        f->call_max = f->call_count;
}

static struct call take_call(unsigned i) {
    assert_true(i < fake.call_count);
    struct call c = fake.calls[i];
    memmove(&fake.calls[i], &fake.calls[i + 1], (--fake.call_count - i) * sizeof c);
    return c;
}

void call_carry_out(unsigned i) {
    assert_true(i < fake.call_count);
    if (!fake.calls[i].carried_out)
        carry_out(&fake.calls[i]);
}

void call_fail(unsigned i, int error) {
    struct call c = take_call(i);
    answer(&c, error);
    settle();
}

void call_answer(unsigned i) {
    call_fail(i, 0);
}

void calls_answer_all(void) {
    for (settle(); fake.call_count; settle())
        call_answer(0);
}

static int fake_history_start(struct bh_history *h, struct bh_loop *bus_loop) {
    return 0;
}

static void fake_history_stop(struct bh_history *h) {
    struct fake_history *f = fake_of(h);
    while (f->call_count) {
        struct call c = take_call(0);
        answer(&c, BH_EIO);
    }
}

static void fake_read(struct bh_history *h, const struct bh_topic *topic,
                      const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                      size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    struct bh_topic *copy = bh_malloc(sizeof *copy);
    bh_topic_copy(copy, topic);
    fake_of(h)->reads++;
    start_call(fake_of(h), (struct call){.what = CALL_READ,
                                         .topics = copy,
                                         .since = since,
                                         .limit = limit,
                                         .bytes = bytes,
                                         .done_read = done,
                                         .ud = ud,
                                         .handle = handle});
}

static void fake_tops(struct bh_history *h, const struct bh_topic *topics, size_t count,
                      bh_tops_cb done, void *ud, bh_handle handle) {
    struct bh_topic *copy = bh_malloc(count * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        bh_topic_copy(&copy[i], &topics[i]);
    assert_true(count > 0 && count <= BH_HISTORY_TOPS_MAX);
    fake_of(h)->tops++;
    fake_of(h)->topics_checked += (unsigned)count;
    start_call(fake_of(h), (struct call){.what = CALL_TOPS,
                                         .count = count,
                                         .topics = copy,
                                         .done_tops = done,
                                         .ud = ud,
                                         .handle = handle});
}

static const struct bh_history_vt fake_history_vt = {
    .start = fake_history_start, .stop = fake_history_stop, .read = fake_read, .tops = fake_tops};

void streams_up(unsigned workers, bool live) {
    rules[0] = (struct bh_history_rule){
        .pattern = BH_SLICE("user:"), .prefix = true, .size = 100, .bytes = 100000};
    rules[1] = (struct bh_history_rule){
        .pattern = BH_SLICE("topic:small"), .size = 3, .bytes = 100000, .ttl_ms = 3600000};
    rules[2] = (struct bh_history_rule){
        .pattern = BH_SLICE("topic:state"), .latest = true, .size = 1, .bytes = 100000};
    memset(&fake, 0, sizeof fake);
    fake.history.vt = &fake_history_vt;
    history = &fake.history;
    history_config = (struct bh_history_config){.rules = rules,
                                                .rule_count = COUNT(rules),
                                                .window_bytes = 1024 * 1024,
                                                .recover_wait_ms = 30000};
    memset(clients, 0, sizeof clients);
    for (size_t i = 0; i < COUNT(clients); i++)
        clients[i].s.vt = &client_vt;
    node_up(workers, true);
    broker.live_at_once = live;
}

int streams_teardown(void **state) {
    for (size_t i = 0; i < COUNT(clients); i++)
        client_close(&clients[i]);
    node_down();
    bh_free(fake.logs);
    return 0;
}

/* --- the broker --- */

void channel(struct bh_message *m) {
    broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
    settle();
}

void append(const char *topic, const char *text) {
    channel(log_append(topic, text));
}

void subscribed(const char *topic) {
    settle();
    broker.sink.on_subscribed(broker.sink.ud, bh_slice_cstr(topic));
    settle();
}

void lost(const char *topic) {
    broker.sink.on_lost(broker.sink.ud, bh_slice_cstr(topic));
    settle();
}

void shard(bool up) {
    broker.sink.on_state(broker.sink.ud, 0, up);
    settle();
}

/* --- clients --- */

#define CLIENT_LOG(c, ...)                                                                         \
    snprintf((c)->log + strlen((c)->log), sizeof(c)->log - strlen((c)->log), __VA_ARGS__)

static struct client *client_of(struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, struct client, s);
}

static void event(struct client *c) {
    if (c->on_event)
        c->on_event(c);
}

static int client_deliver(struct bh_subscriber *s, struct bh_message *m) {
    struct client *c = client_of(s);
    CLIENT_LOG(c, "%.*s ", BH_SLICE_ARG(m->payload));
    if (c->on_message)
        c->on_message(c, m);
    event(c);
    return 0;
}

static int client_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    CLIENT_LOG(client_of(s), "%.*s ", BH_SLICE_ARG(data));
    return 0;
}

static void client_on_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    bh_node_close(s->worker, s, code, reason);
}

static void client_recovered(struct bh_subscriber *s, bool complete) {
    CLIENT_LOG(client_of(s), complete ? "recovered " : "new ");
    assert_false(bh_subscriber_is_recovered(s));
    event(client_of(s));
}

static void client_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    CLIENT_LOG(client_of(s), "gap:%.*s:%s ", BH_SLICE_ARG(topic), why);
    if (client_of(s)->on_gap)
        client_of(s)->on_gap(client_of(s), topic, why);
    event(client_of(s));
}

static void client_rewound(struct bh_subscriber *s, struct bh_slice topic) {
    CLIENT_LOG(client_of(s), "rewound:%.*s ", BH_SLICE_ARG(topic));
    if (client_of(s)->on_rewound)
        client_of(s)->on_rewound(client_of(s), topic);
    event(client_of(s));
}

static size_t client_room(const struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, const struct client, s)->room;
}

const struct bh_subscriber_vt client_vt = {.deliver = client_deliver,
                                           .send = client_send,
                                           .close = client_on_close,
                                           .recovered = client_recovered,
                                           .gap = client_gap,
                                           .rewound = client_rewound,
                                           .room = client_room};

struct bh_resume since_of(const char *text) {
    struct bh_slice rest = bh_slice_cstr(text), one, position;
    struct bh_resume out = {0};
    while (bh_slice_split(&rest, ',', &one)) {
        const char *colon = memrchr(one.p, ':', one.n);
        struct bh_resume_topic *t = &out.topics[out.count++];
        t->hash = bh_topic_hash(bh_slice(one.p, (size_t)(colon - one.p)));
        position = bh_slice(colon + 1, (size_t)(one.p + one.n - colon - 1));
        assert_int_equal(bh_position_parse(position, &t->position), 0);
    }
    return out;
}

void client_open(unsigned w, struct client *c, const char *user, const char *topic,
                 const char *since) {
    static struct answer ignored;
    struct bh_slice topics[] = {bh_slice_cstr(topic)};
    struct bh_identity parts = {
        .user = bh_slice_cstr(user), .topics = topics, .topic_count = topic ? 1 : 0};
    struct bh_identity *identity;
    struct bh_resume resume = since_of(since);
    assert_int_equal(bh_identity_new(&parts, &identity, NULL), 0);
    if (!c->room)
        c->room = 100000;
    c->s.vt = &client_vt;
    bh_node_resume(worker[w], &c->s, identity, since ? &resume : NULL, on_joined, &ignored, 0);
    settle();
}

void client_close(struct client *c) {
    if (c->s.handle)
        bh_node_close(c->s.worker, &c->s, 1000, (struct bh_slice){0});
}

void assert_id(const struct client *c, const char *expected) {
    char text[BH_RESUME_TEXT_MAX + 1], wanted[BH_RESUME_TEXT_MAX + 1];
    struct bh_resume resume = since_of(expected), got;
    const char *why;
    size_t n = bh_subscriber_resume_text(&c->s, text);
    assert_int_equal(strlen(text), n);
    assert_int_equal(bh_resume_parse(bh_slice(text, n), &got, &why), 0);
    bh_resume_format(&resume, wanted);
    assert_int_equal(got.count, resume.count);
    for (unsigned i = 0; i < got.count; i++) {
        const struct bh_position *p = bh_resume_find(&resume, got.topics[i].hash);
        assert_non_null(p);
        assert_int_equal(p->epoch, got.topics[i].position.epoch);
        assert_int_equal(p->offset, got.topics[i].position.offset);
    }
}
