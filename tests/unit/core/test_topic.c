/* Topics: valid names, names and channels, and that the mapping is one to one. */
#include "bellhop/core/topic.h"

#include "core_test.h"

static const struct bh_slice prefix = {BH_CHANNEL_PREFIX, sizeof BH_CHANNEL_PREFIX - 1};

static const struct {
    enum bh_topic_kind kind;
    const char *id, *name, *channel;
} spellings[] = {
    {BH_TOPIC_USER, "42", "user:42", "notification:42"},
    {BH_TOPIC_USER, "tenant", "user:tenant", "notification:tenant"},
    {BH_TOPIC_USER, "all", "user:all", "notification:all"},
    {BH_TOPIC_USER, "a.b_c@d-E", "user:a.b_c@d-E", "notification:a.b_c@d-E"},
    {BH_TOPIC_USER, "9223372036854775807", "user:9223372036854775807",
     "notification:9223372036854775807"},
    {BH_TOPIC_USER, "auth0|5f7c", "user:auth0|5f7c", "notification:auth0|5f7c"},
    {BH_TOPIC_USER, "tenant:7", "user:tenant:7", "notification:tenant%3A7"},
    {BH_TOPIC_USER, "a/b", "user:a/b", "notification:a%2Fb"},
    {BH_TOPIC_USER, "tenant%3A7", "user:tenant%3A7", "notification:tenant%253A7"},
    {BH_TOPIC_TENANT, "7", "tenant:7", "notification:tenant:7"},
    {BH_TOPIC_TENANT, "{7}", "tenant:{7}", "notification:tenant:%7B7%7D"},
    {BH_TOPIC_TENANT, "a/b", "tenant:a/b", "notification:tenant:a%2Fb"},
    {BH_TOPIC_TOPIC, "user:42", "topic:user:42", "notification:topic:user%3A42"},
    {BH_TOPIC_TENANT, "broadcast", "tenant:broadcast", "notification:tenant:broadcast"},
    {BH_TOPIC_TOPIC, "news/eu", "topic:news/eu", "notification:topic:news/eu"},
    {BH_TOPIC_TOPIC, "broadcast", "topic:broadcast", "notification:topic:broadcast"},
    {BH_TOPIC_ALL, "", "all", "notification:broadcast"},
};

static void assert_same(const struct bh_topic *a, const struct bh_topic *b) {
    assert_int_equal(a->kind, b->kind);
    assert_true(bh_slice_eq(bh_topic_name(a), bh_topic_name(b)));
    assert_int_equal(b->name[b->len], 0);
}

static void each_spelling_goes_there_and_back(void **state) {
    for (size_t i = 0; i < COUNT(spellings); i++) {
        struct bh_topic made, again;
        char channel[BH_CHANNEL_MAX + 1];
        struct bh_slice id = test_exact(bh_slice_cstr(spellings[i].id));
        assert_int_equal(bh_topic_make(spellings[i].kind, id, &made, NULL), 0);
        test_exact_free(id);
        assert_int_equal(made.kind, spellings[i].kind);
        assert_string_equal(made.name, spellings[i].name);
        assert_slice(bh_topic_id(&made), spellings[i].id);
        assert_int_equal(bh_topic_to_channel(&made, prefix, channel), strlen(spellings[i].channel));
        assert_string_equal(channel, spellings[i].channel);
        assert_int_equal(bh_topic_from_channel(bh_slice_cstr(channel), prefix, &again), 0);
        assert_same(&made, &again);
        assert_int_equal(bh_topic_parse(bh_slice_cstr(spellings[i].name), &again), 0);
        assert_same(&made, &again);
    }
}

static void the_longest_id_fits_with_the_longest_prefix(void **state) {
    struct bh_topic t, again;
    char channel[BH_CHANNEL_MAX + 1], long_prefix[64];
    memset(long_prefix, 'p', sizeof long_prefix);
    struct bh_slice p = bh_slice(long_prefix, sizeof long_prefix);
    for (int i = BH_TOPIC_USER; i <= 2 * BH_TOPIC_TOPIC + 1; i++) {
        enum bh_topic_kind kind = (enum bh_topic_kind)(i / 2);
        size_t most = kind == BH_TOPIC_TOPIC ? 255 : 128;
        struct bh_slice longest = test_long_id(i & 1 ? '%' : 'x', most);
        assert_int_equal(bh_topic_make(kind, longest, &t, NULL), 0);
        assert_int_equal(strlen(t.name), t.len);
        size_t n = bh_topic_to_channel(&t, p, channel);
        assert_int_equal(strlen(channel), n);
        assert_int_equal(bh_topic_from_channel(bh_slice(channel, n), p, &again), 0);
        assert_same(&t, &again);
        assert_int_equal(bh_topic_parse(bh_topic_name(&t), &again), 0);
        assert_same(&t, &again);
        const char *why = NULL;
        assert_int_equal(bh_topic_make(kind, test_long_id('x', most + 1), &t, &why), BH_EINVAL);
        assert_non_null(why);
    }
}

static void a_copy_needs_the_bytes_in_use_only(void **state) {
    for (size_t n = 1; n <= 255; n++) {
        struct bh_topic t;
        assert_int_equal(bh_topic_make(BH_TOPIC_TOPIC, test_long_id('%', n), &t, NULL), 0);
        void *room = malloc(bh_topic_size(&t)); /* which a sanitizer guards */
        struct bh_topic *copy = bh_topic_copy(room, &t);
        assert_same(&t, copy);
        assert_int_equal(copy->form, t.form);
        free(room);
    }
}

static void an_empty_prefix_is_a_prefix(void **state) {
    struct bh_topic t;
    char channel[BH_CHANNEL_MAX + 1];
    struct bh_slice none = {0};
    t = test_topic("tenant:7");
    bh_topic_to_channel(&t, none, channel);
    assert_string_equal(channel, "tenant:7");
    assert_int_equal(bh_topic_from_channel(BH_SLICE("broadcast"), none, &t), 0);
    assert_int_equal(t.kind, BH_TOPIC_ALL);
}

static void an_id_never_names_another_channel(void **state) {
    const char *const bad[] = {"",      "a b",       "a\n",          "\xc3",
                               "a\x7f", "a\xc2\xa0", "\xe2\x80\xae", "broadcast"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_topic t;
        const char *why = NULL;
        assert_int_equal(bh_topic_make(BH_TOPIC_USER, bh_slice_cstr(bad[i]), &t, &why), BH_EINVAL);
        assert_non_null(why);
    }
    struct bh_topic t;
    assert_int_equal(bh_topic_make(BH_TOPIC_USER, bh_slice("a\0b", 3), &t, NULL), BH_EINVAL);
    const char *const names[] = {"tenant:7",    "topic:x", "tenant:broadcast",
                                 "%62roadcast", "*",       "?"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char channel[BH_CHANNEL_MAX + 1];
        assert_int_equal(bh_topic_make(BH_TOPIC_USER, bh_slice_cstr(names[i]), &t, NULL), 0);
        size_t n = bh_topic_to_channel(&t, prefix, channel);
        assert_int_equal(bh_topic_from_channel(bh_slice(channel, n), prefix, &t), 0);
        assert_int_equal(t.kind, BH_TOPIC_USER);
        assert_slice(bh_topic_id(&t), names[i]);
    }
}

static void foreign_names_and_channels_are_refused(void **state) {
    const char *const names[] = {"",     "user", "user:", "user:broadcast", "tenant:",  "topic:",
                                 "all:", "allx", "42",    "USER:42",        "topic:a b"};
    const char *const channels[] = {"",
                                    "notification",
                                    "notification:",
                                    "Notification:42",
                                    "other:42",
                                    "notification:tenant:",
                                    "notification:topic:",
                                    "notification:user:42",
                                    "notification:a/b",
                                    "notification:tenant:a:b",
                                    "notification:tenant:a/b",
                                    "notification:tenant%3a7",
                                    "notification:%34%32",
                                    "notification:topic:a%2Fb",
                                    "notification:{42}",
                                    "notification:broadcast:x"};
    struct bh_topic t;
    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(bh_topic_parse(bh_slice_cstr(names[i]), &t), BH_EINVAL);
    for (size_t i = 0; i < COUNT(channels); i++) {
        struct bh_slice channel = test_exact(bh_slice_cstr(channels[i]));
        assert_int_equal(bh_topic_from_channel(channel, prefix, &t), BH_EINVAL);
        test_exact_free(channel);
    }
}

static void random_channels_map_back_to_themselves_or_are_refused(void **state) {
    static const char alphabet[] = "ab:/tenant:topic:broadcast.@*\n%%%%3A25F27B{}";
    for (int round = 0; round < 100000; round++) {
        char bytes[256];
        memcpy(bytes, prefix.p, prefix.n);
        size_t n = prefix.n + test_random() % 40;
        for (size_t i = prefix.n; i < n; i++)
            bytes[i] = alphabet[test_random() % (sizeof alphabet - 1)];
        struct bh_slice channel = test_exact(bh_slice(bytes, n));
        struct bh_topic t;
        if (bh_topic_from_channel(channel, prefix, &t) == 0) {
            char again[BH_CHANNEL_MAX + 1];
            size_t length = bh_topic_to_channel(&t, prefix, again);
            assert_true(bh_slice_eq(bh_slice(again, length), channel));
        }
        test_exact_free(channel);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_spelling_goes_there_and_back),
        cmocka_unit_test(the_longest_id_fits_with_the_longest_prefix),
        cmocka_unit_test(a_copy_needs_the_bytes_in_use_only),
        cmocka_unit_test(an_empty_prefix_is_a_prefix),
        cmocka_unit_test(an_id_never_names_another_channel),
        cmocka_unit_test(foreign_names_and_channels_are_refused),
        cmocka_unit_test(random_channels_map_back_to_themselves_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
