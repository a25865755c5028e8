/* Identities are checked copies; connection ids are parsed and printed. */
#include "bellhop/core/subscriber.h"

#include "core_test.h"

static void an_identity_is_a_copy(void **state) {
    struct bh_slice user = test_exact(BH_SLICE("42")), tenant = test_exact(BH_SLICE("7")),
                    device = test_exact(BH_SLICE("phone \xf0\x9f\x93\xb1"));
    struct bh_slice topics[] = {test_exact(BH_SLICE("news/eu")), test_exact(BH_SLICE("a"))};
    struct bh_tag tags[] = {{test_exact(BH_SLICE("role")), test_exact(BH_SLICE("admin"))},
                            {test_exact(BH_SLICE("empty")), test_exact(BH_SLICE(""))}};
    struct bh_identity parts = {user, tenant, device, 123, topics, tags, 2, 2, {5, 6, 7}, 2, 1},
                       *id;
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    struct bh_slice all[] = {user,         tenant,        device,       topics[0],    topics[1],
                             tags[0].name, tags[0].value, tags[1].name, tags[1].value};
    for (size_t i = 0; i < COUNT(all); i++)
        test_exact_free(all[i]);
    memset(topics, 0, sizeof topics);
    memset(tags, 0, sizeof tags);
    assert_slice(id->user, "42");
    assert_slice(id->tenant, "7");
    assert_slice(id->device, "phone \xf0\x9f\x93\xb1");
    assert_int_equal(id->expires, 123);
    assert_int_equal(id->limits.queue_bytes, 7);
    assert_int_equal(id->named, 2);
    assert_int_equal(id->gained, 1);
    assert_int_equal(id->topic_count, 2);
    assert_slice(id->topics[0], "news/eu");
    assert_slice(id->topics[1], "a");
    assert_int_equal(id->tag_count, 2);
    assert_slice(id->tags[0].name, "role");
    assert_slice(id->tags[0].value, "admin");
    assert_slice(id->tags[1].name, "empty");
    assert_slice(id->tags[1].value, "");
    bh_identity_free(id);
}

static void nobody_is_somebody(void **state) {
    struct bh_identity parts = {0}, *id;
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    assert_int_equal(id->user.n + id->tenant.n + id->device.n, 0);
    assert_int_equal(id->topic_count + id->tag_count, 0);
    bh_identity_free(id);
    bh_identity_free(NULL);
}

static void refused(const struct bh_identity *parts) {
    struct bh_identity *id = NULL;
    const char *why = NULL;
    assert_int_equal(bh_identity_new(parts, &id, &why), BH_EINVAL);
    assert_int_equal(bh_identity_new(parts, &id, NULL), BH_EINVAL);
    assert_null(id);
    assert_non_null(why);
}

static void bad_ids_are_refused(void **state) {
    struct bh_slice topics[] = {BH_SLICE("fine"), BH_SLICE("not fine")};
    refused(&(struct bh_identity){.user = BH_SLICE("a b")});
    refused(&(struct bh_identity){.user = BH_SLICE("broadcast")});
    refused(&(struct bh_identity){.user = test_long_id('u', 129)});
    refused(&(struct bh_identity){.tenant = BH_SLICE("a\n")});
    refused(&(struct bh_identity){.device = test_long_id('d', 129)});
    refused(&(struct bh_identity){.topics = topics, .topic_count = 2});
}

static void sizes_are_bounded(void **state) {
    enum { MANY = 300 };
    static struct bh_slice topics[MANY];
    static struct bh_tag tags[MANY];
    struct bh_identity *id;
    for (size_t i = 0; i < MANY; i++) {
        topics[i] = BH_SLICE("t");
        tags[i] = (struct bh_tag){BH_SLICE("n"), BH_SLICE("v")};
    }
    struct bh_identity parts = {
        .topics = topics, .topic_count = 256, .tags = tags, .tag_count = 32};
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    bh_identity_free(id);
    refused(&(struct bh_identity){.topics = topics, .topic_count = 257});
    refused(&(struct bh_identity){.tags = tags, .tag_count = 33});
    tags[0].value = test_long_id('v', 256);
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    bh_identity_free(id);
    tags[0].value = test_long_id('v', 257);
    refused(&(struct bh_identity){.tags = tags, .tag_count = 1});
    tags[0] = (struct bh_tag){test_long_id('n', 257), BH_SLICE("v")};
    refused(&(struct bh_identity){.tags = tags, .tag_count = 1});
}

static void connection_ids_go_there_and_back(void **state) {
    for (int i = 0; i < 10000; i++) {
        uint64_t number = (uint64_t)test_random() << 32 | test_random(), again = 0;
        if (i < 64)
            number = UINT64_C(1) << i;
        char id[BH_CONNECTION_ID_LEN + 1];
        bh_connection_id(number, id);
        assert_int_equal(strlen(id), BH_CONNECTION_ID_LEN);
        struct bh_slice exact = test_exact(bh_slice(id, BH_CONNECTION_ID_LEN));
        assert_int_equal(bh_connection_number(exact, &again), 0);
        test_exact_free(exact);
        assert_true(number == again);
    }
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(UINT64_C(0x0102030405060708), id);
    assert_string_equal(id, "AQIDBAUGBwg");
}

static void strange_connection_ids_are_refused(void **state) {
    const char *const bad[] = {
        "",
        "A",
        "AQIDBAUGBw",   /* short */
        "AQIDBAUGBwgA", /* long */
        "AQIDBAUGBwg=", /* padded */
        "AAAAAAAAAAA",  /* 0 is nobody */
        "AQIDBAUGBwh",  /* stray bits: two spellings of one id */
        "AQIDBAUGB+g",  /* the other alphabet */
        "AQIDBAUG wg",
        "AQIDBAUG\nwg",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t number = 77;
        struct bh_slice exact = test_exact(bh_slice_cstr(bad[i]));
        assert_int_equal(bh_connection_number(exact, &number), BH_EINVAL);
        test_exact_free(exact);
        assert_int_equal(number, 77);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identity_is_a_copy),
        cmocka_unit_test(nobody_is_somebody),
        cmocka_unit_test(bad_ids_are_refused),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(connection_ids_go_there_and_back),
        cmocka_unit_test(strange_connection_ids_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
