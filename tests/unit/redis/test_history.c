/* test_history.c - the history on a real Redis: appends, reads, pages, removals, tops; by functions
 * and by scripts. */
#include "history_test.h"

static const struct bh_position none = {0};

static void append_and_read(void) {
    struct gateway *g = &fx->g;
    struct appended a = {0};
    open_history();
    start_append("user:42", "a", "one", &a);
    WAIT_UNTIL(a.count && g->messages == 1);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.result.position.offset, 1);
    assert_int_equal(a.result.receivers, 1);
    assert_false(a.result.known);
    struct bh_message *echo = g->last;
    assert_true(bh_position_eq(echo->position, a.result.position));
    assert_int_equal(echo->flags, BH_MESSAGE_ECHO | BH_MESSAGE_POSITION);
    assert_true(bh_slice_eq(echo->id, BH_SLICE("a")));
    assert_true(bh_slice_eq(echo->origin, BH_SLICE("one")));
    assert_true(bh_slice_eq(echo->payload, BH_SLICE("one")));
    assert_in_range(echo->stored_ms, (uint64_t)bh_clock_wall_ms() - 60000,
                    (uint64_t)bh_clock_wall_ms() + 60000);
    append("user:42", "b", "two");
    struct bh_position third = append("user:42", "c", "three");
    assert_int_equal(third.offset, 3);
    assert_true(third.epoch == a.result.position.epoch);

    struct ranged r = read_behind("user:42", a.result.position);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_string_equal(payloads(r.range), "two,three");
    assert_true(bh_position_eq(r.range->top, third));
    assert_true(bh_position_eq(r.range->since, a.result.position));
    assert_true(bh_position_eq(r.range->messages[1]->position, third));
    assert_false(r.range->rewound);
    release(&r);
    r = read_behind("user:42", third);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_int_equal(r.range->count, 0);
    release(&r);
}

static void known_ids(void) {
    open_history();
    struct bh_position first = append("user:42", "a", "one");
    append("user:42", "b", "two");
    struct appended again = {0};
    int64_t known = counted(BH_REDIS_HISTORY_KNOWN);
    start_append("user:42", "a", "one", &again);
    WAIT_UNTIL(again.count);
    assert_int_equal(again.error, 0);
    assert_true(again.result.known);
    assert_true(bh_position_eq(again.result.position, first));
    assert_int_equal(counted(BH_REDIS_HISTORY_KNOWN), known + 1);
    assert_int_equal(test_redis_do(&fx->redis, "LLEN {notification:42}:log"), 2);
}

static void outcomes_of_reads(void) {
    open_history();
    struct ranged r = read_behind("user:new", none);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_NEW);
    assert_true(r.range->top.epoch != 0 && r.range->top.offset == 0);
    struct bh_position begun = r.range->top;
    release(&r);
    append("user:new", "a", "one");
    r = read_behind("user:new", begun);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_string_equal(payloads(r.range), "one");
    release(&r);
    r = read_behind("user:new", (struct bh_position){.epoch = 5, .offset = 1});
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP);
    assert_true(r.range->top.epoch == begun.epoch && r.range->top.offset == 1);
    release(&r);
    append("user:new", "b", "two");
    append("user:new", "c", "three");
    start_read("user:new", begun, 2, 1024, &r);
    WAIT_UNTIL(r.count);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP); /* more than the limit */
    release(&r);
    start_read("user:new", begun, 3, 100, &r);
    WAIT_UNTIL(r.count);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP); /* more than the bytes */
    release(&r);
}

/* The entry is behind every position but its own. */
static void latest(void) {
    static const uint64_t epochs[] = {0, 5, UINT64_MAX};
    open_history();
    hx.rule.latest = true;
    hx.rule.size = 1;
    struct ranged r = read_behind("user:42", none);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_int_equal(r.range->count, 0);
    release(&r);
    append("user:42", "a", "one");
    append("user:42", "b", "two");
    struct bh_position top = append("user:42", "c", "three");
    for (int i = 0; i < 3; i++) {
        struct bh_position since = {epochs[i] == UINT64_MAX ? top.epoch : epochs[i], 1};
        r = read_behind("user:42", since);
        assert_int_equal(r.range->outcome, BH_HISTORY_OK);
        assert_string_equal(payloads(r.range), "three");
        assert_false(r.range->rewound);
        release(&r);
    }
    r = read_behind("user:42", top);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_int_equal(r.range->count, 0);
    release(&r);
}

static void pages_and_removals(void) {
    struct gateway *g = &fx->g;
    open_history();
    struct bh_position second, last = none;
    append("user:42", "a", "one");
    second = append("user:42", "b", "two");
    append("user:42", "c", "three");
    last = append("user:42", "d", "four");
    struct ranged p = read_page("user:42", false, none, 2);
    assert_int_equal(p.error, 0);
    assert_string_equal(payloads(p.range), "four,three");
    assert_true(p.more && !p.gap);
    release(&p);
    p = read_page("user:42", true, second, 9);
    assert_string_equal(payloads(p.range), "three,four");
    assert_false(p.more);
    release(&p);
    WAIT_UNTIL(g->messages == 4);

    struct removed removed = remove_one("user:42", (struct bh_position){second.epoch, 3});
    assert_int_equal(removed.error, 0);
    assert_int_equal(removed.removed, 1);
    WAIT_UNTIL(g->messages == 5);
    assert_int_equal(g->last->kind, BH_MESSAGE_PURGE);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("3")));
    struct ranged r = read_behind("user:42", second);
    assert_string_equal(payloads(r.range), "-,four");
    release(&r);
    p = read_page("user:42", true, none, 9);
    assert_string_equal(payloads(p.range), "one,two,four");
    release(&p);

    removed = remove_one("user:42", none);
    assert_int_equal(removed.removed, 3);
    WAIT_UNTIL(g->messages == 6);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("all")));
    r = read_behind("user:42", second);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_int_equal(r.range->count, 0);
    assert_true(bh_position_eq(r.range->top, last));
    release(&r);
    p = read_page("user:none", false, none, 9);
    assert_int_equal(p.error, 0);
    assert_int_equal(p.range->count, 0);
    assert_false(p.gap);
    release(&p);
    removed = remove_one("user:none", none);
    assert_int_equal(removed.error + (int)removed.removed, 0);
}

static void collapse(void) {
    struct gateway *g = &fx->g;
    struct appended a = {0};
    open_history();
    struct bh_position before = append("user:42", "a", "zero");
    append_collapsed("user:42", "b", "one", "score", &a);
    append_collapsed("user:42", "c", "two", "score", &a);
    WAIT_UNTIL(a.count == 2 && g->messages == 4); /* the PURGE of the first, too */
    struct ranged r = read_behind("user:42", before);
    assert_string_equal(payloads(r.range), "-,two");
    release(&r);
}

static void tops(void) {
    static const char *const topics[] = {"user:none", "user:42", "user:a:b"};
    struct topped t;
    open_history();
    append("user:42", "a", "one");
    struct bh_position top = append("user:42", "b", "two");
    struct bh_position other = append("user:a:b", "c", "three");
    start_tops(topics, 3, &t);
    WAIT_UNTIL(t.count);
    assert_int_equal(t.error, 0);
    assert_int_equal(t.tops, 3);
    assert_true(t.top[0].epoch == 0);
    assert_true(bh_position_eq(t.top[1], top));
    assert_true(bh_position_eq(t.top[2], other));
    start_tops(topics, 0, &t);
    assert_int_equal(t.count, 1);
}

#define BOTH(name)                                                                                 \
    static void test_##name(void **state) {                                                        \
        name();                                                                                    \
    }                                                                                              \
    static void test_##name##_by_scripts(void **state) {                                           \
        name();                                                                                    \
    }
BOTH(append_and_read)
BOTH(known_ids)
BOTH(outcomes_of_reads)
BOTH(latest)
BOTH(pages_and_removals)
BOTH(collapse)
BOTH(tops)

/* --- what is left of a message's time --- */

/* As if it had been appended 50 s ago. */
static void make_older(char *entry) {
    char *at = entry + BH_ENVELOPE_HEAD + 16;
    uint64_t ms = 0;
    for (int i = 0; i < 8; i++)
        ms = ms << 8 | (unsigned char)at[i];
    ms -= 50000;
    for (int i = 7; i >= 0; i--, ms >>= 8)
        at[i] = (char)ms;
}

static void test_ttl_counts_from_the_append(void **state) {
    struct gateway *g = &fx->g;
    struct appended a = {0};
    open_history();
    struct bh_message *m = stream_message("user:42", "a", BH_SLICE("x"));
    m->expires_ms = bh_loop_now(g->loop) + 60000;
    hx.vt->append(hx.base, 0, m, &hx.rule, BH_SLICE(""), NULL, NULL, 0);
    bh_message_unref(m);
    start_append("user:42", "b", "y", &a);
    WAIT_UNTIL(a.count);
    struct bh_position begin = {a.result.position.epoch, 0};
    change_entry(0, make_older);
    struct ranged got = read_behind("user:42", begin);
    assert_string_equal(payloads(got.range), "x,y");
    uint64_t now = bh_loop_now(g->loop), left = got.range->messages[0]->expires_ms - now;
    assert_in_range(left, 1, 10000);
    assert_int_equal(got.range->messages[1]->expires_ms, 0);
    release(&got);
}

/* --- hostile logs --- */

static void break_opcode(char *entry) {
    entry[5] = 9;
}

static void test_malformed_entries_are_a_gap(void **state) {
    open_history();
    int64_t malformed = counted(BH_REDIS_HISTORY_MALFORMED);
    struct bh_position first = append("user:42", "a", "one");
    append("user:42", "b", "two");
    struct bh_position top = append("user:42", "c", "three");
    change_entry(1, break_opcode);
    struct ranged r = read_behind("user:42", first);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP);
    assert_int_equal(r.range->count, 0);
    assert_true(bh_position_eq(r.range->top, top));
    release(&r);
    struct ranged p = read_page("user:42", true, none, 9);
    assert_int_equal(p.error, 0);
    assert_string_equal(payloads(p.range), "one,three");
    release(&p);
    assert_int_equal(counted(BH_REDIS_HISTORY_MALFORMED), malformed + 2);
}

/* A message of a plain PUBLISH, and of an instance without history, arrive as ever. */
static void test_others_on_the_channel(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_history();
    publish(g, "user:42", BH_SLICE("x"), &d);
    WAIT_UNTIL(d.count && g->messages == 1);
    assert_true(g->last->position.epoch == 0);
    test_redis_do(&fx->redis, "PUBLISH notification:42 y");
    WAIT_UNTIL(g->messages == 2);
    assert_int_equal(g->last->flags, BH_MESSAGE_RAW);
}

static void test_plain_backends(void **state) {
    struct gateway *g = &fx->g;
    if (test_redis_major() < 7)
        skip(); /* no functions */
    open_history();
    append("user:42", "a", "one");
    test_redis_do(&fx->redis,
                  "FCALL bellhop_publish 2 {notification:42}:log {notification:42}:m %s",
                  "{\"n\":1}");
    WAIT_UNTIL(g->messages == 2);
    assert_int_equal(g->last->flags, BH_MESSAGE_RAW | BH_MESSAGE_POSITION);
    assert_int_equal(g->last->opcode, BH_TEXT);
    assert_int_equal(g->last->position.offset, 2);
    assert_int_equal(g->last->id.n + g->last->origin.n, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown_history)
#define S(name) cmocka_unit_test_setup_teardown(name, setup_old_history, teardown_history)
    const struct CMUnitTest tests[] = {
        T(test_append_and_read),
        S(test_append_and_read_by_scripts),
        T(test_known_ids),
        S(test_known_ids_by_scripts),
        T(test_outcomes_of_reads),
        S(test_outcomes_of_reads_by_scripts),
        T(test_latest),
        S(test_latest_by_scripts),
        T(test_pages_and_removals),
        S(test_pages_and_removals_by_scripts),
        T(test_collapse),
        S(test_collapse_by_scripts),
        T(test_tops),
        S(test_tops_by_scripts),
        T(test_ttl_counts_from_the_append),
        T(test_malformed_entries_are_a_gap),
        T(test_others_on_the_channel),
        T(test_plain_backends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
