/* Ids: every byte against every kind, lengths, the reserved name, and unique ones. */
#include "bellhop/base/id.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

static const struct {
    enum bh_id_kind kind;
    const char *extra;
} kinds[] = {
    {BH_ID_USER, ""},     {BH_ID_TENANT, ""},      {BH_ID_TOPIC, "/"},
    {BH_ID_INSTANCE, ""}, {BH_ID_MESSAGE, "/:+="},
};

static bool is_lawful(char c, const char *extra) {
    return c != '\0' &&
           (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@-", c) ||
            strchr(extra, c));
}

static void every_byte_in_every_kind(void **state) {
    for (size_t k = 0; k < COUNT(kinds); k++) {
        for (int byte = 0; byte < 256; byte++) {
            char id[3] = {'a', (char)byte, 'z'};
            const char *why = NULL;
            int rc = bh_id_check(kinds[k].kind, bh_slice(id, 3), &why);
            assert_int_equal(rc, is_lawful((char)byte, kinds[k].extra) ? 0 : BH_EINVAL);
            assert_int_equal(why != NULL, rc != 0);
        }
    }
}

static void lengths(void **state) {
    char id[BH_ID_MAX + 1];
    memset(id, 'x', sizeof id);
    for (size_t k = 0; k < COUNT(kinds); k++) {
        const char *why = NULL;
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(NULL, 0), &why), BH_EINVAL);
        assert_non_null(strstr(why, "empty"));
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, 1), NULL), 0);
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, BH_ID_MAX), NULL), 0);
        assert_int_equal(bh_id_check(kinds[k].kind, bh_slice(id, BH_ID_MAX + 1), &why), BH_EINVAL);
        assert_non_null(strstr(why, "128"));
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
        cmocka_unit_test(lengths),
        cmocka_unit_test(broadcast_is_no_user),
        cmocka_unit_test(usual_ids_pass),
        cmocka_unit_test(unique_ids_are_lawful_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
