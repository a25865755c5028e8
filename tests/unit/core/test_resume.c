/* test_resume.c - the text of where a client is in its streams, which comes back from anybody. */
#include "bellhop/core/resume.h"

#include "bellhop/base/error.h"
#include "core_test.h"

#include <stdio.h>

#define HASH_0   "AAAAAAAAAAA"
#define HASH_1   "AAAAAAAAAAB"
#define HASH_ALL "P__________" /* 64 bits set */

static struct bh_resume parsed(const char *text) {
    struct bh_resume r;
    const char *why = "";
    if (bh_resume_parse(bh_slice_cstr(text), &r, &why))
        fail_msg("\"%s\": %s", text, why);
    return r;
}

static void assert_refused(struct bh_slice text) {
    struct bh_resume r;
    const char *why = NULL;
    if (bh_resume_parse(text, &r, &why) != BH_EINVAL)
        fail_msg("\"%.*s\" is read", BH_SLICE_ARG(text));
    assert_non_null(why);
    assert_true(bh_slice_starts(bh_slice_cstr(why), BH_SLICE("since: ")));
}

static void assert_same(const struct bh_resume *a, const struct bh_resume *b) {
    assert_int_equal(a->count, b->count);
    for (unsigned i = 0; i < a->count; i++) {
        assert_true(a->topics[i].hash == b->topics[i].hash);
        assert_true(bh_position_eq(a->topics[i].position, b->topics[i].position));
    }
}

static void the_hash_is_the_same_in_every_release(void **state) {
    /* From the description: FNV-1a, then the finalizer of MurmurHash3. */
    assert_true(bh_topic_hash(BH_SLICE("user:42")) == UINT64_C(0x998817bee6718248));
    assert_true(bh_topic_hash(BH_SLICE("all")) == UINT64_C(0xe0f54972ad3862b9));
    assert_true(bh_topic_hash(bh_slice(NULL, 0)) == UINT64_C(0xefd01f60ba992926));
}

static void what_is_written_is_read(void **state) {
    struct bh_resume r = {0};
    char text[BH_RESUME_TEXT_MAX + 1];
    for (unsigned count = 0; count <= BH_RESUME_TOPICS_MAX; count++) {
        size_t n = bh_resume_format(&r, text);
        assert_int_equal(n, strlen(text));
        assert_true(n <= BH_RESUME_TEXT_MAX);
        struct bh_resume again = parsed(text);
        assert_same(&r, &again);
        if (count == BH_RESUME_TOPICS_MAX)
            break;
        char name[16];
        snprintf(name, sizeof name, "user:%u", count);
        r.topics[r.count++] = (struct bh_resume_topic){
            bh_topic_hash(bh_slice_cstr(name)), {BH_POSITION_END - 1, BH_POSITION_END - 1 - count}};
    }
}

static void nothing_is_no_position(void **state) {
    assert_int_equal(parsed("").count, 0);
    assert_int_equal(parsed("1.").count, 0);
    struct bh_resume none = {0}, r;
    char text[BH_RESUME_TEXT_MAX + 1];
    const char *why;
    assert_int_equal(bh_resume_format(&none, text), 2);
    assert_string_equal(text, "1.");
    assert_int_equal(bh_resume_parse(bh_slice(NULL, 0), &r, &why), 0);
    assert_int_equal(r.count, 0);
}

static void the_order_of_the_topics_is_any(void **state) {
    struct bh_resume a = parsed("1." HASH_0 ":5-1," HASH_1 ":6-2");
    struct bh_resume b = parsed("1." HASH_1 ":6-2," HASH_0 ":5-1");
    for (uint64_t hash = 0; hash < 2; hash++) {
        const struct bh_position *p = bh_resume_find(&a, hash), *q = bh_resume_find(&b, hash);
        assert_non_null(p);
        assert_non_null(q);
        assert_true(bh_position_eq(*p, *q));
    }
    assert_null(bh_resume_find(&a, 2));
    assert_true(parsed("1." HASH_ALL ":5-1").topics[0].hash == UINT64_MAX);
}

static void hostile_texts_are_refused(void **state) {
    static const char *const texts[] = {
        "_",
        "1",
        ".",
        "2.",
        "01.",
        "1,",
        "1.,",
        "1.:",
        "1._",
        " 1.",
        "1. ",
        "1." HASH_0,
        "1." HASH_0 ":",
        "1." HASH_0 ":_",
        "1." HASH_0 ":0-1",
        "1." HASH_0 ":01-1",
        "1." HASH_0 ":1-01",
        "1." HASH_0 ":1-1,",
        "1.," HASH_0 ":1-1",
        "1." HASH_0 ":1-1 ",
        "1." HASH_0 ":1-1;" HASH_1 ":1-1",
        "1." HASH_0 ":1-1,," HASH_1 ":1-1",
        "1." HASH_0 ":1-1," HASH_0 ":1-1", /* twice */
        "1." HASH_0 ":1-9007199254740992",
        "1." HASH_0 ":9007199254740992-1",
        "1.AAAAAAAAAA:1-1",
        "1.AAAAAAAAAAAA:1-1",
        "1.AAAAAAAAAA=:1-1",
        "1.AAAAAAAAAA+:1-1",
        "1.Q__________:1-1", /* 65 bits */
        "1.___________:1-1",
        "1.user:42:1-1",
        "1." HASH_0 ":1-1.",
        "1.1." HASH_0 ":1-1",
        "1." HASH_0 ":-1-1",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_refused(bh_slice_cstr(texts[i]));
    assert_refused(bh_slice("1.\0", 3));
    assert_refused(bh_slice("1.AAAAAAAAAA\0:1-1", 17));
    assert_refused(bh_slice("\0", 1));
}

static void long_texts_are_refused(void **state) {
    char text[300];
    static const char fill[] = "1.,:-A_";
    for (const char *c = fill; *c; c++) {
        memset(text, *c, sizeof text);
        assert_refused(bh_slice(text, sizeof text));
        memcpy(text, "1.", 2);
        assert_refused(bh_slice(text, sizeof text));
    }
}

static void more_topics_than_a_client_has_are_refused(void **state) {
    char text[1024] = "1.";
    for (int i = 0; i <= BH_RESUME_TOPICS_MAX; i++)
        sprintf(text + strlen(text), "%sAAAAAAAAAA%c:1-%d", i ? "," : "", 'A' + i, i);
    assert_refused(bh_slice_cstr(text));
    *strrchr(text, ',') = '\0';
    assert_int_equal(parsed(text).count, BH_RESUME_TOPICS_MAX);
}

/* Every cut and every changed byte of a good text is either refused or read as what it says. */
static void a_changed_text_is_read_exactly_or_not(void **state) {
    static const char good[] = "1." HASH_1 ":1733000000000000-7," HASH_0 ":12-90";
    char text[sizeof good], again[BH_RESUME_TEXT_MAX + 1];
    struct bh_resume r;
    const char *why;
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (int byte = -1; byte < 256; byte++) {
            size_t n = byte < 0 ? at : sizeof good - 1;
            memcpy(text, good, sizeof good);
            if (byte >= 0)
                text[at] = (char)byte;
            if (bh_resume_parse(bh_slice(text, n), &r, &why) || n == 0)
                continue;
            assert_int_equal(bh_resume_format(&r, again), n);
            assert_memory_equal(again, text, n);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_the_same_in_every_release),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(nothing_is_no_position),
        cmocka_unit_test(the_order_of_the_topics_is_any),
        cmocka_unit_test(hostile_texts_are_refused),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(more_topics_than_a_client_has_are_refused),
        cmocka_unit_test(a_changed_text_is_read_exactly_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
