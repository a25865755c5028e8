/* test_hooks_request.c - on_tenant, on_handshake, on_api, and the req object. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

static const struct bh_header headers[] = {
    {BH_SLICE("Host"), BH_SLICE("example.org")},
    {BH_SLICE("Authorization"), BH_SLICE("Bearer abc")},
    {BH_SLICE("X-Two"), BH_SLICE("1")},
    {BH_SLICE("x-two"), BH_SLICE("2")},
    {BH_SLICE("Cookie"), BH_SLICE("a=1; token=\"t t\"; b=2")},
    {BH_SLICE("Sec-WebSocket-Protocol"), BH_SLICE("chat, news.v1")},
};

static struct bh_request request(void) {
    return (struct bh_request){
        .method = BH_SLICE("GET"),
        .path = BH_SLICE("/ws"),
        .query = BH_SLICE("user=a%20b&topic=x&topic=y+z&bad=%zz&empty=&flag&=odd&na%6De=n"),
        .host = BH_SLICE("example.org"),
        .headers = headers,
        .header_count = sizeof headers / sizeof *headers,
        .peer_ip = BH_SLICE("192.0.2.7"),
        .peer_port = 4711,
        .listener = BH_SLICE("127.0.0.1:8080"),
        .secure = true,
    };
}

static bh_handle shake(struct env *env, struct answer *a) {
    struct bh_request r = request();
    struct bh_hooks *h = bh_script_hooks(env->script);
    *a = (struct answer){0};
    return h->vt->handshake(h, &r, on_handshake_result, a, 77);
}

static bh_handle ask_api(struct env *env, struct answer *a) {
    struct bh_request r = request();
    struct bh_hooks *h = bh_script_hooks(env->script);
    *a = (struct answer){0};
    return h->vt->api(h, &r, answer_allowed, a, 77);
}

#define REFUSED(env, source, expected_status)                                                      \
    do {                                                                                           \
        struct answer answer_;                                                                     \
        LOAD_OK(env, source);                                                                      \
        assert_int_equal(shake(env, &answer_), 0);                                                 \
        assert_int_equal(answer_.calls, 1);                                                        \
        assert_int_equal(answer_.status, expected_status);                                         \
        assert_null(answer_.identity);                                                             \
        answer_free(&answer_);                                                                     \
    } while (0)

#define IS(slice, text) assert_true(bh_slice_eq(slice, bh_slice_cstr(text)))

static void test_req(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(env,
            BH "return { on_handshake = function(req)\n"
               "  assert(req.method == 'GET' and req.path == '/ws' and req.host == 'example.org')\n"
               "  assert(req.ip == '192.0.2.7' and req.port == 4711 and req.secure == true)\n"
               "  assert(req.listener == '127.0.0.1:8080' and req.tenant == nil)\n"
               "  assert(req.query:find('^user=a%%20b') and req.nonsense == nil)\n"
               "  bh.sleep(1)\n"
               "  assert(req:arg('user') == 'a b' and req:arg('topic') == 'x')\n"
               "  assert(req:arg('name') == 'n' and req:arg('empty') == '')\n"
               "  assert(req:arg('flag') == '' and req:arg('') == 'odd')\n"
               "  assert(req:arg('bad') == nil and req:arg('none') == nil)\n"
               "  assert(table.concat(req:args('topic'), '|') == 'x|y z')\n"
               "  assert(#req:args('none') == 0)\n"
               "  assert(req:header('authorization') == 'Bearer abc')\n"
               "  assert(req:header('X-TWO') == '1, 2' and req:header('none') == nil)\n"
               "  assert(req:cookie('token') == 't t' and req:cookie('b') == '2')\n"
               "  assert(req:cookie('none') == nil)\n"
               "  assert(table.concat(req.subprotocols, '|') == 'chat|news.v1')\n"
               "  assert(not pcall(function() req.path = 'x' end))\n"
               "  return { user = 'u1' } end }");
    assert_int_not_equal(shake(env, &a), 0);
    assert_int_equal(a.calls, 0);
    env_advance(env, 1100);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.status, 0);
    IS(a.identity->user, "u1");
    answer_free(&a);
}

static void test_identity(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(
        env,
        "return { on_handshake = function(req) return {\n"
        "  user = 9223372036854775807, tenant = 't1', device = 'phone', expires = 1800000000.5,\n"
        "  topics = { 'news', 7 }, tags = { platform = 'ios', beta = true },\n"
        "  headers = { ['Set-Cookie'] = 'a=1' }, protocol = 'news.v1',\n"
        "  compression = 'takeover', format = 'json' } end }");
    shake(env, &a);
    assert_int_equal(a.status, 0);
    IS(a.identity->user, "9223372036854775807");
    IS(a.identity->tenant, "t1");
    IS(a.identity->device, "phone");
    assert_int_equal(a.identity->expires, 1800000001); /* not before the token */
    assert_int_equal(a.identity->topic_count, 2);
    IS(a.identity->topics[0], "news");
    IS(a.identity->topics[1], "7");
    assert_int_equal(a.identity->tag_count, 2);
    assert_string_equal(a.protocol, "news.v1");
    assert_int_equal(a.compression, BH_COMPRESSION_TAKEOVER);
    assert_int_equal(a.format, BH_FORMAT_JSON);
    assert_string_equal(a.header, "Set-Cookie: a=1");
    answer_free(&a);
}

static int status_of(struct env *env, const char *identity) {
    struct answer a;
    char source[128];
    snprintf(source, sizeof source, "return { on_handshake = function() return %s end }", identity);
    env_close_script(env);
    LOAD_OK(env, source);
    shake(env, &a);
    assert_true((a.status == 0) == (a.identity != NULL));
    int status = a.status;
    assert_true(status || a.compression == BH_COMPRESSION_DEFAULT);
    assert_true(status || a.format == BH_FORMAT_DEFAULT);
    answer_free(&a);
    return status;
}

static void test_no_user(void **state) {
    struct env *env = *state;
    for (int require = 0; require < 2; require++) {
        env->config.require_user = require;
        assert_int_equal(status_of(env, "{}"), require ? 403 : 0);
        assert_int_equal(status_of(env, "{ tenant = 't' }"), require ? 403 : 0);
        assert_int_equal(status_of(env, "{ anonymous = false }"), require ? 403 : 0);
        assert_int_equal(status_of(env, "{ anonymous = true }"), 0);
        assert_int_equal(status_of(env, "{ user = 'u' }"), 0);
        assert_int_equal(status_of(env, "{ user = 'u', anonymous = false }"), 0);
    }
}

/* Each of these is a bug of the script: 503, and no connection. */
static void test_bad_identities(void **state) {
    static const char *const bad[] = {
        "{ user = 1.5 }",
        "{ user = true }",
        "{ user = '' }",
        "{ user = 'a b' }",
        "{ user = 'broadcast' }",
        "{ usr = 'a' }",
        "{ limits = 7 }",
        "{ limits = { messages = 7 } }",
        "{ limits = { 7 } }",
        "{ limits = { queue_bytes = 0 } }",
        "{ limits = { queue_bytes = 1.5 } }",
        "{ limits = { bytes_per_second = 1 << 40 } }",
        "{ 'a' }",
        "{ user = ('x'):rep(129) }",
        "{ tenant = 'a b' }",
        "{ expires = 'soon' }",
        "{ expires = -1 }",
        "{ expires = 0/0 }",
        "{ expires = 3600 }",
        "{ expires = 1700000000000 }",
        "{ anonymous = 1 }",
        "{ user = 'a', anonymous = true }",
        "{ topics = 'news' }",
        "{ topics = { true } }",
        "{ topics = { 'a b' } }",
        "{ topics = (function() local t = {} for i = 1, 300 do t[i] = i end return t end)() }",
        "{ tags = { {} } }",
        "{ tags = { a = {} } }",
        "{ tags = (function() local t = {} for i = 1, 40 do t['k' .. i] = i end return t end)() }",
        "{ headers = { ['a b'] = 'x' } }",
        "{ headers = { a = 'x\\r\\nSet-Cookie: y' } }",
        "{ headers = { a = {} } }",
        "{ headers = 'x' }",
        "{ protocol = 'other' }",
        "{ protocol = 1 }",
        "{ compression = 'on' }",
        "{ compression = '' }",
        "{ compression = false }",
        "{ format = 'xml' }",
        "{ format = true }",
        "true",
        "'u1'",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct env *env = *state;
        char source[256];
        snprintf(source, sizeof source, "return { on_handshake = function() return %s end }",
                 bad[i]);
        REFUSED(env, source, 503);
        env_close_script(env);
        bh_free(env->files[0]);
        env->files[0] = NULL;
    }
}

static void test_undecided(void **state) {
    REFUSED(*state, "return { on_handshake = function() end }", 401);
}

static void test_error_is_503(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(env, "return { on_handshake = function() error { code = 1 } end }",
            "return { on_handshake = function() return {} end }");
    shake(env, &a);
    assert_int_equal(a.status, 503);
    assert_null(a.identity);
    assert_non_null(strstr(a.body, "\"unavailable\""));
    answer_free(&a);
}

static void test_refusal(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(env, "return { on_handshake = function()\n"
                 "  return false, 429, 'slow down', { ['Retry-After'] = 5 } end }");
    shake(env, &a);
    assert_int_equal(a.status, 429);
    assert_string_equal(a.body, "slow down");
    assert_string_equal(a.header, "Retry-After: 5");
    answer_free(&a);
}

static void test_plain_false_is_401(void **state) {
    REFUSED(*state, "return { on_handshake = function() return false end }", 401);
}

static void test_refusal_with_a_bad_status(void **state) {
    REFUSED(*state, "return { on_handshake = function() return false, 200, 'ok' end }", 503);
}

static void test_cancelled(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(env, BH "closed = 0\n"
                    "return { on_handshake = function(req)\n"
                    "  if closed == 1 then return { user = 'after' } end\n"
                    "  local guard <close> = setmetatable({}, { __close = function()\n"
                    "    closed = closed + 1 end })\n"
                    "  bh.sleep(1) return {} end }");
    bh_handle ticket = shake(env, &a);
    assert_int_not_equal(ticket, 0);
    bh_script_hooks(env->script)->vt->cancel(bh_script_hooks(env->script), ticket);
    bh_script_hooks(env->script)->vt->cancel(bh_script_hooks(env->script), ticket);
    env_advance(env, 1100);
    assert_int_equal(a.calls, 0);
    shake(env, &a);
    IS(a.identity->user, "after");
    answer_free(&a);
}

/* --- on_tenant --- */

static void test_tenant_is_a_field_of_req(void **state) {
    struct env *env = *state;
    struct answer a;
    LOAD_OK(env, "return { on_tenant = function(req) return req.host end,\n"
                 "  on_handshake = function(req) return { tenant = req.tenant } end,\n"
                 "  on_api = function(req) return req.tenant == 'example.org' end }");
    shake(env, &a);
    IS(a.identity->tenant, "example.org");
    answer_free(&a);
    ask_api(env, &a);
    assert_true(a.allowed);
    answer_free(&a);
}

static void test_tenant_failures(void **state) {
#define WITH_TENANT(body)                                                                          \
    BH "return { on_tenant = function(req) " body " end,\n"                                        \
       "  on_handshake = function() return {} end, on_api = function() return true end }"
    static const struct {
        const char *source;
        int status;
    } cases[] = {
        {WITH_TENANT("error 'x'"), 503},       {WITH_TENANT("return 'a b'"), 503},
        {WITH_TENANT("return {}"), 503},       {WITH_TENANT("bh.sleep(1)"), 503},
        {WITH_TENANT("return false"), 404},    {WITH_TENANT("return false, 403, 'no'"), 403},
        {WITH_TENANT("return false, 7"), 503},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct env *env = *state;
        struct answer a;
        REFUSED(env, cases[i].source, cases[i].status);
        ask_api(env, &a);
        assert_false(a.allowed);
        assert_int_equal(a.status, cases[i].status);
        answer_free(&a);
        env_close_script(env);
        bh_free(env->files[0]);
        env->files[0] = NULL;
    }
}

/* --- on_api --- */

static void test_api(void **state) {
    static const struct {
        const char *answer;
        bool allowed;
        int status;
    } cases[] = {
        {"true", true, 0},
        {"nil", false, 0},
        {"false", false, 403},
        {"false, 401", false, 401},
        {"false, 20, ''", false, 503},
        {"'yes'", false, 503},
        {"error 'x'", false, 503},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct env *env = *state;
        struct answer a;
        char source[128];
        snprintf(source, sizeof source, "return { on_api = function(req) return %s end }",
                 cases[i].answer);
        LOAD_OK(env, source);
        assert_int_equal(ask_api(env, &a), 0);
        assert_int_equal(a.calls, 1);
        assert_int_equal(a.allowed, cases[i].allowed);
        assert_int_equal(a.status, cases[i].status);
        answer_free(&a);
        env_close_script(env);
        bh_free(env->files[0]);
        env->files[0] = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_req),
        SCRIPT_TEST(test_identity),
        SCRIPT_TEST(test_no_user),
        SCRIPT_TEST(test_bad_identities),
        SCRIPT_TEST(test_undecided),
        SCRIPT_TEST(test_error_is_503),
        SCRIPT_TEST(test_refusal),
        SCRIPT_TEST(test_plain_false_is_401),
        SCRIPT_TEST(test_refusal_with_a_bad_status),
        SCRIPT_TEST(test_cancelled),
        SCRIPT_TEST(test_tenant_is_a_field_of_req),
        SCRIPT_TEST(test_tenant_failures),
        SCRIPT_TEST(test_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
