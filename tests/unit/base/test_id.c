/* Ids: every byte and every code point in every kind, lengths, the reserved name, how they are
 * written in names of Redis and read back, and unique ones. */
#include "bellhop/base/id.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

static const struct {
    enum bh_id_kind kind;
    const char *extra; /* of its alphabet */
    bool wide;
} kinds[] = {
    {BH_ID_USER, "", true},      {BH_ID_TENANT, "", true},       {BH_ID_TOPIC, "/", true},
    {BH_ID_INSTANCE, "", false}, {BH_ID_MESSAGE, "/:+=", false}, {BH_ID_TIMER, "/", false},
};

static bool is_of_alphabet(char c, const char *extra) {
    return c != '\0' &&
           (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-", c) ||
            strchr(extra, c));
}

static void check_every_byte(bool wide) {
    for (size_t k = 0; k < COUNT(kinds); k++) {
        for (int byte = 0; byte < 256; byte++) {
            char id[3] = {'a', (char)byte, 'z'};
            const char *why = NULL;
            bool plain = is_of_alphabet((char)byte, kinds[k].extra);
            bool printable = kinds[k].wide && byte > ' ' && byte < 0x7f;
            enum bh_id_form any = plain ? BH_ID_PLAIN : printable ? BH_ID_WIDE : BH_ID_INVALID;
            enum bh_id_form given = bh_id_given(kinds[k].kind, bh_slice(id, 3), &why);
            assert_int_equal(given, wide || plain ? any : BH_ID_INVALID);
            assert_int_equal(why != NULL, given == BH_ID_INVALID);
            assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, 3), NULL),
                             given ? 0 : BH_EINVAL);
            assert_int_equal(bh_id_stored(kinds[k].kind, bh_slice(id, 3)), any);
        }
    }
}

static void every_byte_in_every_kind(void **state) {
    check_every_byte(true);
}

static void without_wide_ids_each_kind_has_its_alphabet(void **state) {
    const char *why = NULL;
    bh_ids_set_wide(false);
    check_every_byte(false);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("auth0|5f7c"), &why), BH_EINVAL);
    assert_non_null(strstr(why, "ids.wide"));
    bh_ids_set_wide(true);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("auth0|5f7c"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("a b"), &why), BH_EINVAL);
    assert_null(strstr(why, "ids.wide"));
}

static size_t put_utf8(uint32_t c, char out[4]) {
    if (c < 0x80)
        return out[0] = (char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* The property White_Space of Unicode 15, controls, the bidi controls, and U+FFFD. */
static bool is_forbidden(uint32_t c) {
    static const uint32_t list[] = {0x20,   0x7f,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003,
                                    0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                    0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x202f, 0x205f,
                                    0x2066, 0x2067, 0x2068, 0x2069, 0x3000, 0xfffd};
    for (size_t i = 0; i < COUNT(list); i++)
        if (list[i] == c)
            return true;
    return c < 0x20 || (c >= 0x80 && c <= 0x9f);
}

static void every_code_point(void **state) {
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char id[6] = "a";
        size_t n = 1 + put_utf8(c, id + 1);
        bool valid = !is_forbidden(c) && !(c >= 0xd800 && c <= 0xdfff);
        if ((bh_id_check(BH_ID_USER, bh_slice(id, n), NULL) == 0) != valid)
            fail_msg("U+%04X", c);
    }
}

static void what_is_no_utf8_is_no_id(void **state) {
    const char *const bad[] = {"\xff",     "\xc3",         "a\xe2\x82",
                               "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                               "\x80",     "ok\xfe"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_slice id = test_exact(bh_slice_cstr(bad[i]));
        const char *why = NULL;
        assert_int_equal(bh_id_check(BH_ID_TENANT, id, &why), BH_EINVAL);
        assert_non_null(strstr(why, "UTF-8"));
        test_exact_free(id);
    }
}

static void lengths(void **state) {
    char id[BH_TOPIC_ID_MAX + 1];
    memset(id, 'x', sizeof id);
    for (size_t k = 0; k < COUNT(kinds); k++) {
        const char *why = NULL;
        size_t most = kinds[k].kind == BH_ID_TOPIC ? 255 : 128;
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(NULL, 0), &why), BH_EINVAL);
        assert_non_null(strstr(why, "empty"));
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, 1), NULL), 0);
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, most), NULL), 0);
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, most + 1), &why), BH_EINVAL);
        assert_non_null(strstr(why, most == 255 ? "255 bytes" : "128 bytes"));
    }
}

static void broadcast_is_no_user(void **state) {
    const char *why = NULL;
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("broadcast"), &why), BH_EINVAL);
    assert_non_null(strstr(why, "reserved"));
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("broadcast"), NULL), BH_EINVAL);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("Broadcast"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("broadcaster"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_TENANT, BH_SLICE("broadcast"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_TOPIC, BH_SLICE("broadcast"), NULL), 0);
}

static void usual_ids_pass(void **state) {
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("9223372036854775807"), NULL), 0);
    assert_int_equal(
        bh_id_check(BH_ID_USER, BH_SLICE("550e8400-e29b-41d4-a716-446655440000"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("jane.doe@example.org"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_TOPIC, BH_SLICE("news/sports"), NULL), 0);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("did:plc:z72i7hdynmk6r22z27h6tvur"), NULL),
                     0);
    assert_int_equal(bh_id_check(BH_ID_USER, BH_SLICE("пользователь"), NULL), 0);
}

static const struct {
    enum bh_id_kind kind;
    const char *id, *encoded;
} spellings[] = {
    {BH_ID_USER, "42", "42"},
    {BH_ID_USER, "jane.doe@example.org", "jane.doe@example.org"},
    {BH_ID_USER, "auth0|5f7c", "auth0|5f7c"},
    {BH_ID_USER, "us-east-1:0a1b", "us-east-1%3A0a1b"},
    {BH_ID_USER, "a+b@x.org", "a+b@x.org"},
    {BH_ID_USER, "did:plc:x", "did%3Aplc%3Ax"},
    {BH_ID_USER, "пользователь", "пользователь"},
    {BH_ID_USER, "tenant:7", "tenant%3A7"},
    {BH_ID_USER, "100%", "100%25"},
    {BH_ID_USER, "%3A", "%253A"},
    {BH_ID_USER, "{42}", "%7B42%7D"},
    {BH_ID_TENANT, "a/b", "a%2Fb"},
    {BH_ID_TOPIC, "a/b", "a/b"},
    {BH_ID_TOPIC, "a/b:c", "a/b%3Ac"},
};

static void ids_are_written_in_names_and_read_back(void **state) {
    for (size_t i = 0; i < COUNT(spellings); i++) {
        char out[BH_ID_ENCODED_MAX], back[BH_TOPIC_ID_MAX];
        struct bh_slice id = test_exact(bh_slice_cstr(spellings[i].id)), again;
        struct bh_slice encoded = bh_id_encode(spellings[i].kind, id, out);
        assert_slice(encoded, spellings[i].encoded);
        enum bh_id_form form = bh_id_decode(spellings[i].kind, encoded, back, &again);
        assert_int_equal(form, bh_id_stored(spellings[i].kind, id));
        assert_slice(again, spellings[i].id);
        test_exact_free(id);
    }
}

static void the_longest_ids_are_read_back(void **state) {
    static const struct {
        enum bh_id_kind kind;
        size_t most;
    } longest[] = {{BH_ID_USER, 128}, {BH_ID_TENANT, 128}, {BH_ID_TOPIC, 255}};
    char id[BH_TOPIC_ID_MAX], out[BH_ID_ENCODED_MAX], back[BH_TOPIC_ID_MAX];
    for (size_t i = 0; i < COUNT(longest); i++) {
        enum bh_id_kind kind = longest[i].kind;
        size_t n = longest[i].most;
        memset(id, '%', sizeof id);
        struct bh_slice again, encoded = bh_id_encode(kind, bh_slice(id, n), out);
        assert_int_equal(encoded.n, 3 * n);
        assert_int_equal(bh_id_decode(kind, encoded, back, &again), BH_ID_WIDE);
        assert_memory_equal(again.p, id, n);
        assert_int_equal(again.n, n);
        char longer[3 * (BH_TOPIC_ID_MAX + 1)];
        for (size_t at = 0; at <= n; at++)
            memcpy(longer + 3 * at, "%25", 3);
        assert_int_equal(bh_id_decode(kind, bh_slice(longer, 3 * n + 3), back, &again),
                         BH_ID_INVALID);
        memset(longer, '|', sizeof longer);
        assert_int_equal(bh_id_decode(kind, bh_slice(longer, n + 1), back, &again), BH_ID_INVALID);
    }
}

static void other_spellings_are_no_ids(void **state) {
    const char *const bad[] = {"",    "a:b", "a/b",       "{a}",  "%3a", "%7b",
                               "%41", "%61", "%20",       "%7C",  "%",   "%2",
                               "%2x", "a%",  "broadcast", "%25%", "%2f", "%E2%80%AE",
                               "%00", "%0A", "%C3%BC",    "%%",   "% 3"};
    char back[BH_TOPIC_ID_MAX];
    struct bh_slice id;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_slice encoded = test_exact(bh_slice_cstr(bad[i]));
        if (bh_id_decode(BH_ID_USER, encoded, back, &id) != BH_ID_INVALID)
            fail_msg("%s", bad[i]);
        test_exact_free(encoded);
    }
    assert_int_equal(bh_id_decode(BH_ID_TOPIC, BH_SLICE("a%2Fb"), back, &id), BH_ID_INVALID);
}

static void unique_ids_are_lawful_and_differ(void **state) {
    enum { N = 1000 };
    static char ids[N][BH_UNIQUE_ID_LEN + 1];
    for (int i = 0; i < N; i++) {
        bh_id_unique(ids[i]);
        assert_int_equal(strlen(ids[i]), BH_UNIQUE_ID_LEN);
        assert_int_equal(bh_id_check(BH_ID_INSTANCE, bh_slice_cstr(ids[i]), NULL), 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_in_every_kind),
        cmocka_unit_test(without_wide_ids_each_kind_has_its_alphabet),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(what_is_no_utf8_is_no_id),
        cmocka_unit_test(lengths),
        cmocka_unit_test(broadcast_is_no_user),
        cmocka_unit_test(usual_ids_pass),
        cmocka_unit_test(ids_are_written_in_names_and_read_back),
        cmocka_unit_test(the_longest_ids_are_read_back),
        cmocka_unit_test(other_spellings_are_no_ids),
        cmocka_unit_test(unique_ids_are_lawful_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
