/* Look-ups in headers, lists, query arguments and cookies. */
#include "bellhop/proto/http1.h"
#include "proto_test.h"

#define H(n, v)                                                                                    \
    {                                                                                              \
        {n, sizeof(n) - 1}, {                                                                      \
            v, sizeof(v) - 1                                                                       \
        }                                                                                          \
    }

static const struct bh_header headers[] = {
    H("Host", "h"),       H("X-List", "one,Two , ,, three"),
    H("Empty", ""),       H("Cookie", "a=1; b=x=y ;c"),
    H("x-list", " four"), H("cookie", "a=2;d=; e = spaced "),
};

static void a_header_by_its_name(void **state) {
    assert_slice(bh_http_header(headers, COUNT(headers), BH_SLICE("HOST")), "h");
    assert_slice(bh_http_header(headers, COUNT(headers), BH_SLICE("x-LIST")), "one,Two , ,, three");
    assert_non_null(bh_http_header(headers, COUNT(headers), BH_SLICE("Empty")).p);
    assert_null(bh_http_header(headers, COUNT(headers), BH_SLICE("Hos")).p);
    assert_null(bh_http_header(NULL, 0, BH_SLICE("Host")).p);
}

static void elements_of_a_list(void **state) {
    static const char *const expected[] = {"one", "Two", "three", "four"};
    struct bh_http_list at = {0};
    struct bh_slice element;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(
            bh_http_next_element(headers, COUNT(headers), BH_SLICE("X-List"), &at, &element));
        assert_slice(element, expected[i]);
    }
    assert_false(bh_http_next_element(headers, COUNT(headers), BH_SLICE("X-List"), &at, &element));
    at = (struct bh_http_list){0};
    assert_false(bh_http_next_element(headers, COUNT(headers), BH_SLICE("Empty"), &at, &element));
}

static void tokens(void **state) {
    static const char *const there[] = {"one", "TWO", "two", "three", "Four"};
    static const char *const missing[] = {"", "on", "one,Two", "five"};
    for (size_t i = 0; i < COUNT(there); i++)
        assert_true(bh_http_has_token(headers, COUNT(headers), BH_SLICE("x-list"),
                                      bh_slice_cstr(there[i])));
    for (size_t i = 0; i < COUNT(missing); i++)
        assert_false(bh_http_has_token(headers, COUNT(headers), BH_SLICE("x-list"),
                                       bh_slice_cstr(missing[i])));
}

static void query_arguments(void **state) {
    struct bh_slice query = BH_SLICE("user=42&&topic=a%2Fb&flag&empty=&topic=c=d&=nameless");
    assert_slice(bh_http_arg(query, BH_SLICE("user")), "42");
    assert_slice(bh_http_arg(query, BH_SLICE("topic")), "a%2Fb");
    assert_slice(bh_http_arg(query, BH_SLICE("flag")), "");
    assert_non_null(bh_http_arg(query, BH_SLICE("flag")).p);
    assert_slice(bh_http_arg(query, BH_SLICE("empty")), "");
    assert_non_null(bh_http_arg(query, BH_SLICE("empty")).p);
    assert_null(bh_http_arg(query, BH_SLICE("use")).p);
    assert_null(bh_http_arg(query, BH_SLICE("USER")).p);
    assert_null(bh_http_arg(bh_slice(NULL, 0), BH_SLICE("user")).p);
    assert_null(bh_http_arg(BH_SLICE(""), BH_SLICE("user")).p);
}

static void all_query_arguments_in_turn(void **state) {
    static const char *const expected[][2] = {
        {"a", "1"}, {"b", ""}, {"", "c"}, {"d", "=e"}, {"f", ""}};
    struct bh_slice rest = BH_SLICE("&a=1&b&=c&&d==e&f="), name, value;
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(bh_http_next_arg(&rest, &name, &value));
        assert_slice(name, expected[i][0]);
        assert_slice(value, expected[i][1]);
    }
    assert_false(bh_http_next_arg(&rest, &name, &value));
    assert_false(bh_http_next_arg(&rest, &name, &value));
}

static void cookies(void **state) {
    assert_slice(bh_http_cookie(headers, COUNT(headers), BH_SLICE("a")), "1");
    assert_slice(bh_http_cookie(headers, COUNT(headers), BH_SLICE("b")), "x=y");
    assert_slice(bh_http_cookie(headers, COUNT(headers), BH_SLICE("d")), "");
    assert_non_null(bh_http_cookie(headers, COUNT(headers), BH_SLICE("d")).p);
    assert_slice(bh_http_cookie(headers, COUNT(headers), BH_SLICE("e")), "spaced");
    assert_null(bh_http_cookie(headers, COUNT(headers), BH_SLICE("c")).p);
    assert_null(bh_http_cookie(headers, COUNT(headers), BH_SLICE("A")).p);
    assert_null(bh_http_cookie(headers, 1, BH_SLICE("a")).p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_by_its_name),
        cmocka_unit_test(elements_of_a_list),
        cmocka_unit_test(tokens),
        cmocka_unit_test(query_arguments),
        cmocka_unit_test(all_query_arguments_in_turn),
        cmocka_unit_test(cookies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
