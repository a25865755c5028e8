/* test_map.c - maps of slots from replies, and redirections. */
#include "unit_test.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/mem.h"

#include "broker/broker.h"
#include "cluster/map.h"
#include "link/reply.h"

static struct {
    struct bh_redis_config config;
    struct bh_redis_reader reader;
    unsigned made;
    const char *why;
} fx;

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    fx.config = (struct bh_redis_config){.cluster = "seed:6379",
                                         .password = "secret",
                                         .channel_prefix = "notification:",
                                         .instance = "test"};
    bh_redis_reader_init(&fx.reader);
    return 0;
}

static int teardown(void **state) {
    bh_redis_reader_deinit(&fx.reader);
    return 0;
}

static struct bh_redis_cluster_master *make(void *ud, const char *host, uint16_t port) {
    assert_ptr_equal(ud, &fx);
    fx.made++;
    return bh_redis_cluster_master_new(&fx.config, 1, host, port);
}

static struct bh_redis_cluster_map *parse_with(const char *text,
                                               const struct bh_redis_cluster_map *known) {
    const struct bh_reply *reply;
    bh_redis_reader_reset(&fx.reader);
    bh_redis_reader_feed(&fx.reader, bh_slice_cstr(text));
    assert_int_equal(bh_redis_reader_next(&fx.reader, &reply), 1);
    fx.why = NULL;
    struct bh_redis_cluster_map *map =
        bh_redis_cluster_map_parse(reply, "asked.example", known, make, &fx, &fx.why);
    assert_int_equal(map == NULL, fx.why != NULL);
    return map;
}

static struct bh_redis_cluster_map *parse(const char *text) {
    return parse_with(text, NULL);
}

#define ID          "$40\r\n0123456789012345678901234567890123456789\r\n"
#define A           "*3\r\n$8\r\n10.0.0.1\r\n:6379\r\n" ID
#define B           "*4\r\n$3\r\n::1\r\n:7000\r\n" ID "*0\r\n"
#define RANGE(a, b) "*3\r\n:" #a "\r\n:" #b "\r\n"

static bool is_master(const struct bh_redis_cluster_map *map, unsigned slot, const char *host,
                      unsigned port) {
    const struct bh_redis_cluster_master *m = map->masters[map->owner[slot]];
    return m->port == port && strcmp(m->host, host) == 0;
}

static void test_masters(void **state) {
    struct bh_redis_cluster_map *map =
        parse("*3\r\n" RANGE(0, 99) A RANGE(100, 16382) B "*4\r\n:16383\r\n:16383\r\n" A B);
    assert_int_equal(map->count, 2);
    assert_int_equal(fx.made, 2);
    assert_true(is_master(map, 0, "10.0.0.1", 6379));
    assert_true(is_master(map, 99, "10.0.0.1", 6379));
    assert_true(is_master(map, 100, "::1", 7000));
    assert_true(is_master(map, 16382, "::1", 7000));
    assert_true(is_master(map, 16383, "10.0.0.1", 6379));
    assert_false(bh_redis_cluster_map_incomplete(map));
    assert_int_equal(bh_redis_cluster_map_find(map, BH_SLICE("::1"), 7000), map->owner[100]);
    assert_int_equal(bh_redis_cluster_map_find(map, BH_SLICE("::1"), 7001), BH_REDIS_NOBODY);
    assert_int_equal(bh_redis_cluster_map_find(map, BH_SLICE("::"), 7000), BH_REDIS_NOBODY);
    const struct bh_redis_config *node = bh_redis_node_config(map->masters[0]->broker);
    assert_string_equal(node->host, "10.0.0.1");
    assert_int_equal(node->port, 6379);
    assert_string_equal(node->password, "secret");
    assert_null(node->cluster);
    assert_true(node->sharded);
    bh_redis_cluster_map_unref(map);
}

static void test_known_masters_stay(void **state) {
    struct bh_redis_cluster_map *old = parse("*2\r\n" RANGE(0, 99) A RANGE(100, 16383) B);
    struct bh_redis_cluster_map *new = parse_with("*1\r\n" RANGE(0, 16383) B, old);
    assert_int_equal(fx.made, 2);
    assert_int_equal(new->count, 1);
    assert_ptr_equal(new->masters[0], old->masters[1]);
    bh_redis_cluster_map_unref(bh_redis_cluster_map_ref(old));
    bh_redis_cluster_map_unref(old);
    assert_true(is_master(new, 5, "::1", 7000));
    bh_redis_cluster_map_unref(new);
    bh_redis_cluster_map_unref(NULL);
    bh_redis_cluster_master_unref(NULL);
}

static void test_slots_without_a_master(void **state) {
    static const char *const replies[] = {
        "*0\r\n",
        "*1\r\n" RANGE(0, 16382) A,
        "*1\r\n" RANGE(1, 16383) A,
        "*2\r\n" RANGE(0, 7) A RANGE(9, 16383) A,
        "*1\r\n" RANGE(0, 16383) "*2\r\n$1\r\n?\r\n:6379\r\n",
        "*1\r\n" RANGE(0, 16383) "*2\r\n$1\r\na\r\n:0\r\n",
        "*1\r\n" RANGE(0, 16383) "*4\r\n$1\r\n?\r\n:6379\r\n" ID "*1\r\n$2\r\nip\r\n",
        "*1\r\n" RANGE(0, 16383) "*4\r\n$1\r\n?\r\n:6379\r\n" ID "*2\r\n$2\r\nip\r\n:1\r\n",
        "*1\r\n" RANGE(0, 16383) "*4\r\n$1\r\n?\r\n:6379\r\n" ID "*2\r\n$2\r\nip\r\n$0\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(replies); i++) {
        struct bh_redis_cluster_map *map = parse(replies[i]);
        assert_non_null(map);
        assert_true(bh_redis_cluster_map_incomplete(map));
        bh_redis_cluster_map_unref(map);
    }
}

static void test_hosts(void **state) {
    static const struct {
        const char *node, *host;
    } cases[] = {
        {"*2\r\n$0\r\n\r\n:1\r\n", "asked.example"},
        {"*2\r\n$-1\r\n:1\r\n", "asked.example"},
        {"*4\r\n$-1\r\n:1\r\n" ID "*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n", "asked.example"},
        {"*4\r\n$1\r\n?\r\n:1\r\n" ID "*4\r\n$1\r\nx\r\n$1\r\ny\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n",
         "1.2.3.4"},
        {"*4\r\n$1\r\nh\r\n:1\r\n" ID "*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n", "h"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_bytes text = {0};
        bh_bytes_addf(&text, "*1\r\n" RANGE(0, 16383) "%s", cases[i].node);
        bh_bytes_addc(&text, '\0');
        struct bh_redis_cluster_map *map = parse(text.p);
        assert_non_null(map);
        assert_true(is_master(map, 7, cases[i].host, 1));
        bh_redis_cluster_map_unref(map);
        bh_bytes_free(&text);
    }
}

/* --- hostile --- */

static void test_malformed(void **state) {
    static const char *const replies[] = {
        "-ERR no\r\n",
        "+OK\r\n",
        "$-1\r\n",
        "*-1\r\n",
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
        "*1\r\n" RANGE(0, 16384) A,
        "*1\r\n" RANGE(-1, 5) A,
        "*1\r\n" RANGE(6, 5) A,
        "*1\r\n" RANGE(0, 9223372036854775807) A,
        "*1\r\n" RANGE(9223372036854775807, 9223372036854775807) A,
        "*1\r\n*3\r\n$1\r\n0\r\n:5\r\n" A,
        "*2\r\n" RANGE(0, 5) A RANGE(5, 9) B,
        "*2\r\n" RANGE(0, 5) A RANGE(5, 9) A,
        "*2\r\n" RANGE(0, 16383) A RANGE(0, 16383) B,
        "*1\r\n" RANGE(0, 5) "*0\r\n",
        "*1\r\n" RANGE(0, 5) "*1\r\n$1\r\na\r\n",
        "*1\r\n" RANGE(0, 5) "*2\r\n$1\r\na\r\n$1\r\n1\r\n",
        "*1\r\n" RANGE(0, 5) "*2\r\n$1\r\na\r\n:-1\r\n",
        "*1\r\n" RANGE(0, 5) "*2\r\n$1\r\na\r\n:65536\r\n",
        "*1\r\n" RANGE(0, 5) "*2\r\n$2\r\na\n\r\n:1\r\n",
        "*1\r\n" RANGE(0, 5) "$1\r\na\r\n",
    };
    for (size_t i = 0; i < COUNT(replies); i++)
        if (parse(replies[i]))
            fail_msg("accepted: %s", replies[i]);
}

/* `count` ranges of one slot, each of a master of its own. */
static struct bh_redis_cluster_map *parse_many(unsigned count, unsigned host_bytes) {
    struct bh_bytes text = {0};
    bh_bytes_addf(&text, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++)
        bh_bytes_addf(&text, "*3\r\n:%u\r\n:%u\r\n*2\r\n$%u\r\n%0*u\r\n:%u\r\n", i, i, host_bytes,
                      (int)host_bytes, 1, i + 1);
    bh_bytes_addc(&text, '\0');
    struct bh_redis_cluster_map *map = parse(text.p);
    bh_bytes_free(&text);
    return map;
}

static void test_limits(void **state) {
    struct bh_redis_cluster_map *map = parse_many(BH_REDIS_MASTERS_MAX, 5);
    assert_int_equal(map->count, BH_REDIS_MASTERS_MAX);
    bh_redis_cluster_map_unref(map);
    assert_null(parse_many(BH_REDIS_MASTERS_MAX + 1, 5));
    assert_non_null(strstr(fx.why, "1000 masters"));
    assert_null(parse_many(BH_REDIS_SLOTS + 1, 5));
    assert_null(parse_many(1, 256));
    map = parse_many(1, 255);
    assert_int_equal(strlen(map->masters[0]->host), 255);
    bh_redis_cluster_map_unref(map);
}

/* --- redirections --- */

static void test_redirections(void **state) {
    static const struct {
        const char *error, *host;
        unsigned slot, port;
        bool ask;
    } cases[] = {
        {"MOVED 3999 127.0.0.1:6381", "127.0.0.1", 3999, 6381, false},
        {"ASK 0 127.0.0.1:1", "127.0.0.1", 0, 1, true},
        {"MOVED 16383 ::1:65535", "::1", 16383, 65535, false},
        {"MOVED 1 :6379", "", 1, 6379, false},
        {"ASK 1 redis-1.example:6379", "redis-1.example", 1, 6379, true},
        {"MOVED 1 ?:6379", "?", 1, 6379, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_redis_redirection r;
        struct bh_slice exact = test_exact(bh_slice_cstr(cases[i].error));
        assert_true(bh_redis_redirection_parse(exact, &r));
        assert_slice(r.host, cases[i].host);
        assert_int_equal(r.slot, cases[i].slot);
        assert_int_equal(r.port, cases[i].port);
        assert_int_equal(r.ask, cases[i].ask);
        test_exact_free(exact);
    }
}

static void test_no_redirections(void **state) {
    static const char *const errors[] = {
        "",
        "MOVED",
        "MOVED ",
        "MOVED 1",
        "MOVED 1 ",
        "MOVED 1 a",
        "MOVED 1 a:",
        "MOVED 1 a:0",
        "MOVED 1 a:65536",
        "MOVED 1 a:x",
        "MOVED 1 a:1 ",
        "MOVED 1 a\n:1",
        "MOVED 16384 a:1",
        "MOVED -1 a:1",
        "MOVED x a:1",
        "MOVED  1 a:1",
        "moved 1 a:1",
        "ASKING 1 a:1",
        "ERR MOVED 1 a:1",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    };
    struct bh_redis_redirection r;
    for (size_t i = 0; i < COUNT(errors); i++) {
        struct bh_slice exact = test_exact(bh_slice_cstr(errors[i]));
        if (bh_redis_redirection_parse(exact, &r))
            fail_msg("accepted: %s", errors[i]);
        test_exact_free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_masters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_masters_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slots_without_a_master, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test(test_redirections),
        cmocka_unit_test(test_no_redirections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
