/* test_origin.c - which origins a pattern matches. */
#include "unit_test.h"

#include "bellhop/base/error.h"
#include "bellhop/edge/edge.h"
#include "limits/origin.h"

static bool matches(const char *pattern, const char *origin) {
    struct bh_slice p = test_exact(bh_slice_cstr(pattern)), o = test_exact(bh_slice_cstr(origin));
    bool result = bh_origin_matches(p, o);
    test_exact_free(p);
    test_exact_free(o);
    return result;
}

static void test_exact_origins(void **state) {
    assert_true(matches("https://app.example.com", "https://app.example.com"));
    assert_true(matches("https://App.Example.com", "HTTPS://app.example.COM"));
    assert_true(matches("https://app.example.com", "https://app.example.com:443"));
    assert_true(matches("http://a.example:8080", "http://a.example:8080"));
    assert_false(matches("https://app.example.com", "http://app.example.com"));
    assert_false(matches("https://app.example.com", "https://app.example.com:8443"));
    assert_false(matches("https://app.example.com", "https://app.example.com.evil.org"));
    assert_false(matches("https://app.example.com", "https://evil.org/https://app.example.com"));
    assert_false(matches("https://app.example.com", "https://app.example.com@evil.org"));
    assert_false(matches("https://app.example.com", "https://evilapp.example.com"));
    assert_false(matches("https://app.example.com", ""));
    assert_false(matches("https://app.example.com", "null"));
}

static void test_hosts_and_wildcards(void **state) {
    assert_true(matches("app.example.com", "https://app.example.com"));
    assert_true(matches("app.example.com", "http://app.example.com"));
    assert_false(matches("app.example.com", "ftp://app.example.com"));
    assert_false(matches("app.example.com", "app.example.com"
                                            ":80"));
    assert_true(matches("*.example.com", "https://a.example.com"));
    assert_true(matches("*.example.com", "https://a.b.example.com"));
    assert_false(matches("*.example.com", "https://example.com"));
    assert_false(matches("*.example.com", "https://.example.com"
                                          "/"));
    assert_false(matches("*.example.com", "https://badexample.com"));
    assert_false(matches("*.example.com", "https://a.example.com.evil.org"));
    assert_false(matches("*.example.com", "https://evil.org?.example.com"));
    assert_false(matches("*.example.com", "https://evil.org#.example.com"));
    assert_false(matches("*.example.com", "https://evil.org\\.example.com"));
    assert_false(matches("https://*.example.com", "http://a.example.com"));
    assert_true(matches("https://*.example.com:8443", "https://a.example.com:8443"));
    assert_true(matches("localhost:*", "http://localhost:3000"));
    assert_true(matches("localhost:*", "http://localhost"));
    assert_true(matches("[::1]:*", "http://[::1]:3000"));
    assert_false(matches("[::1]:3000", "http://[::1]:3001"));
    assert_true(matches("*", "https://anything.example"));
    assert_true(matches("*", "null"));
    assert_false(matches("*", ""));
    assert_true(matches("null", "null"));
    assert_true(matches("file://", "file://"));
    assert_true(matches("capacitor://localhost", "capacitor://localhost"));
}

static void test_lists(void **state) {
    struct bh_slice list[] = {BH_SLICE("https://a.example"), BH_SLICE("*.b.example")};
    assert_true(bh_origin_in(list, 2, BH_SLICE("https://x.b.example")));
    assert_false(bh_origin_in(list, 2, BH_SLICE("https://c.example")));
    assert_false(bh_origin_in(list, 0, BH_SLICE("https://a.example")));
}

static void test_patterns_are_checked(void **state) {
    static const char *const good[] = {
        "*",           "null",       "file://",        "https://a.example",     "*.example.com",
        "localhost:*", "[::1]:3000", "http://*.a.b:1", "capacitor://localhost",
    };
    static const char *const bad[] = {
        "",
        "https://",
        "https://a.example/",
        "https://a.example/path",
        "a b",
        "a:b",
        "a:65536",
        "a:",
        "*.",
        "a.*.example.com",
        "https://*a.example",
        "://a",
        "**",
        "https://a,b",
        "https://a.example?x=1",
    };
    const char *why;
    for (size_t i = 0; i < COUNT(good); i++)
        if (bh_edge_check_origin(bh_slice_cstr(good[i]), &why) != 0)
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (bh_edge_check_origin(bh_slice_cstr(bad[i]), &why) != BH_EINVAL)
            fail_msg("%s is taken", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_origins),
        cmocka_unit_test(test_hosts_and_wildcards),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_patterns_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
