/* test_bind_http.c - bh.http.fetch over a fake client. */
#include "script_cmocka.h"

#include "fake_fetch.h"

#define BH "local bh = require 'bellhop'\n"

static struct fake_fetch fake;

static int setup(void **state) {
    script_setup(state);
    struct env *env = *state;
    fake = (struct fake_fetch){.base.vt = &fake_fetch_vt};
    env->worker->fetch = &fake.base;
    return 0;
}

static int teardown(void **state) {
    script_teardown(state);
    fake_fetch_free(&fake);
    return 0;
}

/* on_message fetches with `options`, and replies with the result. */
#define ASK(options)                                                                               \
    BH "return { on_message = function(c, d)\n"                                                    \
       "  local r, why = bh.http.fetch('http://h/' .. d" options ")\n"                             \
       "  if not r then return 'nil|' .. why end\n"                                                \
       "  local names = {}\n"                                                                      \
       "  for name, value in pairs(r.headers) do\n"                                                \
       "    if type(value) == 'table' then value = '{' .. table.concat(value, ';') .. '}' end\n"   \
       "    names[#names + 1] = name .. '=' .. value\n"                                            \
       "  end\n"                                                                                   \
       "  table.sort(names)\n"                                                                     \
       "  return math.type(r.status) .. r.status .. '|' .. table.concat(names, '|') .. '|' .. "    \
       "r.body end }"

static void test_no_client(void **state) {
    struct env *env = *state;
    env->worker->fetch = NULL;
    LUA_OK(env, "local r, why = bh.http.fetch('http://h/') eq(r, nil) assert(why:find 'no HTTP')");
}

static void test_response(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_header headers[] = {
        {BH_SLICE("vary"), BH_SLICE("a")}, {BH_SLICE("set-cookie"), BH_SLICE("x=1")},
        {BH_SLICE("vary"), BH_SLICE("b")}, {BH_SLICE("set-cookie"), BH_SLICE("y=2")},
        {BH_SLICE("vary"), BH_SLICE("c")}, {BH_SLICE("empty"), BH_SLICE("")}};
    struct bh_fetch_response response = {201, headers, 6, BH_SLICE("the\0body")};
    LOAD_OK(env, ASK(""));
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_string_equal(fake.request.p, " http://h/x\n\n"); /* the client knows the method */
    assert_int_equal(fake.last.timeout_ms + fake.last.max_bytes + fake.last.redirects, 0);
    assert_false(fake.last.has_body);
    assert_int_equal(p.sent_count, 0);
    fake_fetch_answer(&fake, 0, NULL, &response);
    assert_string_equal(client_last(&p), "integer201|empty=|set-cookie={x=1;y=2}|vary=a, b, c|the");
    client_sends(&p, "y");
    fake_fetch_answer(&fake, BH_ETIMEDOUT, "timeout", NULL);
    assert_string_equal(client_last(&p), "nil|timeout");
    fake.refuse = "URL: no";
    client_sends(&p, "z");
    assert_string_equal(client_last(&p), "nil|URL: no");
    assert_int_equal(fake.cancelled, 0);
    client_free(&p);
}

static void asks(struct env *env, struct client *p, const char *source, const char *request) {
    LOAD_OK(env, source);
    client_open(env, p, "u1");
    client_sends(p, "x");
    assert_string_equal(fake.request.p, request);
    client_free(p);
}

static void test_options(void **state) {
    struct client p;
    asks(*state, &p,
         ASK(", { method = 'PUT', body = 'b', timeout = 0.5, max_bytes = 4096, follow = 3 }"),
         "PUT http://h/x\n\nb");
    assert_int_equal(fake.last.timeout_ms, 500);
    assert_int_equal(fake.last.max_bytes, 4096);
    assert_int_equal(fake.last.redirects, 3);
    assert_true(fake.last.has_body);
}

static void test_empty_body(void **state) {
    struct client p;
    asks(*state, &p, ASK(", { body = '' }"), " http://h/x\n\n");
    assert_true(fake.last.has_body);
}

static void test_json(void **state) {
    struct client p;
    asks(*state, &p, ASK(", { json = { a = { 1, bh.json.null } } }"),
         " http://h/x\nContent-Type: application/json\n\n{\"a\":[1,null]}");
    assert_true(fake.last.has_body);
}

static void test_json_of_another_type(void **state) {
    struct client p;
    asks(*state, &p, ASK(", { json = false, headers = { ['content-TYPE'] = 'application/x' } }"),
         " http://h/x\ncontent-TYPE: application/x\n\nfalse");
}

static void test_headers(void **state) {
    struct client p;
    asks(*state, &p, ASK(", { headers = { ['X-A'] = { 'one', 2, '3' } } }"),
         " http://h/x\nX-A: one\nX-A: 2\nX-A: 3\n\n");
}

static void test_number_as_a_header(void **state) {
    struct client p;
    asks(*state, &p, ASK(", { headers = { n = 42 } }"), " http://h/x\nn: 42\n\n");
}

static void test_misuse(void **state) {
    LUA_OK(*state,
           "local f, u = bh.http.fetch, 'http://h/'\n"
           "throws('string expected', f) throws('string expected', f, {})\n"
           "throws('table expected', f, u, 'x')\n"
           "throws('bh.http.fetch has no option \"timeot\"; did you mean \"timeout\"?', f, u, "
           "{ timeot = 1 })\n"
           "throws('has no option', f, u, { [1] = 1 })\n"
           "throws('method must be a string, not a number', f, u, { method = 1 })\n"
           "throws('body must be a string (json encodes a table), not a table', f, u, { body = {} "
           "})\n"
           "for _, bad in ipairs { 0, -1, 601, 0/0, math.huge, '1', {} } do\n"
           "  throws('timeout must be', f, u, { timeout = bad }) end\n"
           "for _, bad in ipairs { 0, -1, 64 * 1024 * 1024 + 1, 0/0, '1' } do\n"
           "  throws('max_bytes must be', f, u, { max_bytes = bad }) end\n"
           "for _, bad in ipairs { -1, 11, 1.5, true, '1' } do\n"
           "  throws('follow must be', f, u, { follow = bad }) end\n"
           "throws('headers must be a table', f, u, { headers = 'x' })\n"
           "throws('names must be strings', f, u, { headers = { 'x' } })\n"
           "throws('headers: X must be', f, u, { headers = { X = true } })\n"
           "throws('headers: X must be', f, u, { headers = { X = { {} } } })\n"
           "local many = {} for i = 1, 2000 do many[i] = 'x' end\n"
           "throws('headers: too many', f, u, { headers = { X = many } })\n"
           "throws('exclude each other', f, u, { body = 'x', json = 1 })\n"
           "local r, why = f(u, { json = print }) eq(r, nil) assert(why:find '^json: ', why)\n"
           "throws('from a coroutine', coroutine.wrap(function() f(u) end))\n");
    assert_int_equal(fake.calls, 0);
}

static void test_refused_while_loading(void **state) {
    LOAD_FAILS(*state, BH "bh.http.fetch('http://h/') return {}", "not while the script is loaded");
}

/* --- the task ends first --- */

static void test_hook_timeout(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.hook_timeout_ms = 200;
    LOAD_OK(env, ASK(""));
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    env_advance(env, 100);
    assert_int_equal(fake.cancelled, 0);
    env_advance(env, 200);
    assert_int_equal(fake.cancelled, 1);
    client_sends(&p, "y");
    assert_int_equal(fake.calls, 2);
    client_free(&p);
}

static void test_handshake_is_cancelled(void **state) {
    struct env *env = *state;
    struct answer a = {0};
    struct bh_request request = {.method = BH_SLICE("GET"), .path = BH_SLICE("/ws")};
    LOAD_OK(env, BH "return { on_handshake = function(req)\n"
                    "  local guard <close> = setmetatable({}, { __close = function()\n"
                    "    bh.log.info('closed') end })\n"
                    "  bh.http.fetch('http://h/') end }");
    struct bh_hooks *h = env->worker->hooks;
    bh_handle ticket = h->vt->handshake(h, &request, on_handshake_result, &a, 0);
    assert_int_equal(fake.calls, 1);
    h->vt->cancel(h, ticket);
    assert_int_equal(fake.cancelled, 1);
    assert_int_equal(a.calls, 0);
}

static void test_freed_state(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, ASK(""));
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    env_close_script(env);
    assert_int_equal(fake.cancelled, 1);
    client_free(&p);
}

/* The response arrives after the cancel: no task is found. */
static void test_late_response(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_fetch_response response = {200, NULL, 0, BH_SLICE("late")};
    env->config.hook_timeout_ms = 100;
    LOAD_OK(env, ASK(""));
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    bh_fetch_cb done = fake.done;
    bh_handle first = fake.handle;
    env_advance(env, 200);
    client_sends(&p, "y");
    done(fake.ud, first, 0, NULL, &response);
    assert_int_equal(p.sent_count, 0);
    fake_fetch_answer(&fake, 0, NULL, &response);
    assert_string_equal(client_last(&p), "integer200||late");
    client_free(&p);
}

/* Several, one after the other and in parallel; each task has its own guard. */
static void test_one_after_the_other(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_fetch_response response = {200, NULL, 0, BH_SLICE("x")};
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  local all = {}\n"
                    "  for i = 1, 100 do all[i] = bh.http.fetch('http://h/' .. i).body end\n"
                    "  return table.concat(all) end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    for (int i = 0; i < 100; i++)
        fake_fetch_answer(&fake, 0, NULL, &response);
    assert_int_equal(strlen(client_last(&p)), 100);
    assert_int_equal(fake.cancelled, 0);
    client_free(&p);
}

static void test_not_enough_memory_for_the_response(void **state) {
    struct env *env = *state;
    struct client p;
    size_t n = 48u << 20;
    char *body = calloc(1, n);
    struct bh_fetch_response response = {200, NULL, 0, {body, n}};
    env->config.memory_limit = 16u << 20;
    LOAD_OK(env, ASK(""));
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    fake_fetch_answer(&fake, 0, NULL, &response);
    free(body);
    assert_string_equal(client_last(&p), "nil|not enough memory for the response");
    client_free(&p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_no_client),
        TEST(test_response),
        TEST(test_options),
        TEST(test_empty_body),
        TEST(test_json),
        TEST(test_json_of_another_type),
        TEST(test_headers),
        TEST(test_number_as_a_header),
        TEST(test_misuse),
        TEST(test_refused_while_loading),
        TEST(test_hook_timeout),
        TEST(test_handshake_is_cancelled),
        TEST(test_freed_state),
        TEST(test_late_response),
        TEST(test_one_after_the_other),
        TEST(test_not_enough_memory_for_the_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
