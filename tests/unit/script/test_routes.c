/* test_routes.c - which endpoint a request finds, and errors when a script is loaded. */
#include "script_cmocka.h"

#include "run/state.h"

#define HTTP(entries) "return { http = {" entries "} }"
#define NOTHING       " = function() end,"

static const char *find(struct env *env, const char *method, const char *path) {
    struct bh_path_params params;
    const struct bh_script_route *r =
        bh_routes_find(&env->script->routes, bh_slice_cstr(method), bh_slice_cstr(path), &params);
    return r ? r->path : "none";
}

static const char *allow(struct env *env, const char *path) {
    const char *methods = bh_routes_allow(&env->script->routes, bh_slice_cstr(path));
    return methods ? methods : "none";
}

static void test_most_specific_route_wins(void **state) {
    struct env *env = *state;
    LOAD_OK(env,
            HTTP("['GET /*']" NOTHING "['GET /x/:id']" NOTHING "['GET /x/new']" NOTHING
                 "['GET /x/*rest']" NOTHING "['GET /:a/new']" NOTHING "['POST /x/:id']" NOTHING));
    assert_string_equal(find(env, "GET", "/x/new"), "/x/new");
    assert_string_equal(find(env, "GET", "/x/7"), "/x/:id");
    assert_string_equal(find(env, "GET", "/x/7/8"), "/x/*rest");
    assert_string_equal(find(env, "GET", "/y/new"), "/:a/new");
    assert_string_equal(find(env, "GET", "/y/7"), "/*");
    assert_string_equal(find(env, "GET", "/"), "/*");
    assert_string_equal(find(env, "POST", "/x/new"), "/x/:id");
    assert_string_equal(find(env, "POST", "/y"), "none");
    assert_string_equal(find(env, "get", "/x/7"), "none");
    assert_string_equal(find(env, "", "/x/7"), "none");
}

static void test_allow(void **state) {
    struct env *env = *state;
    LOAD_OK(env, HTTP("['GET /a']" NOTHING "['DELETE /:x']" NOTHING "['POST /p']" NOTHING
                      "['OPTIONS /all']" NOTHING "['GET /all']" NOTHING "['PUT /all']" NOTHING
                      "['PATCH /all']" NOTHING "['POST /all']" NOTHING "['HEAD /all']" NOTHING));
    assert_string_equal(allow(env, "/a"), "GET, HEAD, DELETE");
    assert_string_equal(allow(env, "/p"), "POST, DELETE");
    assert_string_equal(allow(env, "/all"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    assert_string_equal(allow(env, "/a/b"), "none");
}

static void test_head(void **state) {
    struct env *env = *state;
    LOAD_OK(env, HTTP("['GET /a/:x']" NOTHING "['HEAD /a/:y']" NOTHING "['GET /b']" NOTHING
                      "['HEAD /c']" NOTHING));
    assert_string_equal(find(env, "HEAD", "/a/1"), "/a/:y");
    assert_string_equal(find(env, "GET", "/a/1"), "/a/:x");
    assert_string_equal(find(env, "HEAD", "/b"), "/b");
    assert_string_equal(find(env, "GET", "/c"), "none");
}

static void test_first_script_wins(void **state) {
    struct env *env = *state;
    struct bh_path_params params;
    LOAD_OK(env, HTTP("['GET /x/:a']" NOTHING), HTTP("['GET /x/:b']" NOTHING "['GET /y']" NOTHING));
    const struct bh_script_route *r =
        bh_routes_find(&env->script->routes, BH_SLICE("GET"), BH_SLICE("/x/1"), &params);
    assert_ptr_equal(r->file, env->files[0]);
    assert_true(bh_slice_eq(params.list[0].name, BH_SLICE("a")));
    assert_string_equal(find(env, "GET", "/y"), "/y");
    assert_int_equal(env->script->routes.count, 2);
}

static void test_present(void **state) {
    struct env *env = *state;
    LOAD_OK(env, "return { http = {}, on_open = function() end }");
    assert_false(bh_hooks_has(bh_script_hooks(env->script), BH_HOOK_HTTP));
    assert_string_equal(find(env, "GET", "/"), "none");
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
        {HTTP("['GET  /x']" NOTHING), "must begin with"},
        {HTTP("['GET x']" NOTHING), "must begin with"},
        {HTTP("['GET /a//b']" NOTHING), "http[\"GET /a//b\"]: a segment is empty"},
        {HTTP("['GET /*a/b']" NOTHING), "must be the last"},
        {HTTP("['GET /a-:b']" NOTHING), "whole segment"},
        {HTTP("['GET /x ']" NOTHING), "%XX"},
        {HTTP("['GET /:a']" NOTHING "['GET /:b']" NOTHING), "are the same endpoint"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct env *env = *state;
        LOAD_FAILS(env, bad[i].source, bad[i].part);
        bh_free(env->error);
        bh_free(env->files[0]);
        env->error = env->files[0] = NULL;
    }
}

static bool is_taken(struct bh_slice path) {
    return bh_slice_starts(path, BH_SLICE("/api/"));
}

static void test_reserved_paths(void **state) {
    struct env *env = *state;
    env->config.path_is_taken = is_taken;
    LOAD_FAILS(env, HTTP("['PUT /api/users/:id']" NOTHING),
               "http[\"PUT /api/users/:id\"]: bellhop itself answers at this path");
    bh_free(env->error);
    bh_free(env->files[0]);
    env->error = env->files[0] = NULL;
    LOAD_OK(env, HTTP("['GET /*']" NOTHING "['GET /:a/users']" NOTHING));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_most_specific_route_wins),
        SCRIPT_TEST(test_allow),
        SCRIPT_TEST(test_head),
        SCRIPT_TEST(test_first_script_wins),
        SCRIPT_TEST(test_present),
        SCRIPT_TEST(test_bad_keys),
        SCRIPT_TEST(test_reserved_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
