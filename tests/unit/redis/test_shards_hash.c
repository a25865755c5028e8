/* test_shards_hash.c - which node a topic lives on: values of another implementation, even shares,
 * and what moves when a node is removed. Nothing is connected here. */
#include "broker/broker.h"
#include "broker/shards.h"
#include "unit_test.h"

#include "bellhop/base/mem.h"

#define NODES  3
#define SECRET "s3cret-of-the-nodes"

#define X32 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const char *const vector_nodes[NODES] = {"redis-a.example:6379/0", "[::1]:6380/2",
                                                "/run/redis/c.sock"};

/* From an implementation in another language; external publishers rely on these values. */
static const struct {
    const char *topic;
    uint64_t weights[NODES];
    unsigned node;
} vectors[] = {
    {"all", {0x732e7e2b7cc12475, 0x1cbd23a058f53bc8, 0x44228767f24db161}, 0},
    {"user:1", {0xbe38e43e832e635b, 0xce43417c6d8d5adf, 0x1f273461c7c41f6d}, 1},
    {"user:42", {0x884d179001b64002, 0x229772744c0e2640, 0x83164ee30c2a9609}, 0},
    {"user:9223372036854775807", {0x8d7c4e089b211ee8, 0x91417cc8f6ab9cd3, 0x0ff3c5f57c5ec726}, 1},
    {"user:0b9e6f3c-5d1a-4c3e-9a58-1f2e3d4c5b6a",
     {0x486e1dd41717d0c4, 0x29068410db3f1c1d, 0x492bfbb8ef75f3fd},
     2},
    {"user:us-east-1:0a1b", {0x52b67893d7855569, 0x11773938203a6699, 0xc3328ebde7cd443a}, 2},
    {"tenant:a/b", {0x6696f69ccf60c09a, 0xb570cad4d3bafe9b, 0x002d383dee8ac36c}, 1},
    {"tenant:7", {0xfb02be084ac8b0de, 0xaa6f70ff022109fe, 0xb1b5d0e1f8aee0cb}, 0},
    {"tenant:acme.example", {0x413dc5fa0bee6f52, 0x51241256481eefbc, 0xfe27a9e22e806809}, 2},
    {"topic:news", {0x02a4a18c991776e3, 0x890d5c832493084b, 0x318fb39b274ce96c}, 1},
    {"topic:news/eu", {0x06520e9f4662d6a2, 0x4951d2a7ba5d6a1d, 0x8e1d3c2e4a8fd852}, 2},
    {"topic:" X32 X32 X32 X32, {0x64350e503183c4cb, 0x21d3cc7743932114, 0x7f6abdbdbd1d2d11}, 2},
};
#define VECTORS COUNT(vectors)

static const struct bh_redis_config vector_configs[NODES] = {
    {.host = "redis-a.example", .port = 6379, .instance = "one"},
    {.host = "::1", .port = 6380, .database = 2, .instance = "one"},
    {.unix_path = "/run/redis/c.sock", .database = 1, .instance = "one"},
};

static unsigned shard_of(struct bh_broker *b, const char *topic) {
    return b->vt->shard_of(b, bh_slice_cstr(topic));
}

static void assert_name(const struct bh_redis_config *c, const char *expected) {
    char *name = bh_redis_shard_name(c);
    assert_string_equal(name, expected);
    bh_free(name);
}

static void test_names(void **state) {
    for (unsigned i = 0; i < NODES; i++)
        assert_name(&vector_configs[i], vector_nodes[i]);
    assert_name(&(struct bh_redis_config){.host = "A.b", .port = 1, .password = SECRET}, "A.b:1/0");
    assert_name(&(struct bh_redis_config){.host = "a", .port = 65535, .database = 2147483647},
                "a:65535/2147483647");
    assert_name(&(struct bh_redis_config){.sentinels = "a:26379,b:26379",
                                          .master = "shard-1",
                                          .port = 6379,
                                          .sentinel_password = SECRET,
                                          .database = 3},
                "shard-1/3");
}

static void test_weights(void **state) {
    for (unsigned v = 0; v < VECTORS; v++)
        for (unsigned n = 0; n < NODES; n++)
            assert_int_equal(bh_redis_shard_weight(bh_slice_cstr(vector_nodes[n]),
                                                   bh_slice_cstr(vectors[v].topic)),
                             vectors[v].weights[n]);
    assert_int_equal(bh_redis_shard_weight(BH_SLICE("/run/r\xc3\xa9"
                                                    "dis.sock"),
                                           BH_SLICE("topic:news")),
                     0x714a19be3d402589);
}

/* Shards are numbered in the order of their names, independent of the list. */
static void test_order_means_nothing(void **state) {
    static const unsigned orders[][NODES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                             {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const unsigned rank[NODES] = {2, 1, 0}; /* '/' < '[' < 'r' */
    for (unsigned o = 0; o < COUNT(orders); o++) {
        struct bh_redis_config configs[NODES];
        for (unsigned n = 0; n < NODES; n++)
            configs[n] = vector_configs[orders[o][n]];
        struct bh_broker *b = bh_redis_shards_new(configs, NODES, 1);
        assert_non_null(b);
        assert_true(b->vt->shared);
        for (unsigned v = 0; v < VECTORS; v++)
            assert_int_equal(shard_of(b, vectors[v].topic), rank[vectors[v].node]);
        b->vt->free(b);
    }
}

static void test_what_is_refused(void **state) {
    struct bh_redis_config many[BH_SHARDS_MAX + 1],
        twins[] = {vector_configs[0], vector_configs[1], vector_configs[0]};
    for (unsigned i = 0; i <= BH_SHARDS_MAX; i++)
        many[i] = (struct bh_redis_config){.host = "h", .port = (uint16_t)(1 + i), .instance = "i"};
    assert_null(bh_redis_shards_new(many, 0, 1));
    assert_null(bh_redis_shards_new(many, BH_SHARDS_MAX + 1, 1));
    assert_null(bh_redis_shards_new(twins, 3, 1));
    struct bh_broker *b = bh_redis_shards_new(many, BH_SHARDS_MAX, 1);
    assert_non_null(b);
    b->vt->free(b);
}

static void test_one_node_is_the_plain_broker(void **state) {
    struct bh_broker *b = bh_redis_shards_new(vector_configs, 1, 1);
    assert_null(b->vt->shard_of);
    assert_ptr_equal(bh_redis_broker_commands(b), bh_redis_node_commands(b));
    b->vt->free(b);
}

#define MANY 10000

static struct bh_broker *numbered(unsigned first_port, unsigned count) {
    struct bh_redis_config configs[BH_SHARDS_MAX];
    for (unsigned i = 0; i < count; i++)
        configs[i] = (struct bh_redis_config){
            .host = "10.0.0.1", .port = (uint16_t)(first_port + i), .instance = "one"};
    return bh_redis_shards_new(configs, count, 1);
}

static unsigned shard_of_nth(struct bh_broker *b, unsigned i) {
    static const char *const spaces[] = {"user:%u", "tenant:%u", "topic:t/%u"};
    char topic[32];
    snprintf(topic, sizeof topic, spaces[i % 3], i);
    return shard_of(b, topic);
}

/* A share is binomial: five standard deviations around the mean are 236 of 10,000 over 3. */
static void test_shares_are_even(void **state) {
    struct bh_broker *b = numbered(7001, 3);
    unsigned count[3] = {0};
    for (unsigned i = 0; i < MANY; i++)
        count[shard_of_nth(b, i)]++;
    for (unsigned n = 0; n < 3; n++)
        assert_in_range(count[n], MANY / 3 - 236, MANY / 3 + 236);
    b->vt->free(b);
}

/* Ports 7001, 7002, 7003 against 7002, 7003: topics of the others stay where they are. */
static void test_a_node_moves_only_its_own_topics(void **state) {
    struct bh_broker *three = numbered(7001, 3), *two = numbered(7002, 2);
    unsigned moved[2] = {0};
    for (unsigned i = 0; i < MANY; i++) {
        unsigned before = shard_of_nth(three, i), after = shard_of_nth(two, i);
        if (before == 0)
            moved[after]++;
        else
            assert_int_equal(after, before - 1);
    }
    assert_in_range(moved[0], MANY / 6 - 250, MANY / 6 + 250);
    assert_in_range(moved[1], MANY / 6 - 250, MANY / 6 + 250);
    three->vt->free(three);
    two->vt->free(two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_order_means_nothing),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_one_node_is_the_plain_broker),
        cmocka_unit_test(test_shares_are_even),
        cmocka_unit_test(test_a_node_moves_only_its_own_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
