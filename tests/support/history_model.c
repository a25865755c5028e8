/* history_model.c - see the header. */
#include "history_model.h"

#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "unit_test.h"

#define TOMBSTONE_BYTES 48

static uint64_t age(const struct model *m) {
    return m->now_ms - m->stream.last_ms;
}

void model_pass(struct model *m) {
    struct model_stream *s = &m->stream;
    if (s->there && age(m) > s->rule->position_ttl_ms)
        s->there = false;
}

static void begin(struct model *m, const struct bh_history_rule *rule) {
    struct model_stream *s = &m->stream;
    unsigned life = s->life + 1;
    memset(s, 0, sizeof *s);
    s->there = true;
    s->life = life;
    s->first = 1;
    s->last_ms = m->now_ms;
    s->rule = rule;
}

/* The oldest entry that may be read. */
static uint64_t first_readable(const struct model *m) {
    const struct model_stream *s = &m->stream;
    return age(m) > s->rule->ttl_ms ? s->top + 1 : s->first;
}

static size_t bytes_from(const struct model_stream *s, uint64_t from) {
    size_t bytes = 0;
    for (uint64_t i = from; i <= s->top; i++)
        bytes += s->entries[i].bytes;
    return bytes;
}

static void bury(struct model_entry *e) {
    e->data = false;
    e->bytes = TOMBSTONE_BYTES;
}

static void collapse(struct model_stream *s, int key) {
    for (uint64_t i = s->top; key >= 0 && i >= s->first; i--) {
        if (s->entries[i].key != key)
            continue;
        if (s->entries[i].data)
            bury(&s->entries[i]);
        return;
    }
}

uint64_t model_append(struct model *m, const struct bh_history_rule *rule, int id, int key,
                      size_t bytes, uint64_t ttl_ms, unsigned number, bool *known) {
    struct model_stream *s = &m->stream;
    model_pass(m);
    *known = s->there && id >= 0 && s->ids[id].offset && m->now_ms - s->ids[id].at_ms < m->ids_ms;
    if (*known)
        return s->ids[id].offset;
    if (!s->there)
        begin(m, rule);
    s->first = first_readable(m);
    collapse(s, key);
    s->rule = rule;
    s->last_ms = m->now_ms;
    s->entries[++s->top] =
        (struct model_entry){true, key, bytes, ttl_ms ? m->now_ms + ttl_ms : 0, number};
    if (id >= 0) {
        s->ids[id].offset = s->top;
        s->ids[id].at_ms = m->now_ms;
    }
    while (s->first < s->top &&
           (s->top - s->first + 1 > rule->size || bytes_from(s, s->first) > rule->bytes))
        s->first++;
    return s->top;
}

static void without(struct model_result *out, enum bh_history_outcome outcome) {
    out->outcome = outcome;
    out->since = out->top;
}

static void all_behind(const struct model_stream *s, uint64_t since, struct model_result *out) {
    out->since = since;
    for (uint64_t i = since + 1; i <= s->top; i++)
        out->offsets[out->count++] = i;
}

void model_read(struct model *m, const struct bh_history_rule *rule, bool epoch_given, bool known,
                uint64_t offset, uint32_t limit, size_t bytes, struct model_result *out) {
    struct model_stream *s = &m->stream;
    model_pass(m);
    if (!s->there)
        begin(m, rule);
    uint64_t first = first_readable(m);
    memset(out, 0, sizeof *out);
    out->top = s->top;
    if (s->rule->latest) {
        bool has_it = epoch_given && known && offset == s->top;
        offset = has_it || first > s->top ? s->top : s->top - 1;
        known = true;
    } else if (!epoch_given) {
        without(out, BH_HISTORY_NEW);
        return;
    }
    offset = offset > s->floor ? offset : s->floor;
    if (!known || offset > s->top || offset + 1 < first || s->top - offset > limit ||
        bytes_from(s, offset + 1) > bytes)
        without(out, BH_HISTORY_GAP);
    else
        all_behind(s, offset, out);
}

static bool is_visible(const struct model *m, uint64_t offset) {
    const struct model_entry *e = &m->stream.entries[offset];
    return e->data && (e->until_ms == 0 || m->now_ms < e->until_ms);
}

void model_page(struct model *m, bool ascending, bool epoch_given, bool known, uint64_t offset,
                uint32_t limit, size_t most, struct model_result *out) {
    struct model_stream *s = &m->stream;
    size_t bytes = 0;
    model_pass(m);
    memset(out, 0, sizeof *out);
    out->gap = epoch_given && (!s->there || !known || offset > s->top);
    if (!s->there)
        return;
    out->top = s->top;
    bool at = epoch_given && !out->gap;
    uint64_t low = first_readable(m), high = s->top;
    if (ascending && at) {
        offset = offset > s->floor ? offset : s->floor;
        out->gap = offset + 1 < low;
        low = out->gap ? low : offset + 1;
    } else if (at) {
        high = offset ? offset - 1 : 0;
    }
    for (uint64_t n = 0; low + n <= high; n++) {
        uint64_t i = ascending ? low + n : high - n;
        if (!is_visible(m, i))
            continue;
        bytes += s->entries[i].bytes;
        if (out->count >= limit || (out->count && bytes > most)) {
            out->more = true;
            return;
        }
        out->offsets[out->count++] = i;
    }
}

int64_t model_remove(struct model *m, bool known, uint64_t offset) {
    struct model_stream *s = &m->stream;
    int64_t count = 0;
    model_pass(m);
    if (!s->there || (offset && !known))
        return 0;
    uint64_t first = first_readable(m);
    if (offset) {
        if (offset < first || offset > s->top || !s->entries[offset].data)
            return 0;
        bury(&s->entries[offset]);
        return 1;
    }
    for (uint64_t i = first; i <= s->top; i++)
        count += s->entries[i].data;
    s->first = s->top + 1;
    s->floor = s->top;
    return count;
}

/* --- the play --- */

#define EPOCHS 256

static struct {
    const struct model_play *play;
    struct model model;
    const struct bh_history_rule *rule;
    struct bh_topic topic;
    uint64_t epochs[EPOCHS]; /* of the lives, the last ones; 0: not known yet */
    unsigned number;
    /* Of the last answer: */
    bool answered;
    int error;
    struct bh_appended appended;
    struct bh_range *range;
    bool gap, more;
    int64_t removed;
    struct bh_position top;
} fx;

static void on_answer(int error) {
    fx.answered = true;
    fx.error = error;
}

static void on_appended(void *ud, bh_handle handle, int error, const struct bh_appended *appended,
                        const char *why) {
    on_answer(error);
    if (!error)
        fx.appended = *appended;
}

static void on_range(void *ud, bh_handle handle, int error, struct bh_range *range,
                     const char *why) {
    on_answer(error);
    fx.range = error ? NULL : bh_range_ref(range);
}

static void on_page(void *ud, bh_handle handle, int error, struct bh_range *page, bool gap,
                    bool more, const char *why) {
    on_range(ud, handle, error, page, why);
    fx.gap = gap;
    fx.more = more;
}

static void on_removed(void *ud, bh_handle handle, int error, int64_t removed, const char *why) {
    on_answer(error);
    fx.removed = removed;
}

static void on_tops(void *ud, bh_handle handle, int error, const struct bh_position *tops,
                    size_t count) {
    on_answer(error);
    assert_int_equal(count, 1);
    fx.top = tops[0];
}

static void await(void) {
    while (!fx.answered)
        bh_loop_tick(fx.play->loop, true);
    fx.answered = false;
    assert_int_equal(fx.error, 0);
}

static uint32_t below(uint32_t n) {
    return test_random() % n;
}

/* The epoch of the life of the model's stream must be this one. */
static void check_epoch(uint64_t epoch) {
    uint64_t *known = &fx.epochs[fx.model.stream.life % EPOCHS];
    if (*known == 0)
        *known = epoch;
    assert_true(epoch == *known);
    for (unsigned i = 1; i < EPOCHS; i++)
        assert_true(fx.epochs[(fx.model.stream.life + i) % EPOCHS] != epoch);
}

/* Before an operation that may begin a life: the epoch of that one is not known. */
static void prepare(void) {
    fx.model.now_ms = fx.play->now_ms();
    model_pass(&fx.model);
    if (!fx.model.stream.there)
        fx.epochs[(fx.model.stream.life + 1) % EPOCHS] = 0;
}

/* A position that is right, near, far, of an older life, or nobody's. */
static struct bh_position some_position(bool *known) {
    const struct model_stream *s = &fx.model.stream;
    unsigned back = below(8) ? 0 : 1 + below(3);
    uint64_t epoch = s->there ? fx.epochs[(s->life - back) % EPOCHS] : 0;
    uint64_t offset = below(4) ? s->top - below((uint32_t)(s->top < 8 ? s->top + 1 : 8))
                               : below((uint32_t)s->top + 3);
    *known = epoch != 0 && back == 0 && s->life >= back;
    if (epoch == 0)
        epoch = 5;
    return (struct bh_position){epoch, offset};
}

static void check_message(const struct bh_message *m, uint64_t offset) {
    const struct model_entry *e = &fx.model.stream.entries[offset];
    char text[16];
    snprintf(text, sizeof text, "%u ", e->number);
    assert_true(m->position.offset == offset);
    check_epoch(m->position.epoch);
    assert_int_equal(m->kind, e->data ? BH_MESSAGE_DATA : BH_MESSAGE_TOMBSTONE);
    assert_true(m->stored_ms > 0);
    if (e->data)
        assert_true(bh_slice_starts(m->payload, bh_slice_cstr(text)));
}

static void check_range(const struct model_result *expected) {
    assert_int_equal(fx.range->count, expected->count);
    for (size_t i = 0; i < expected->count; i++)
        check_message(fx.range->messages[i], expected->offsets[i]);
    bh_range_unref(fx.range);
    fx.range = NULL;
}

static struct bh_message *some_message(int id, uint64_t ttl_ms) {
    static char payload[600];
    char id_text[16];
    size_t n = below(4) ? below(60) : below(500);
    int digits = snprintf(payload, sizeof payload, "%u ", ++fx.number);
    memset(payload + digits, 'x', n);
    snprintf(id_text, sizeof id_text, id < 0 ? "new%u" : "id%d", id < 0 ? fx.number : (unsigned)id);
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = &fx.topic,
                               .id = bh_slice_cstr(id_text),
                               .origin = BH_SLICE("origin"),
                               .expires_ms = ttl_ms ? fx.model.now_ms + ttl_ms : 0,
                               .payload = bh_slice(payload, (size_t)digits + n)};
    return bh_message_new(&parts);
}

static void append(void) {
    int id = below(3) ? (int)below(MODEL_IDS) : -1, key = below(3) ? -1 : (int)below(MODEL_KEYS);
    uint64_t ttl_ms = fx.play->pass && below(8) == 0 ? 1 + below(5000) : 0;
    char key_text[16] = "";
    bool known;
    prepare();
    struct bh_message *m = some_message(id, ttl_ms);
    if (key >= 0)
        snprintf(key_text, sizeof key_text, "key%d", key);
    if (!fx.model.stream.there || below(100) == 0)
        fx.rule = &fx.play->rules[below((uint32_t)fx.play->rule_count)];
    size_t bytes = TOMBSTONE_BYTES + m->id.n + m->origin.n + m->payload.n;
    uint64_t offset = model_append(&fx.model, fx.rule, id, key, bytes, ttl_ms, fx.number, &known);
    fx.play->history->vt->append(fx.play->history, 0, m, fx.rule, bh_slice_cstr(key_text),
                                 on_appended, NULL, 0);
    await();
    bh_message_unref(m);
    assert_true(fx.appended.position.offset == offset);
    assert_int_equal(fx.appended.known, known);
    check_epoch(fx.appended.position.epoch);
}

static void read_range(void) {
    static struct model_result expected;
    bool known;
    prepare();
    struct bh_position since = some_position(&known);
    bool given = below(10) != 0;
    uint32_t limit = below(4) ? 1000 : 1 + below(20);
    size_t bytes = below(4) ? 1 << 20 : below(2000);
    if (!fx.model.stream.there)
        fx.rule = &fx.play->rules[below((uint32_t)fx.play->rule_count)];
    if (!given)
        since = (struct bh_position){0};
    model_read(&fx.model, fx.rule, given, known, since.offset, limit, bytes, &expected);
    fx.play->history->vt->read(fx.play->history, &fx.topic, fx.rule, since, limit, bytes, on_range,
                               NULL, 0);
    await();
    assert_int_equal(fx.range->outcome, expected.outcome);
    assert_true(fx.range->top.offset == expected.top);
    if (expected.outcome == BH_HISTORY_OK)
        assert_true(fx.range->since.offset == expected.since);
    assert_false(fx.range->rewound);
    check_epoch(fx.range->top.epoch);
    check_range(&expected);
}

static void page(void) {
    static struct model_result expected;
    bool known;
    prepare();
    struct bh_page_query q = {.topic = fx.topic,
                              .from = some_position(&known),
                              .ascending = below(2) == 0,
                              .limit = 1 + below(20),
                              .bytes = below(4) ? 1 << 20 : below(2000)};
    if (below(3) == 0)
        q.from = (struct bh_position){0};
    model_page(&fx.model, q.ascending, q.from.epoch != 0, known, q.from.offset, q.limit, q.bytes,
               &expected);
    fx.play->history->vt->page(fx.play->history, 0, &q, on_page, NULL, 0);
    await();
    assert_int_equal(fx.gap, expected.gap);
    assert_int_equal(fx.more, expected.more);
    check_range(&expected);
}

static void remove_some(void) {
    bool known;
    prepare();
    struct bh_position at = some_position(&known);
    if (below(8) == 0)
        at.offset = 0;
    int64_t expected = model_remove(&fx.model, known, at.offset);
    fx.play->history->vt->remove(fx.play->history, 0, &fx.topic, at, on_removed, NULL, 0);
    await();
    assert_int_equal(fx.removed, expected);
}

static void look_at_top(void) {
    prepare();
    fx.play->history->vt->tops(fx.play->history, &fx.topic, 1, on_tops, NULL, 0);
    await();
    if (!fx.model.stream.there) {
        assert_true(fx.top.epoch == 0);
        return;
    }
    assert_true(fx.top.offset == fx.model.stream.top);
    check_epoch(fx.top.epoch);
}

static void pass_time(void) {
    if (fx.play->pass)
        fx.play->pass(below(30) ? below(200) : below((uint32_t)fx.play->pass_max_ms));
}

void model_play(const struct model_play *play, unsigned steps) {
    static void (*const some[])(void) = {append, append, append, append,      read_range,
                                         page,   append, append, look_at_top, pass_time};
    memset(&fx, 0, sizeof fx);
    fx.play = play;
    fx.model.ids_ms = play->ids_ms;
    fx.rule = play->rules;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(play->topic), &fx.topic), 0);
    for (unsigned i = 0; i < steps && fx.model.stream.top + 1 < MODEL_ENTRIES; i++) {
        if (below(60) == 0)
            remove_some();
        else
            some[below(COUNT(some))]();
    }
}
