/* Patterns of paths: valid ones, matching, order. */
#include "core_test.h"

#include "bellhop/base/error.h"
#include "bellhop/core/path.h"

#include <stdio.h>

static void refused(const char *pattern, const char *part) {
    const char *why = NULL;
    if (bh_path_check(bh_slice_cstr(pattern), &why) != BH_EINVAL || !strstr(why, part))
        fail_msg("%s: %s", pattern, why);
}

static void test_check(void **state) {
    static const char *const good[] = {"/",    "/ws", "/x/", "/a/:b/c", "/:a_1/:B",
                                       "/a/*", "/*x", "/*",  "/%7e/a",  "/a.b-c~d,e;f=g@h"};
    const char *why;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(bh_path_check(bh_slice_cstr(good[i]), &why), 0);
    refused("", "must begin with");
    refused("ws", "must begin with");
    refused("//", "empty");
    refused("/a//b", "empty");
    refused("/:", "name");
    refused("/:1a", "name");
    refused("/:a-b", "name");
    refused("/:a/:a", "same name");
    refused("/:a/*a", "same name");
    refused("/*a/b", "last");
    refused("/*a/", "last");
    refused("/a:b", "whole segment");
    refused("/a*", "whole segment");
    refused("/a b", "%XX");
    refused("/a?b", "%XX");
    refused("/caf\xc3\xa9", "%XX");
    refused("/a%2", "%XX");
    refused("/a%zz", "%XX");
    refused("/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q", "at most 16");
    assert_int_equal(bh_path_check(bh_slice("/a\0b", 4), &why), BH_EINVAL);
}

/* The parameters as "a=1 b=2", or "no". */
static void matches(const char *pattern, const char *path, const char *expected) {
    struct bh_path_params params;
    char text[256] = "no";
    size_t n = 0;
    /* A copy of exactly its length, so that reading past it is caught. */
    char *exact = malloc(strlen(path) + !*path);
    memcpy(exact, path, strlen(path));
    if (bh_path_match(bh_slice_cstr(pattern), bh_slice(exact, strlen(path)), &params)) {
        text[0] = '\0';
        for (size_t i = 0; i < params.count; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s=%.*s", i ? " " : "",
                                  BH_SLICE_ARG(params.list[i].name),
                                  BH_SLICE_ARG(params.list[i].value));
    }
    free(exact);
    if (strcmp(text, expected) != 0)
        fail_msg("%s for %s: %s", pattern, path, text);
}

static void test_text(void **state) {
    matches("/", "/", "");
    matches("/", "", "no");
    matches("/", "x", "no");
    matches("/ws", "/ws", "");
    matches("/ws", "/ws/", "no");
    matches("/ws", "/w", "no");
    matches("/ws", "/WS", "no");
    matches("/ws", "/%77s", "no");
    matches("/ws", "/", "no");
    matches("/x/", "/x/", "");
    matches("/x/", "/x", "no");
    matches("/a%2Fb", "/a%2Fb", "");
    matches("/a%2Fb", "/a/b", "no");
}

static void test_params(void **state) {
    matches("/x/:id", "/x/7", "id=7");
    matches("/x/:id", "/x/", "no");
    matches("/x/:id", "/x", "no");
    matches("/x/:id", "/x/7/", "no");
    matches("/x/:id", "/x/a%2Fb", "id=a%2Fb");
    matches("/x/:id", "/x/%zz", "no");
    matches("/x/:id", "/x/%2", "no");
    matches("/x/:id", "/x/%", "no");
    matches("/:a/y/:b", "/1/y/2", "a=1 b=2");
    matches("/:a/y/:b", "/1/z/2", "no");
    matches("/:a", "//", "no");
}

static void test_rest(void **state) {
    matches("/f/*name", "/f/a/b", "name=a/b");
    matches("/f/*name", "/f/", "name=");
    matches("/f/*name", "/f", "no");
    matches("/f/*", "/f//x/", "*=/x/");
    matches("/*", "/", "*=");
    matches("/:a/*b", "/1/2/3", "a=1 b=2/3");
    matches("/*", "/%zz", "no");
}

static int order(const char *a, const char *b) {
    int one = bh_path_compare(bh_slice_cstr(a), bh_slice_cstr(b));
    int other = bh_path_compare(bh_slice_cstr(b), bh_slice_cstr(a));
    assert_true((one < 0) == (other > 0) && (one == 0) == (other == 0));
    return one;
}

static void test_order(void **state) {
    static const char *const sorted[] = {"/a/b", "/a/:x", "/a/*", "/:x/b", "/:x/:y", "/:x/*", "/*"};
    size_t n = sizeof sorted / sizeof *sorted;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            assert_true(i < j ? order(sorted[i], sorted[j]) < 0
                              : i > j || !order(sorted[i], sorted[j]));
    assert_int_equal(order("/a", "/b"), 0);
}

static bool same(const char *a, const char *b) {
    return bh_path_same(bh_slice_cstr(a), bh_slice_cstr(b));
}

static void test_same(void **state) {
    assert_true(same("/a/:x", "/a/:y"));
    assert_true(same("/a/*x", "/a/*"));
    assert_false(same("/a/:x", "/b/:x"));
    assert_false(same("/a", "/a/"));
    assert_false(same("/a", "/:a"));
    assert_false(same("/:a", "/*a"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check), cmocka_unit_test(test_text),  cmocka_unit_test(test_params),
        cmocka_unit_test(test_rest),  cmocka_unit_test(test_order), cmocka_unit_test(test_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
