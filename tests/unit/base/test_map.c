/* The map against a plain array as its model, its memory, and the hash against OpenSSL's. */
#include "bellhop/base/map.h"

#include "bellhop/base/error.h"
#include "siphash.h"
#include "unit_test.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

struct thing {
    char name[16];
    size_t len;
    bool in_map;
};

static struct bh_slice thing_key(const void *value) {
    const struct thing *t = value;
    return bh_slice(t->name, t->len);
}

static struct thing *make_things(size_t n) {
    struct thing *things = calloc(n, sizeof *things);
    for (size_t i = 0; i < n; i++)
        things[i].len = (size_t)snprintf(things[i].name, sizeof things[i].name, "%zu", i);
    return things;
}

static void an_empty_map_has_nothing(void **state) {
    struct bh_map m;
    size_t cursor = 0;
    bh_map_init(&m, thing_key);
    assert_null(m.pairs);
    assert_null(bh_map_get(&m, BH_SLICE("a")));
    assert_null(bh_map_remove(&m, BH_SLICE("a")));
    assert_null(bh_map_next(&m, &cursor));
    bh_map_deinit(&m);
    bh_map_deinit(&m);
}

static void puts_gets_removes(void **state) {
    struct bh_map m;
    struct thing a = {"a", 1, 0}, empty = {"", 0, 0}, nul = {"a\0b", 3, 0}, twin = {"a", 1, 0};
    bh_map_init(&m, thing_key);
    assert_int_equal(bh_map_put(&m, &a), 0);
    assert_int_equal(bh_map_put(&m, &empty), 0);
    assert_int_equal(bh_map_put(&m, &nul), 0);
    assert_int_equal(bh_map_put(&m, &twin), BH_EEXIST);
    assert_int_equal(m.count, 3);
    assert_ptr_equal(bh_map_get(&m, BH_SLICE("a")), &a);
    assert_ptr_equal(bh_map_get(&m, bh_slice(NULL, 0)), &empty);
    assert_ptr_equal(bh_map_get(&m, bh_slice("a\0b", 3)), &nul);
    assert_null(bh_map_get(&m, bh_slice("a\0", 2)));
    assert_ptr_equal(bh_map_remove(&m, BH_SLICE("a")), &a);
    assert_null(bh_map_remove(&m, BH_SLICE("a")));
    assert_int_equal(bh_map_put(&m, &twin), 0);
    assert_ptr_equal(bh_map_get(&m, BH_SLICE("a")), &twin);
    bh_map_deinit(&m);
}

static void assert_agrees(const struct bh_map *m, const struct thing *things, size_t n) {
    size_t count = 0, cursor = 0, seen = 0;
    for (size_t i = 0; i < n; i++) {
        count += things[i].in_map;
        assert_ptr_equal(bh_map_get(m, thing_key(&things[i])),
                         things[i].in_map ? (const void *)&things[i] : NULL);
    }
    assert_int_equal(m->count, count);
    for (struct thing *t; (t = bh_map_next(m, &cursor)); seen++)
        assert_true(t->in_map);
    assert_int_equal(seen, count);
}

static void agrees_with_a_model_under_churn(void **state) {
    enum { N = 300 };
    struct thing *things = make_things(N);
    struct bh_map m;
    bh_map_init(&m, thing_key);
    for (int round = 0; round < 60000; round++) {
        /* Phases that mostly fill and mostly drain, so that every size is crossed both ways. */
        bool put = test_random() % 10 < (round / 5000 % 2 ? 3u : 7u);
        struct thing *t = &things[test_random() % N];
        if (put)
            assert_int_equal(bh_map_put(&m, t), t->in_map ? BH_EEXIST : 0);
        else
            assert_ptr_equal(bh_map_remove(&m, thing_key(t)), t->in_map ? t : NULL);
        t->in_map = put;
        if (round % 500 == 0)
            assert_agrees(&m, things, N);
    }
    assert_agrees(&m, things, N);
    bh_map_deinit(&m);
    free(things);
}

static void gives_memory_back(void **state) {
    enum { N = 100000 };
    struct thing *things = make_things(N);
    struct bh_map m;
    bh_map_init(&m, thing_key);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(bh_map_put(&m, &things[i]), 0);
        assert_true(m.count * 4 <= (m.mask + 1) * 3);
    }
    for (size_t i = 0; i < N; i++) {
        assert_ptr_equal(bh_map_remove(&m, thing_key(&things[i])), &things[i]);
        assert_true(m.mask + 1 <= 8 || m.count * 16 + 16 >= m.mask + 1);
    }
    assert_int_equal(m.count, 0);
    assert_true(m.mask + 1 <= 16);
    bh_map_deinit(&m);
    free(things);
}

/* Below its table's edge a run wraps around; holes in a wrapped run are where deletion errs. */
static void removal_keeps_wrapped_runs(void **state) {
    for (int round = 0; round < 2000; round++) {
        struct thing things[6];
        struct bh_map m;
        bh_map_init(&m, thing_key);
        for (size_t i = 0; i < COUNT(things); i++) {
            memset(&things[i], 0, sizeof things[i]);
            things[i].len =
                (size_t)snprintf(things[i].name, 16, "%zu-%u", i, (unsigned)test_random() % 100000);
            assert_int_equal(bh_map_put(&m, &things[i]), 0);
            things[i].in_map = true;
        }
        assert_int_equal(m.mask, 7);
        for (size_t i = 0; i < COUNT(things); i++) {
            size_t victim = (i * 5 + (size_t)round) % COUNT(things);
            assert_ptr_equal(bh_map_remove(&m, thing_key(&things[victim])), &things[victim]);
            things[victim].in_map = false;
            assert_agrees(&m, things, COUNT(things));
        }
        bh_map_deinit(&m);
    }
}

static uint64_t reference_siphash13(const uint64_t key[2], struct bh_slice s) {
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    assert_non_null(mac);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    unsigned size = 8, c_rounds = 1, d_rounds = 3;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_SIZE, &size),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &c_rounds),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &d_rounds),
        OSSL_PARAM_construct_end(),
    };
    uint64_t keys[2] = {htole64(key[0]), htole64(key[1])}, out = 0;
    size_t out_len = 0;
    assert_int_equal(EVP_MAC_init(ctx, (unsigned char *)keys, sizeof keys, params), 1);
    assert_int_equal(EVP_MAC_update(ctx, (const unsigned char *)s.p, s.n), 1);
    assert_int_equal(EVP_MAC_final(ctx, (unsigned char *)&out, &out_len, sizeof out), 1);
    assert_int_equal(out_len, 8);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return le64toh(out);
}

static void hash_is_siphash_1_3(void **state) {
    for (size_t n = 0; n < 300; n++) {
        char bytes[300];
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)test_random();
        uint64_t key[2] = {(uint64_t)test_random() << 32 | test_random(), test_random()};
        struct bh_slice s = test_exact(bh_slice(bytes, n));
        assert_true(bh_siphash13(key, s) == reference_siphash13(key, s));
        test_exact_free(s);
    }
}

static void hash_is_keyed_and_constant_within_the_process(void **state) {
    static const uint64_t zero[2];
    assert_true(bh_hash(BH_SLICE("42")) == bh_hash(BH_SLICE("42")));
    assert_true(bh_hash(BH_SLICE("42")) != bh_siphash13(zero, BH_SLICE("42")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(puts_gets_removes),
        cmocka_unit_test(agrees_with_a_model_under_churn),
        cmocka_unit_test(gives_memory_back),
        cmocka_unit_test(removal_keeps_wrapped_runs),
        cmocka_unit_test(hash_is_siphash_1_3),
        cmocka_unit_test(hash_is_keyed_and_constant_within_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
