/* test_slots.c - slots of keys, as the specification and a real server have them. */
#include "redis_server.h"
#include "unit_test.h"

#include "cluster/slots.h"

static unsigned slot(const char *key) {
    return bh_redis_slot(bh_slice_cstr(key));
}

static void test_vectors(void **state) {
    assert_int_equal(slot("123456789"), 0x31c3);
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("bar"), 5061);
    assert_int_equal(slot(""), 0);
    assert_int_equal(bh_redis_slot(bh_slice(NULL, 0)), 0);
    assert_int_equal(slot("notification:42"), slot("{notification:42}:log"));
}

static const struct {
    const char *key, *hashed;
} tags[] = {
    {"{user1000}.following", "user1000"},
    {"{user1000}.followers", "user1000"},
    {"foo{{bar}}zap", "{bar"},
    {"foo{bar}{zap}", "bar"},
    {"{{a}}", "{a"},
    {"}{a}", "a"},
    {"a{b}c", "b"},
    {"a{ }", " "},
};

static const char *const untagged[] = {"foo{}{bar}", "{}", "{}{a}", "{a", "a}", "}{", "{", "}"};

static void test_hash_tags(void **state) {
    for (size_t i = 0; i < COUNT(tags); i++) {
        struct bh_slice exact = test_exact(bh_slice_cstr(tags[i].key));
        if (bh_redis_slot(exact) != slot(tags[i].hashed))
            fail_msg("%s", tags[i].key);
        test_exact_free(exact);
    }
    assert_int_not_equal(slot("foo{}{bar}"), slot("bar"));
    assert_int_equal(slot("foo{}{bar}"), 8363);
    assert_int_not_equal(slot("{a"), slot("a"));
}

static void test_groups(void **state) {
    assert_int_equal(BH_REDIS_GROUPS, 16);
    assert_int_equal(bh_redis_group(0), 0);
    assert_int_equal(bh_redis_group(1023), 0);
    assert_int_equal(bh_redis_group(1024), 1);
    assert_int_equal(bh_redis_group(BH_REDIS_SLOTS - 1), 15);
}

/* --- tags for slots --- */

static bool is_it(const void *ud, unsigned s) {
    return s == *(const unsigned *)ud;
}

static bool is_none(const void *ud, unsigned s) {
    return false;
}

static void test_each_slot_has_a_tag(void **state) {
    char tag[BH_REDIS_SLOT_TAG_MAX], key[64];
    for (unsigned s = 0; s < BH_REDIS_SLOTS; s++) {
        assert_true(bh_redis_slot_tag(is_it, &s, tag));
        snprintf(key, sizeof key, "bellhop:probe:me:{%s}", tag);
        assert_int_equal(slot(key), s);
    }
    assert_false(bh_redis_slot_tag(is_none, NULL, tag));
}

/* --- a real server --- */

static unsigned ask(redisContext *c, struct bh_slice key) {
    redisReply *r = redisCommand(c, "CLUSTER KEYSLOT %b", key.p, key.n);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_INTEGER);
    unsigned answer = (unsigned)r->integer;
    freeReplyObject(r);
    return answer;
}

static void check(redisContext *c, struct bh_slice key) {
    if (ask(c, key) != bh_redis_slot(key))
        fail_msg("%.*s", BH_SLICE_ARG(key));
}

static void test_as_a_server(void **state) {
    if (test_redis_major() < 7)
        skip(); /* no option for the port of the bus */
    char bus_port[8], nodes[96];
    struct test_redis server;
    if (test_redis_major() < 7)
        skip(); /* the port of the bus cannot be chosen */
    test_redis_start(&server);
    test_redis_kill(&server);
    snprintf(bus_port, sizeof bus_port, "%u", test_free_port());
    snprintf(nodes, sizeof nodes, "%s/nodes.conf", server.dir);
    const char *const options[] = {"--cluster-enabled", "yes", "--cluster-port", bus_port};
    memcpy(server.options, options, sizeof options);
    test_redis_run(&server);
    redisContext *c = test_redis_client(&server);
    for (size_t i = 0; i < COUNT(tags); i++)
        check(c, bh_slice_cstr(tags[i].key));
    for (size_t i = 0; i < COUNT(untagged); i++)
        check(c, bh_slice_cstr(untagged[i]));
    for (unsigned i = 0; i < 2000; i++) {
        char key[40];
        size_t n = test_random() % sizeof key;
        for (size_t k = 0; k < n; k++)
            key[k] = test_random() % 8 ? (char)test_random() : "{}"[test_random() % 2];
        check(c, bh_slice(key, n));
    }
    redisFree(c);
    unlink(nodes);
    test_redis_stop(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),     cmocka_unit_test(test_hash_tags),
        cmocka_unit_test(test_groups),      cmocka_unit_test(test_each_slot_has_a_tag),
        cmocka_unit_test(test_as_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
