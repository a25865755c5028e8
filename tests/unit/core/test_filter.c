/* Filters: valid ones, which identities match, and that every delivery applies them. */
#include "bellhop/core/filter.h"

#include "node_test.h"

static struct bh_slice filter_bytes(char byte, size_t n) {
    static char bytes[2][512];
    static int turn;
    char *at = bytes[turn ^= 1];
    memset(at, byte, n);
    return bh_slice(at, n);
}

static int add(struct bh_buf **filter, const char *name, const char *value) {
    const char *why = NULL;
    int error = bh_filter_add(filter, bh_slice_cstr(name), bh_slice_cstr(value), &why);
    assert_true(!why == !error);
    return error;
}

/* Of "name=value name=value". */
static struct bh_buf *filter_of(const char *text) {
    struct bh_slice rest = bh_slice_cstr(text), word, name;
    struct bh_buf *filter = NULL;
    const char *why;
    while (bh_slice_split(&rest, ' ', &word)) {
        bh_slice_split(&word, '=', &name);
        assert_int_equal(bh_filter_add(&filter, name, word, &why), 0);
    }
    return filter;
}

static struct bh_identity *tagged(const char *user, const char *text) {
    struct bh_slice rest = bh_slice_cstr(text), word;
    struct bh_tag tags[8];
    struct bh_identity parts = {.user = bh_slice_cstr(user), .tenant = BH_SLICE("7"), .tags = tags},
                       *out;
    while (*text && bh_slice_split(&rest, ' ', &word)) {
        struct bh_tag *tag = &tags[parts.tag_count++];
        bh_slice_split(&word, '=', &tag->name);
        tag->value = word;
    }
    assert_int_equal(bh_identity_new(&parts, &out, NULL), 0);
    return out;
}

/* --- the bytes --- */

static void the_layout_is_the_headers(void **state) {
    struct bh_buf *filter = filter_of("os=ios x=");
    struct bh_slice packed = bh_buf_slice(filter);
    assert_int_equal(packed.n, 12);
    assert_memory_equal(packed.p, "\2\0\3osios\1\0\0x", 12);
    assert_int_equal(bh_filter_check(packed), 0);
    struct bh_tag pair;
    assert_true(bh_filter_next(&packed, &pair));
    assert_slice(pair.name, "os");
    assert_slice(pair.value, "ios");
    assert_true(bh_filter_next(&packed, &pair));
    assert_slice(pair.name, "x");
    assert_int_equal(pair.value.n, 0);
    assert_false(bh_filter_next(&packed, &pair));
    bh_buf_unref(filter);
}

static void pairs_are_bounded(void **state) {
    struct bh_buf *filter = NULL;
    struct bh_tag pair;
    const char *why;
    assert_int_equal(add(&filter, "", "x"), BH_EINVAL);
    assert_null(filter);
    assert_int_equal(bh_filter_add(&filter, filter_bytes('n', 65), BH_SLICE("x"), &why), BH_EINVAL);
    assert_int_equal(bh_filter_add(&filter, BH_SLICE("x"), filter_bytes('v', 257), &why),
                     BH_EINVAL);
    for (int i = 0; i < 8; i++)
        assert_int_equal(bh_filter_add(&filter, filter_bytes((char)('a' + i), 64),
                                       filter_bytes((char)i, 256), &why),
                         0);
    assert_int_equal(filter->len, BH_FILTER_MAX);
    struct bh_slice packed = bh_buf_slice(filter);
    assert_int_equal(bh_filter_check(packed), 0);
    for (int i = 0; i < 8; i++) {
        assert_true(bh_filter_next(&packed, &pair));
        assert_true(bh_slice_eq(pair.name, filter_bytes((char)('a' + i), 64)));
        assert_true(bh_slice_eq(pair.value, filter_bytes((char)i, 256)));
    }
    assert_int_equal(add(&filter, "ninth", ""), BH_EINVAL);
    assert_int_equal(filter->len, BH_FILTER_MAX);
    bh_buf_unref(filter);
}

static void a_name_comes_once(void **state) {
    struct bh_buf *filter = filter_of("os=ios ver=2");
    assert_int_equal(add(&filter, "os", "android"), BH_EINVAL);
    assert_int_equal(add(&filter, "os", "ios"), BH_EINVAL);
    assert_int_equal(add(&filter, "OS", "ios"), 0);
    bh_buf_unref(filter);
}

static void what_comes_from_outside_is_checked(void **state) {
    static const struct {
        struct bh_slice bytes;
        int error;
    } cases[] = {
        {{NULL, 0}, 0},
        {{"\1\0\0x", 4}, 0},
        {{"\1", 1}, BH_EPROTO},
        {{"\1\0", 2}, BH_EPROTO},
        {{"\1\0\0", 3}, BH_EPROTO},
        {{"\0\0\0", 3}, BH_EPROTO},
        {{"\0\0\1v", 4}, BH_EPROTO},
        {{"\1\0\1x", 4}, BH_EPROTO},
        {{"\1\0\0xy", 5}, BH_EPROTO},
        {{"\1\0\0x\1\0\0x", 8}, BH_EPROTO},
        {{"\1\0\0x\1\0\0y", 8}, 0},
        {{"\1\xff\xffx", 4}, BH_EPROTO},
        {{"\1\0\0a\1\0\0b\1\0\0c\1\0\0d\1\0\0e\1\0\0f\1\0\0g\1\0\0h", 32}, 0},
        {{"\1\0\0a\1\0\0b\1\0\0c\1\0\0d\1\0\0e\1\0\0f\1\0\0g\1\0\0h\1\0\0i", 36}, BH_EPROTO},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_slice exact = test_exact(cases[i].bytes);
        assert_int_equal(bh_filter_check(exact), cases[i].error);
        test_exact_free(exact);
    }
    char pair[3 + 65 + 257] = {65, 0, 0};
    assert_int_equal(bh_filter_check(bh_slice(pair, 3 + 65)), BH_EPROTO);
    pair[0] = 64;
    assert_int_equal(bh_filter_check(bh_slice(pair, 3 + 64)), 0);
    pair[1] = 1;
    assert_int_equal(bh_filter_check(bh_slice(pair, 3 + 64 + 256)), 0);
    pair[2] = 1;
    assert_int_equal(bh_filter_check(bh_slice(pair, 3 + 64 + 257)), BH_EPROTO);
}

static bool matches(const char *filter, const char *tags) {
    struct bh_buf *packed = *filter ? filter_of(filter) : NULL;
    struct bh_identity *id = tagged("42", tags);
    bool result = bh_filter_matches(bh_buf_slice(packed), id);
    bh_identity_free(id);
    bh_buf_unref(packed);
    return result;
}

static void all_tags_must_be_equal(void **state) {
    assert_true(matches("", ""));
    assert_true(matches("", "os=ios"));
    assert_true(matches("os=ios", "os=ios"));
    assert_true(matches("os=ios", "a=b os=ios c=d"));
    assert_true(matches("os=ios ver=2", "ver=2 os=ios"));
    assert_true(matches("os=", "os="));
    assert_false(matches("os=ios", ""));
    assert_false(matches("os=", "")); /* an absent tag is not an empty one */
    assert_false(matches("os=ios", "os=android"));
    assert_false(matches("os=ios", "os=iosx"));
    assert_false(matches("os=iosx", "os=ios"));
    assert_false(matches("os=ios", "os=IOS"));
    assert_false(matches("os=ios", "o=ios osx=ios x=os"));
    assert_false(matches("os=ios ver=2", "os=ios"));
    assert_false(matches("os=ios ver=2", "os=ios ver=3"));
    assert_false(matches("os=ios ver=2", "os=linux ver=2"));
}

static void a_malformed_filter_matches_nobody(void **state) {
    struct bh_identity *id = tagged("42", "x=");
    assert_true(bh_filter_matches(bh_slice("\1\0\0x", 4), id));
    assert_false(bh_filter_matches(bh_slice("\1\0\0x\1", 5), id));
    assert_false(bh_filter_matches(bh_slice("\1", 1), id));
    bh_identity_free(id);
}

/* --- delivery --- */

static void opened_tagged(unsigned w, struct sub *sub, const char *user, const char *tags) {
    struct answer a = {0};
    bh_node_open(worker[w], &sub->s, tagged(user, tags), on_joined, &a, 77);
    all_live(user, &a);
}

/* On each worker one connection for each system, and one without tags. */
static void open_phones(void) {
    unsigned n = bh_node_worker_count(node);
    for (unsigned i = 0; i < n; i++) {
        opened_tagged(i, &subs[2 * i], "42", "os=ios ver=2");
        opened_tagged(i, &subs[2 * i + 1], "42", "os=android ver=2");
    }
    opened_tagged(0, &subs[7], "42", "");
}

static void assert_only_ios_got(const char *expected) {
    for (unsigned i = 0; i < bh_node_worker_count(node); i++) {
        assert_got(subs[2 * i], expected);
        assert_got(subs[2 * i + 1], "");
    }
    assert_got(subs[7], "");
}

static struct answer publish_filtered(const char *topic, const char *filter,
                                      enum bh_strategy strategy, const char *id) {
    struct bh_publish p = publish_of(topic, "hi");
    p.filter = filter_of(filter);
    p.strategy = (uint8_t)strategy;
    if (id)
        with_id(&p, id);
    return publish_and_settle(0, p);
}

static void every_strategy_applies_it(void **state) {
    static const char *const topics[] = {"user:42", "tenant:7", "all"};
    for (int s = BH_STRATEGY_DEFAULT; s <= BH_STRATEGY_LOCAL; s++) {
        for (int i = 0; i < 8; i++) {
            unsigned workers = i & 1 ? 3 : 1;
            node_up(workers, i & 2);
            broker.echo = true;
            open_phones();
            for (size_t t = 0; t < COUNT(topics); t++) {
                struct answer a = publish_filtered(topics[t], "os=ios", (enum bh_strategy)s,
                                                   i & 4 ? "key" : NULL);
                assert_int_equal(a.error, 0);
                assert_int_equal(a.local, workers); /* of 2 * workers + 1 */
                assert_int_equal(a.status, BH_PUBLISH_DELIVERED);
                assert_only_ios_got("hi ");
            }
            struct answer a = publish_filtered("user:42", "os=ios ver=3", (enum bh_strategy)s,
                                               i & 4 ? "key2" : NULL);
            assert_int_equal(a.local, 0);
            assert_int_not_equal(a.status, BH_PUBLISH_DELIVERED);
            assert_only_ios_got("");
            node_down();
        }
    }
}

static void it_travels_with_the_message(void **state) {
    node_up(3, true);
    open_phones();
    publish_filtered("user:42", "os=ios ver=2", BH_STRATEGY_REDIS, NULL);
    assert_only_ios_got("");
    assert_int_equal(broker.last->filter.n, 15);
    assert_memory_equal(broker.last->filter.p, "\2\0\3osios\3\0\1ver2", 15);
    broker.sink.on_message(broker.sink.ud, broker.last);
    settle();
    assert_only_ios_got("hi ");
    node_down();
}

static void what_comes_from_elsewhere_is_filtered(void **state) {
    node_up(3, true);
    open_phones();
    struct bh_topic to = test_topic("all");
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = &to,
                               .origin = BH_SLICE("elsewhere"),
                               .id = BH_SLICE("m"),
                               .filter = bh_slice("\2\0\3osios", 8),
                               .payload = BH_SLICE("hi")};
    struct bh_message *m = bh_message_new(&parts);
    broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
    settle();
    assert_only_ios_got("hi ");
    node_down();
}

static void with_except_both_count(void **state) {
    node_up(1, true);
    open_phones();
    opened_tagged(0, &subs[3], "42", "os=ios");
    struct bh_publish p = publish_of("user:42", "hi");
    p.filter = filter_of("os=ios");
    p.except = subs[0].s.number;
    assert_int_equal(publish_and_settle(0, p).local, 1);
    assert_got(subs[3], "hi ");
    assert_only_ios_got("");
    node_down();
}

static void add_filter(struct bh_publish *p) {
    bh_buf_unref(p->filter);
    p->filter = filter_of("os=ios");
}

static void the_hook_may_set_it(void **state) {
    node_up(1, true);
    with_hooks(BH_HOOK_PUBLISH | BH_HOOK_DELIVER);
    hooks.on_publish = add_filter;
    hooks.verdict = BH_DELIVER_REPLACED; /* the hook does not run for the others */
    open_phones();
    publish_and_settle(0, publish_of("user:42", "hi"));
    assert_only_ios_got("replaced ");
    publish_filtered("user:42", "os=android", BH_STRATEGY_DEFAULT, NULL);
    assert_only_ios_got("replaced ");
    hooks.publish_error = BH_EDENIED;
    assert_int_equal(publish_filtered("user:42", "os=ios", BH_STRATEGY_DEFAULT, NULL).error,
                     BH_EDENIED);
    node_down();
}

/* --- a message that the filter keeps from all --- */

static unsigned offline_calls;

static void on_offline(struct bh_hooks *h, struct bh_message *m, unsigned attempt,
                       bh_offline_cb done, void *ud, bh_handle handle) {
    offline_calls++;
    assert_int_equal(m->filter.n, 8);
    done(ud, handle, BH_OFFLINE_RETRY, 1000);
}

static void a_retry_has_the_same_filter(void **state) {
    node_up(1, true);
    with_hooks(0);
    hooks.vt.offline = on_offline;
    hooks.hooks.present |= BH_HOOK_OFFLINE;
    offline_calls = 0;
    broker.receivers = 0;
    opened_tagged(0, &subs[1], "42", "os=android");
    assert_int_equal(publish_filtered("user:42", "os=ios", BH_STRATEGY_DEFAULT, NULL).status,
                     BH_PUBLISH_OFFLINE);
    assert_int_equal(offline_calls, 1);
    pass(1100);
    assert_int_equal(offline_calls, 2);
    opened_tagged(0, &subs[0], "42", "os=ios");
    pass(1100);
    assert_only_ios_got("hi ");
    assert_int_equal(offline_calls, 2);
    node_down();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_the_headers),
        cmocka_unit_test(pairs_are_bounded),
        cmocka_unit_test(a_name_comes_once),
        cmocka_unit_test(what_comes_from_outside_is_checked),
        cmocka_unit_test(all_tags_must_be_equal),
        cmocka_unit_test(a_malformed_filter_matches_nobody),
        cmocka_unit_test(every_strategy_applies_it),
        cmocka_unit_test(it_travels_with_the_message),
        cmocka_unit_test(what_comes_from_elsewhere_is_filtered),
        cmocka_unit_test(with_except_both_count),
        cmocka_unit_test(the_hook_may_set_it),
        cmocka_unit_test(a_retry_has_the_same_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
