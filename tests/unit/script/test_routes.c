/* test_routes.c - which function a request finds, and what is refused when a script is loaded. */
#include "script_cmocka.h"

#include "run/state.h"

#define HTTP(entries) "return { http = {" entries "} }"
#define NOTHING       " = function() end,"

static const char *find(struct world *w, const char *method, const char *path) {
    struct bh_path_params params;
    const struct bh_script_route *r =
        bh_routes_find(&w->script->routes, bh_slice_cstr(method), bh_slice_cstr(path), &params);
    return r ? r->path : "none";
}

static const char *allow(struct world *w, const char *path) {
    const char *methods = bh_routes_allow(&w->script->routes, bh_slice_cstr(path));
    return methods ? methods : "none";
}

static void test_the_most_specific_wins(void **state) {
    struct world *w = *state;
    LOAD_OK(w,
            HTTP("['GET /*']" NOTHING "['GET /x/:id']" NOTHING "['GET /x/new']" NOTHING
                 "['GET /x/*rest']" NOTHING "['GET /:a/new']" NOTHING "['POST /x/:id']" NOTHING));
    assert_string_equal(find(w, "GET", "/x/new"), "/x/new");
    assert_string_equal(find(w, "GET", "/x/7"), "/x/:id");
    assert_string_equal(find(w, "GET", "/x/7/8"), "/x/*rest");
    assert_string_equal(find(w, "GET", "/y/new"), "/:a/new");
    assert_string_equal(find(w, "GET", "/y/7"), "/*");
    assert_string_equal(find(w, "GET", "/"), "/*");
    assert_string_equal(find(w, "POST", "/x/new"), "/x/:id");
    assert_string_equal(find(w, "POST", "/y"), "none");
    assert_string_equal(find(w, "get", "/x/7"), "none");
    assert_string_equal(find(w, "", "/x/7"), "none");
}

static void test_allow(void **state) {
    struct world *w = *state;
    LOAD_OK(w, HTTP("['GET /a']" NOTHING "['DELETE /:x']" NOTHING "['POST /p']" NOTHING
                    "['OPTIONS /all']" NOTHING "['GET /all']" NOTHING "['PUT /all']" NOTHING
                    "['PATCH /all']" NOTHING "['POST /all']" NOTHING "['HEAD /all']" NOTHING));
    assert_string_equal(allow(w, "/a"), "GET, HEAD, DELETE");
    assert_string_equal(allow(w, "/p"), "POST, DELETE");
    assert_string_equal(allow(w, "/all"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    assert_string_equal(allow(w, "/a/b"), "none");
}

static void test_head(void **state) {
    struct world *w = *state;
    LOAD_OK(w, HTTP("['GET /a/:x']" NOTHING "['HEAD /a/:y']" NOTHING "['GET /b']" NOTHING
                    "['HEAD /c']" NOTHING));
    assert_string_equal(find(w, "HEAD", "/a/1"), "/a/:y");
    assert_string_equal(find(w, "GET", "/a/1"), "/a/:x");
    assert_string_equal(find(w, "HEAD", "/b"), "/b");
    assert_string_equal(find(w, "GET", "/c"), "none");
}

static void test_the_first_script_wins(void **state) {
    struct world *w = *state;
    struct bh_path_params params;
    LOAD_OK(w, HTTP("['GET /x/:a']" NOTHING), HTTP("['GET /x/:b']" NOTHING "['GET /y']" NOTHING));
    const struct bh_script_route *r =
        bh_routes_find(&w->script->routes, BH_SLICE("GET"), BH_SLICE("/x/1"), &params);
    assert_ptr_equal(r->file, w->files[0]);
    assert_true(bh_slice_eq(params.list[0].name, BH_SLICE("a")));
    assert_string_equal(find(w, "GET", "/y"), "/y");
    assert_int_equal(w->script->routes.count, 2);
}

static void test_present(void **state) {
    struct world *w = *state;
    LOAD_OK(w, "return { http = {}, on_open = function() end }");
    assert_false(bh_hooks_has(bh_script_hooks(w->script), BH_HOOK_HTTP));
    assert_string_equal(find(w, "GET", "/"), "none");
}

static void test_bad_keys(void **state) {
    static const struct {
        const char *source, *part;
    } bad[] = {
        {"return { http = 7 }", "http must be a table"},
        {HTTP("['GET /x'] = 7"), "http[\"GET /x\"] must be a function, not a number"},
        {HTTP("[1] = function() end"), "http has a key that is a number"},
        {HTTP("['/x']" NOTHING), "http[\"/x\"]: a key is method, one space and path"},
        {HTTP("['GET']" NOTHING), "a key is method, one space and path"},
        {HTTP("['get /x']" NOTHING), "did you mean \"GET\"?"},
        {HTTP("['PSOT /x']" NOTHING), "http[\"PSOT /x\"]: unknown method; did you mean \"POST\"?"},
        {HTTP("['BREW /x']" NOTHING), "unknown method (the methods are"},
        {HTTP("['GET  /x']" NOTHING), "begins with"},
        {HTTP("['GET x']" NOTHING), "begins with"},
        {HTTP("['GET /a//b']" NOTHING), "http[\"GET /a//b\"]: a segment is empty"},
        {HTTP("['GET /*a/b']" NOTHING), "comes last"},
        {HTTP("['GET /a-:b']" NOTHING), "whole segment"},
        {HTTP("['GET /x ']" NOTHING), "%XX"},
        {HTTP("['GET /:a']" NOTHING "['GET /:b']" NOTHING), "are the same endpoint"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct world *w = *state;
        LOAD_FAILS(w, bad[i].source, bad[i].part);
        bh_free(w->error);
        bh_free(w->files[0]);
        w->error = w->files[0] = NULL;
    }
}

static bool is_taken(struct bh_slice path) {
    return bh_slice_starts(path, BH_SLICE("/api/"));
}

static void test_taken_paths(void **state) {
    struct world *w = *state;
    w->config.path_is_taken = is_taken;
    LOAD_FAILS(w, HTTP("['PUT /api/users/:id']" NOTHING),
               "http[\"PUT /api/users/:id\"]: bellhop itself answers at this path");
    bh_free(w->error);
    bh_free(w->files[0]);
    w->error = w->files[0] = NULL;
    LOAD_OK(w, HTTP("['GET /*']" NOTHING "['GET /:a/users']" NOTHING));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_the_most_specific_wins),
        SCRIPT_TEST(test_allow),
        SCRIPT_TEST(test_head),
        SCRIPT_TEST(test_the_first_script_wins),
        SCRIPT_TEST(test_present),
        SCRIPT_TEST(test_bad_keys),
        SCRIPT_TEST(test_taken_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
