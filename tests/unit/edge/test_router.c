/* test_router.c - the table of routes. */
#include "edge_test.h"

#include "router.h"

static enum bh_route_result find(const char *method, const char *path, struct bh_route_match *m) {
    return bh_route_find(bh_slice_cstr(method), bh_slice_cstr(path), 0, m);
}

static void expect(const char *method, const char *path, const char *param) {
    struct bh_route_match m;
    assert_int_equal(find(method, path, &m), BH_ROUTE_FOUND);
    assert_non_null(m.route->endpoint);
    assert_true(bh_slice_eq(m.param, bh_slice_cstr(param)));
}

static void test_found(void **state) {
    expect("GET", "/healthz", NULL);
    expect("HEAD", "/healthz", NULL);
    expect("POST", "/api/publish", NULL);
    expect("POST", "/api/users/42/messages", "42");
    expect("POST", "/api/users/a%2Fb/messages", "a%2Fb");
    expect("GET", "/api/users/42", "42");
    expect("GET", "/api/users/online", "online");
    expect("POST", "/api/users/online", NULL);
    expect("DELETE", "/api/users/42/connections", "42");
    expect("POST", "/api/topics/news/eu/messages", "news/eu");
    expect("POST", "/api/topics/messages/messages", "messages");
    expect("GET", "/api/users/42/messages", "42");
    expect("GET", "/api/topics/a/b/messages", "a/b");
    expect("DELETE", "/api/tenants/7/messages", "7");
    expect("DELETE", "/api/users/42/messages/17-3", "42");
    expect("DELETE", "/api/topics/a/b/messages/17-3", "a/b");
    expect("DELETE", "/api/topics/a/messages/messages", "a/messages");
    expect("DELETE", "/api/topics/a/messages/17-3/messages", "a/messages/17-3");
    expect("DELETE", "/api/topics/a/messages/messages/17-3", "a/messages");
    expect("GET", "/api/broadcast/messages", NULL);
    expect("DELETE", "/api/broadcast/messages/17-3", NULL);
}

static void test_not_found(void **state) {
    static const char *const paths[] = {
        "",           "/api",         "/healthz/",           "/Healthz", "/api/users/",
        "/api/users", "/api/users//", "/api/topics/messages"};
    struct bh_route_match m;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(find("GET", paths[i], &m), BH_ROUTE_NO_PATH);
    assert_int_equal(find("POST", "/api/users/a/b/messages", &m), BH_ROUTE_NO_PATH);
    assert_int_equal(find("POST", "/api/users//messages", &m), BH_ROUTE_NO_PATH);
    static const char *const entries[] = {
        "/api/users/42/messages/",     "/api/users//messages/1-1", "/api/users/messages/1-1",
        "/api/users/a/b/messages/1-1", "/api/broadcast/messages/", "/api/users/42/messages/1-1/2"};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        assert_int_equal(find("DELETE", entries[i], &m), BH_ROUTE_NO_PATH);
}

static void test_wrong_method(void **state) {
    struct bh_route_match m;
    assert_int_equal(find("PUT", "/healthz", &m), BH_ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "GET, HEAD");
    assert_int_equal(find("get", "/healthz", &m), BH_ROUTE_NO_METHOD);
    assert_int_equal(find("GET", "/api/broadcast", &m), BH_ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "POST");
    assert_int_equal(find("PATCH", "/api/users/online", &m), BH_ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "POST, GET, HEAD");
    assert_int_equal(find("GET", "/api/users/42/messages/17-3", &m), BH_ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "DELETE");
}

static void test_demo_in_dev_only(void **state) {
    struct bh_route_match m;
    assert_int_equal(find("GET", "/", &m), BH_ROUTE_NO_PATH);
    assert_int_equal(bh_route_find(BH_SLICE("GET"), BH_SLICE("/"), BH_ROUTE_DEV, &m),
                     BH_ROUTE_FOUND);
    assert_false(m.route->flags & BH_ROUTE_GUARDED);
}

static void test_late(void **state) {
    struct bh_route_match m;
    assert_int_equal(find("GET", "/inbox", &m), BH_ROUTE_NO_PATH);
    assert_false(bh_edge_has_path(BH_SLICE("/inbox")));
    assert_int_equal(bh_route_find(BH_SLICE("HEAD"), BH_SLICE("/inbox"), BH_ROUTE_LATE, &m),
                     BH_ROUTE_FOUND);
    assert_false(m.route->flags & BH_ROUTE_GUARDED);
    assert_int_equal(bh_route_find(BH_SLICE("POST"), BH_SLICE("/inbox"), BH_ROUTE_LATE, &m),
                     BH_ROUTE_NO_METHOD);
}

static void test_has_path(void **state) {
    assert_true(bh_edge_has_path(BH_SLICE("/healthz")));
    assert_true(bh_edge_has_path(BH_SLICE("/api/publish")));
    assert_true(bh_edge_has_path(BH_SLICE("/api/users/:id")));
    assert_true(bh_edge_has_path(BH_SLICE("/api/topics/*rest/messages")));
    assert_false(bh_edge_has_path(BH_SLICE("/")));
    assert_false(bh_edge_has_path(BH_SLICE("/api/:what")));
    assert_false(bh_edge_has_path(BH_SLICE("/*")));
}

static void test_api_is_guarded(void **state) {
    struct bh_route_match m;
    static const char *const paths[] = {"/api/reload",
                                        "/api/publish",
                                        "/api/broadcast",
                                        "/api/users/online",
                                        "/api/users/1/messages",
                                        "/api/topics/1/messages",
                                        "/api/tenants/1/messages"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_int_equal(find("POST", paths[i], &m), BH_ROUTE_FOUND);
        assert_true(m.route->flags & BH_ROUTE_GUARDED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),        cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_wrong_method), cmocka_unit_test(test_demo_in_dev_only),
        cmocka_unit_test(test_late),         cmocka_unit_test(test_api_is_guarded),
        cmocka_unit_test(test_has_path),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
