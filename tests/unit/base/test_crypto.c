/* Crypto: published vectors, and base64 with exactly one text for each value. */
#include "bellhop/base/crypto.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

static const char *hex(const unsigned char *p, int n) {
    static char text[2 * BH_DIGEST_MAX + 1];
    assert_in_range(n, 0, BH_DIGEST_MAX);
    bh_hex_encode(bh_slice(p, (size_t)n), text);
    text[2 * n] = '\0';
    return text;
}

static void digests_of_abc(void **state) {
    static const struct {
        const char *name, *digest;
    } cases[] = {
        {"md5", "900150983cd24fb0d6963f7d28e17f72"},
        {"sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"},
        {"sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"sha384", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                   "8086072ba1e7cc2358baeca134c825a7"},
        {"sha512", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                   "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
    };
    unsigned char out[BH_DIGEST_MAX];
    for (size_t i = 0; i < COUNT(cases); i++) {
        int n = bh_digest(cases[i].name, BH_SLICE("abc"), out);
        assert_string_equal(hex(out, n), cases[i].digest);
    }
}

static void digest_of_nothing(void **state) {
    unsigned char out[BH_DIGEST_MAX];
    int n = bh_digest("sha1", bh_slice(NULL, 0), out);
    assert_string_equal(hex(out, n), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    n = bh_hmac("sha256", bh_slice(NULL, 0), bh_slice(NULL, 0), out);
    assert_string_equal(hex(out, n),
                        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hmac_vectors(void **state) {
    struct bh_slice key = BH_SLICE("Jefe"), data = BH_SLICE("what do ya want for nothing?");
    unsigned char out[BH_DIGEST_MAX];
    int n = bh_hmac("md5", key, data, out);
    assert_string_equal(hex(out, n), "750c783e6ab0b503eaa86e310a5db738");
    n = bh_hmac("sha1", key, data, out);
    assert_string_equal(hex(out, n), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    n = bh_hmac("sha256", key, data, out);
    assert_string_equal(hex(out, n),
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void unknown_digests_are_refused(void **state) {
    static const char *const names[] = {"", "SHA1", "sha", "sha1 ", "sha3-256", "crc32"};
    unsigned char out[BH_DIGEST_MAX];
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(bh_digest(names[i], BH_SLICE("x"), out), BH_EINVAL);
        assert_int_equal(bh_hmac(names[i], BH_SLICE("k"), BH_SLICE("x"), out), BH_EINVAL);
    }
}

static void compares_in_constant_time(void **state) {
    assert_true(bh_equal_ct(BH_SLICE("secret"), BH_SLICE("secret")));
    assert_false(bh_equal_ct(BH_SLICE("secret"), BH_SLICE("secreT")));
    assert_false(bh_equal_ct(BH_SLICE("secret"), BH_SLICE("secre")));
    assert_true(bh_equal_ct(bh_slice(NULL, 0), BH_SLICE("")));
    assert_false(bh_equal_ct(bh_slice(NULL, 0), BH_SLICE("x")));
}

static void random_bytes_are_not_constant(void **state) {
    unsigned char a[32] = {0}, b[32] = {0};
    bh_random(a, sizeof a);
    bh_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    bh_random(a, 0);
}

/* Small draws come from a block: none is repeated, also across two blocks. */
static void small_draws_do_not_repeat(void **state) {
    static unsigned char drawn[500][16];
    for (size_t i = 0; i < COUNT(drawn); i++) {
        bh_random(drawn[i], 15);
        drawn[i][15] = 0;
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(drawn[i], drawn[k], 15);
    }
}

static void random_below_stays_below_and_reaches_all(void **state) {
    unsigned seen[7] = {0};
    for (int i = 0; i < 2000; i++) {
        uint32_t x = bh_random_below(COUNT(seen));
        assert_in_range(x, 0, COUNT(seen) - 1);
        seen[x]++;
    }
    for (size_t i = 0; i < COUNT(seen); i++)
        assert_true(seen[i] > 0);
    assert_int_equal(bh_random_below(1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(bh_random_below(0x80000001u) <= 0x80000000u);
}

static const struct {
    const char *plain, *base64, *base64url;
} pairs[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xfb\xff\xbf", "+/+/", "-_-_"},
};

static void base64_vectors(void **state) {
    char text[32];
    unsigned char back[32];
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct bh_slice plain = bh_slice_cstr(pairs[i].plain);
        size_t n = bh_base64_encode(plain, text);
        assert_int_equal(n, bh_base64_len(plain.n));
        assert_slice(bh_slice(text, n), pairs[i].base64);
        assert_int_equal(bh_base64_decode(bh_slice(text, n), back), plain.n);
        assert_memory_equal(back, plain.p, plain.n);
        n = bh_base64url_encode(plain, text);
        assert_slice(bh_slice(text, n), pairs[i].base64url);
        assert_int_equal(bh_base64url_decode(bh_slice(text, n), back), plain.n);
        assert_memory_equal(back, plain.p, plain.n);
    }
}

static void base64_is_strict(void **state) {
    static const char *const bad[] = {"Z",
                                      "Zg",
                                      "Zg=",
                                      "Zg===",
                                      "=",
                                      "==",
                                      "===",
                                      "====",
                                      "Z===",
                                      "Zh==",
                                      "Zm9=",
                                      "Zg==Z",
                                      "Zm 9v",
                                      "Zm9v ",
                                      " Zm9v",
                                      "Zm9v\n",
                                      "Zg==\n",
                                      "Zm-v",
                                      "Zm_v",
                                      "Zm9v=",
                                      "Z=g=",
                                      "=Zg=",
                                      "Zm\xc3"
                                      "v",
                                      "Zm9vZg==Zm9v"};
    unsigned char out[64];
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(bh_base64_decode(bh_slice_cstr(bad[i]), out), BH_EPROTO);
    assert_int_equal(bh_base64_decode(bh_slice("Zm9\0", 4), out), BH_EPROTO);
}

static void base64url_is_strict(void **state) {
    static const char *const bad[] = {"Z",    "Zg==", "Zg=",   "Zh",    "Zm9",
                                      "Zm+v", "Zm/v", "Zm9v ", "Zm9vZ", "Zm9v="};
    unsigned char out[64];
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(bh_base64url_decode(bh_slice_cstr(bad[i]), out), BH_EPROTO);
}

/* Every accepted text is the encoding of its value, so no value has two texts. */
static void no_value_has_two_texts(void **state) {
    static const char likely[] = "ABYZaz019+/-_=. \n";
    unsigned char value[64];
    char text[64];
    for (int round = 0; round < 200000; round++) {
        char s[9];
        size_t n = test_random() % sizeof s;
        for (size_t i = 0; i < n; i++)
            s[i] = likely[test_random() % (sizeof likely - 1)];
        struct bh_slice exact = test_exact(bh_slice(s, n));
        int decoded = bh_base64_decode(exact, value);
        if (decoded >= 0) {
            size_t len = bh_base64_encode(bh_slice(value, (size_t)decoded), text);
            assert_true(bh_slice_eq(bh_slice(text, len), exact));
        }
        decoded = bh_base64url_decode(exact, value);
        if (decoded >= 0) {
            size_t len = bh_base64url_encode(bh_slice(value, (size_t)decoded), text);
            assert_true(bh_slice_eq(bh_slice(text, len), exact));
        }
        test_exact_free(exact);
    }
}

static void base64_round_trips_every_length(void **state) {
    for (size_t n = 0; n < 200; n++) {
        char *plain = malloc(n + 1);
        bh_random(plain, n);
        char *text = malloc(bh_base64_len(n) + 1);
        unsigned char *back = malloc(3 * (bh_base64_len(n) + 3) / 4 + 1);
        size_t len = bh_base64_encode(bh_slice(plain, n), text);
        assert_int_equal(bh_base64_decode(bh_slice(text, len), back), n);
        assert_memory_equal(back, plain, n);
        len = bh_base64url_encode(bh_slice(plain, n), text);
        assert_int_equal(bh_base64url_decode(bh_slice(text, len), back), n);
        assert_memory_equal(back, plain, n);
        free(plain);
        free(text);
        free(back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_of_abc),
        cmocka_unit_test(digest_of_nothing),
        cmocka_unit_test(hmac_vectors),
        cmocka_unit_test(unknown_digests_are_refused),
        cmocka_unit_test(compares_in_constant_time),
        cmocka_unit_test(random_bytes_are_not_constant),
        cmocka_unit_test(small_draws_do_not_repeat),
        cmocka_unit_test(random_below_stays_below_and_reaches_all),
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(base64url_is_strict),
        cmocka_unit_test(no_value_has_two_texts),
        cmocka_unit_test(base64_round_trips_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
