/* test_hooks_http.c - http["METHOD /path"]: the arguments of the function, and the response. */
#include "script_cmocka.h"

#include "run/state.h"

#define BH "local bh = require 'bellhop'\n"

struct got {
    int calls, status;
    char *body;
    char headers[512]; /* "name: value" lines */
};

static void on_response(void *ud, bh_handle handle, const struct bh_response *r) {
    struct got *g = ud;
    assert_int_equal(handle, 77);
    g->calls++;
    g->status = r->status;
    g->body = bh_strndup(r->body.p, r->body.n);
    for (size_t i = 0; i < r->header_count; i++) {
        size_t n = strlen(g->headers);
        snprintf(g->headers + n, sizeof g->headers - n, "%.*s: %.*s\n",
                 BH_SLICE_ARG(r->headers[i].name), BH_SLICE_ARG(r->headers[i].value));
    }
}

static void forget(struct got *g) {
    bh_free(g->body);
    *g = (struct got){0};
}

static bh_handle ask(struct env *env, struct got *g, const char *method, const char *path,
                     struct bh_slice body) {
    struct bh_hooks *h = bh_script_hooks(env->script);
    struct bh_request r = {.method = bh_slice_cstr(method),
                           .path = bh_slice_cstr(path),
                           .query = BH_SLICE("a=1"),
                           .host = BH_SLICE("example.org")};
    *g = (struct got){0};
    return h->vt->http(h, &r, body, on_response, g, 77);
}

static void get(struct env *env, struct got *g, const char *path) {
    assert_int_equal(ask(env, g, "GET", path, bh_slice("", 0)), 0);
    assert_int_equal(g->calls, 1);
}

static void unload(struct env *env) {
    env_close_script(env);
    for (int i = 0; i < 8; i++) {
        bh_free(env->files[i]);
        env->files[i] = NULL;
    }
}

/* The response of a function that is `return <results>`. */
static void returns(struct env *env, struct got *g, const char *results) {
    char source[512];
    snprintf(source, sizeof source,
             BH "return { http = { ['GET /x'] = function() return %s end } }", results);
    LOAD_OK(env, source);
    get(env, g, "/x");
    unload(env);
}

static void test_request(void **state) {
    struct env *env = *state;
    struct got g;
    LOAD_OK(env, BH "return { http = { ['POST /x/:id/*rest'] = function(req)\n"
                    "  assert(req.method == 'POST' and req.path == '/x/a%2Fb%20c+d/e/%C3%BC')\n"
                    "  assert(req:arg('a') == '1' and req.host == 'example.org')\n"
                    "  local params = req.params\n"
                    "  bh.sleep(1)\n"
                    "  assert(params.id == 'a/b c+d' and params.rest == 'e/\\u{fc}')\n"
                    "  assert(params.none == nil and req.params == params)\n"
                    "  assert(req.body == '{\"n\":[1]}' and req:json().n[1] == 1)\n"
                    "  return 200, nil, req.body end } }");
    char body[] = "{\"n\":[1]}";
    bh_handle ticket =
        ask(env, &g, "POST", "/x/a%2Fb%20c+d/e/%C3%BC", bh_slice(body, sizeof body - 1));
    assert_int_not_equal(ticket, 0);
    assert_int_equal(g.calls, 0);
    memset(body, 'x', sizeof body); /* it was borrowed */
    env_advance(env, 1100);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.status, 200);
    assert_string_equal(g.body, "{\"n\":[1]}");
    forget(&g);
}

static void test_bodies_of_requests(void **state) {
    struct env *env = *state;
    struct got g;
    LOAD_OK(env,
            "return { http = { ['POST /x'] = function(req)\n"
            "  local value, why = req:json()\n"
            "  return 200, nil, #req.body .. ' ' .. tostring(value) .. ' ' .. tostring(why) end },"
            "on_api = function(req)\n"
            "  local value, why = req:json()\n"
            "  return req.body == nil and value == nil and why:find 'no body' and true end }");
    ask(env, &g, "POST", "/x", BH_SLICE("true"));
    assert_string_equal(g.body, "4 true nil");
    forget(&g);
    ask(env, &g, "POST", "/x", BH_SLICE("{"));
    assert_non_null(strstr(g.body, "1 nil "));
    assert_non_null(strstr(g.body, "at byte"));
    forget(&g);
    ask(env, &g, "POST", "/x", BH_SLICE("a\0b"));
    assert_non_null(strstr(g.body, "3 nil "));
    forget(&g);
    ask(env, &g, "POST", "/x", bh_slice(NULL, 0));
    assert_non_null(strstr(g.body, "0 nil "));
    forget(&g);
    struct answer a = {0};
    struct bh_hooks *h = bh_script_hooks(env->script);
    h->vt->api(h, &(struct bh_request){.method = BH_SLICE("GET")}, answer_allowed, &a, 77);
    assert_true(a.allowed);
    answer_free(&a);
}

static void test_params_of_handshakes(void **state) {
    static const struct bh_path_param params[] = {{BH_SLICE("key"), BH_SLICE("a%20b")}};
    struct env *env = *state;
    struct answer a = {0};
    LOAD_OK(env, "return { on_handshake = function(req)\n"
                 "  assert(req.params.key == 'a b' and req.body == nil)\n"
                 "  return { user = 'u1' } end }");
    struct bh_hooks *h = bh_script_hooks(env->script);
    struct bh_request r = {.params = params, .param_count = 1};
    h->vt->handshake(h, &r, on_handshake_result, &a, 77);
    assert_int_equal(a.status, 0);
    answer_free(&a);
}

static void test_answers(void **state) {
    static const struct {
        const char *results;
        int status;
        const char *headers, *body;
    } cases[] = {
        {"204", 204, "", ""},
        {"200, nil, 'hi'", 200, "Content-Type: text/plain; charset=utf-8\n", "hi"},
        {"200, {}, ''", 200, "Content-Type: text/plain; charset=utf-8\n", ""},
        {"201, nil, { a = 1 }", 201, "Content-Type: application/json\n", "{\"a\":1}"},
        {"200, nil, bh.json.array()", 200, "Content-Type: application/json\n", "[]"},
        {"599, { ['content-type'] = 'text/html' }, '<p>'", 599, "content-type: text/html\n", "<p>"},
        {"200, { ['Content-Type'] = 'application/problem+json' }, { 1 }", 200,
         "Content-Type: application/problem+json\n", "[1]"},
        {"302, { Location = '/y', }", 302, "Location: /y\n", ""},
        {"200, { ['Set-Cookie'] = { 'a=1', 'b=2' } }", 200, "Set-Cookie: a=1\nSet-Cookie: b=2\n",
         ""},
        {"503, { ['Retry-After'] = 5 }", 503, "Retry-After: 5\n", ""},
        {"200, nil, 'a\\0b', 'more'", 200, "Content-Type: text/plain; charset=utf-8\n", "a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct got g;
        returns(*state, &g, cases[i].results);
        assert_int_equal(g.status, cases[i].status);
        assert_string_equal(g.headers, cases[i].headers);
        assert_string_equal(g.body, cases[i].body);
        forget(&g);
    }
}

static void test_mistakes_are_500(void **state) {
    static const char *const bad[] = {
        "true",
        "'200'",
        "200.5",
        "199",
        "600",
        "101",
        "{}",
        "200, 'text'",
        "200, nil, 7",
        "200, nil, true",
        "200, nil, { f = print }",
        "200, { ['Content-Length'] = 1 }",
        "200, { ['transfer-encoding'] = 'chunked' }",
        "200, { Connection = 'close' }",
        "200, { a = 'x\\r\\ny: 1' }",
        "200, { ['a b'] = 'x' }",
        "200, { a = {} }",
        "200, { a = { 'x', {} } }",
        "200, { 'a' }",
        "200, { a = (function() local t = {} for i = 1, 33 do t[i] = 'x' end return t end)() }",
        "error 'secret'",
        "error {}",
        "coroutine.yield()",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct got g;
        returns(*state, &g, bad[i]);
        if (g.status != 500)
            fail_msg("%s: %d", bad[i], g.status);
        assert_string_equal(g.headers, "Content-Type: application/json\n");
        assert_non_null(strstr(g.body, "{\"error\":{\"code\":\"script_error\",\"message\":"));
        assert_null(strstr(g.body, "secret"));
        forget(&g);
    }
}

static void test_nil_is_404(void **state) {
    struct got g;
    returns(*state, &g, "nil, { a = 'b' }, 'text'");
    assert_int_equal(g.status, 404);
    assert_non_null(strstr(g.body, "\"not_found\""));
    forget(&g);
}

static void test_route_of_a_request(void **state) {
    struct env *env = *state;
    struct bh_hooks *h;
    struct got g;
    const char *allow = NULL;
    LOAD_OK(env,
            "return { http = { ['GET /x/:id'] = function() return 201 end,\n"
            "  ['GET /x/new'] = function() return 202 end } }",
            "return { http = { ['GET /x/:n'] = function() return 203 end,\n"
            "  ['GET /y'] = function() return 204 end } }");
    h = bh_script_hooks(env->script);
    assert_true(bh_hooks_has(h, BH_HOOK_HTTP));
    assert_int_equal(h->vt->route(h, BH_SLICE("HEAD"), BH_SLICE("/x/7"), &allow), 0);
    assert_int_equal(h->vt->route(h, BH_SLICE("GET"), BH_SLICE("/z"), &allow), BH_ENOTFOUND);
    assert_int_equal(h->vt->route(h, BH_SLICE("PUT"), BH_SLICE("/y"), &allow), BH_EINVAL);
    assert_string_equal(allow, "GET, HEAD");
    get(env, &g, "/x/7");
    assert_int_equal(g.status, 201);
    forget(&g);
    get(env, &g, "/x/new");
    assert_int_equal(g.status, 202);
    forget(&g);
    get(env, &g, "/y");
    assert_int_equal(g.status, 204);
    forget(&g);
    get(env, &g, "/z");
    assert_int_equal(g.status, 404);
    forget(&g);
}

static void test_cancelled(void **state) {
    struct env *env = *state;
    struct got g;
    LOAD_OK(env, BH "closed = 0\n"
                    "return { http = { ['GET /wait'] = function(req)\n"
                    "  local guard <close> = setmetatable({}, { __close = function()\n"
                    "    closed = closed + 1 end })\n"
                    "  bh.sleep(1) return 200 end,\n"
                    "  ['GET /closed'] = function() return 200 + closed end } }");
    bh_handle ticket = ask(env, &g, "GET", "/wait", bh_slice(NULL, 0));
    assert_int_not_equal(ticket, 0);
    bh_script_hooks(env->script)->vt->cancel(bh_script_hooks(env->script), ticket);
    bh_script_hooks(env->script)->vt->cancel(bh_script_hooks(env->script), ticket);
    env_advance(env, 1100);
    assert_int_equal(g.calls, 0);
    get(env, &g, "/closed");
    assert_int_equal(g.status, 201);
    forget(&g);
}

static void test_many_in_parallel(void **state) {
    struct env *env = *state;
    struct got g[100];
    LOAD_OK(env, BH "return { http = { ['GET /x/:n'] = function(req)\n"
                    "  bh.sleep(1) return 200, nil, req.params.n end } }");
    for (int i = 0; i < 100; i++) {
        char path[16];
        snprintf(path, sizeof path, "/x/%d", i);
        assert_int_not_equal(ask(env, &g[i], "GET", path, bh_slice(NULL, 0)), 0);
    }
    env_advance(env, 1100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(g[i].calls, 1);
        assert_int_equal(atoi(g[i].body), i);
        forget(&g[i]);
    }
}

static void test_freed_state_while_a_task_waits(void **state) {
    struct env *env = *state;
    struct got g;
    LOAD_OK(env, BH "return { http = { ['GET /x'] = function() bh.sleep(1) return 200 end } }");
    assert_int_not_equal(ask(env, &g, "GET", "/x", bh_slice(NULL, 0)), 0);
    env_close_script(env);
    env_advance(env, 1100);
    assert_int_equal(g.calls, 0);
}

static lua_Alloc plain_alloc;

static void *no_large_alloc(void *ud, void *p, size_t old_size, size_t size) {
    return size > 100000 ? NULL : plain_alloc(ud, p, old_size, size);
}

/* A body that does not fit into memory must fail only its own request. */
static void test_not_enough_memory_for_the_body(void **state) {
    struct env *env = *state;
    struct got g;
    void *ud;
    char *body = calloc(1, 200000);
    LOAD_OK(env, "return { http = { ['POST /x'] = function(req) return 200, nil, req.body end } }");
    lua_State *L = env->script->L;
    plain_alloc = lua_getallocf(L, &ud);
    lua_setallocf(L, no_large_alloc, ud);
    assert_int_equal(ask(env, &g, "POST", "/x", bh_slice(body, 200000)), 0);
    assert_int_equal(g.status, 500);
    forget(&g);
    ask(env, &g, "POST", "/x", BH_SLICE("small"));
    assert_string_equal(g.body, "small");
    forget(&g);
    assert_int_equal(lua_gettop(L), 0);
    lua_setallocf(L, plain_alloc, ud);
    free(body);
}

static void test_tenant(void **state) {
    static const struct {
        const char *tenant;
        int status;
        const char *part;
    } cases[] = {
        {"return req.host", 200, "example.org"},
        {"return false, 403, 'not here'", 403, "\"message\":\"not here\""},
        {"return false, 403, '{\"mine\":1}'", 403, "{\"mine\":1}"},
        {"error 'x'", 503, "\"unavailable\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct env *env = *state;
        struct got g;
        char source[256];
        snprintf(source, sizeof source,
                 "return { on_tenant = function(req) %s end, http = {\n"
                 "  ['GET /x'] = function(req) return 200, nil, req.tenant end } }",
                 cases[i].tenant);
        LOAD_OK(env, source);
        get(env, &g, "/x");
        assert_int_equal(g.status, cases[i].status);
        if (!strstr(g.body, cases[i].part))
            fail_msg("%s: %s", cases[i].tenant, g.body);
        forget(&g);
        unload(env);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_request),
        SCRIPT_TEST(test_bodies_of_requests),
        SCRIPT_TEST(test_params_of_handshakes),
        SCRIPT_TEST(test_answers),
        SCRIPT_TEST(test_mistakes_are_500),
        SCRIPT_TEST(test_nil_is_404),
        SCRIPT_TEST(test_route_of_a_request),
        SCRIPT_TEST(test_cancelled),
        SCRIPT_TEST(test_many_in_parallel),
        SCRIPT_TEST(test_freed_state_while_a_task_waits),
        SCRIPT_TEST(test_not_enough_memory_for_the_body),
        SCRIPT_TEST(test_tenant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
