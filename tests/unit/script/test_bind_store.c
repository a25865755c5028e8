/* test_bind_store.c - values that last: bh.shared, bh.cache, bh.metrics; and bh.redis.must,
 * pipeline, eval. */
#include "script_cmocka.h"

#include "bellhop/base/metrics.h"

#define BH "local bh = require 'bellhop'\n"

/* --- shared --- */

static void test_shared_values(void **state) {
    LUA_OK(*state, "local s = bh.shared.users\n"
                   "eq(s, bh.shared.users) eq(s:get 'a', nil)\n"
                   "eq(s:set('a', 'text'), true) eq(s:get 'a', 'text')\n"
                   "eq(s:set('a', 1 << 62), true) eq(s:get 'a', 1 << 62)\n"
                   "eq(s:set('a', 2.5), true) eq(s:get 'a', 2.5)\n"
                   "eq(s:set('a', false), true) eq(s:get 'a', false)\n"
                   "eq(s:set('', 'x\\0y'), true) eq(s:get '', 'x\\0y')\n"
                   "eq(bh.shared.other:get 'a', nil)\n"
                   "eq(s:set('a', nil), true) eq(s:get 'a', nil)\n"
                   "throws('bh.json.encode', s.set, s, 'a', {})\n"
                   "throws('512 bytes', s.get, s, ('k'):rep(513))\n"
                   "throws('seconds', s.set, s, 'a', 1, -1)\n"
                   "throws('64 bytes', function() return bh.shared[''] end)\n"
                   "throws('bellhop.shared expected', s.get, {}, 'a')");
}

static void test_shared_verbs(void **state) {
    LUA_OK(*state,
           "local s, ok, why = bh.shared.n\n"
           "eq(s:incr 'n', 1) eq(s:incr('n', 5), 6) eq(s:incr('n', -10), -4)\n"
           "s:set('t', 'text') ok, why = s:incr 't' eq(ok, nil) eq(why, 'not an integer')\n"
           "s:set('m', math.maxinteger) ok, why = s:incr 'm' eq(why, 'out of range')\n"
           "eq(s:get 'm', math.maxinteger)\n"
           "eq(s:add('new', 1), true) ok, why = s:add('new', 2) eq(ok, nil) eq(why, 'exists')\n"
           "eq(s:get 'new', 1) throws('value', s.add, s, 'x')\n"
           "eq(s:cas('c', nil, 'a'), true) ok, why = s:cas('c', nil, 'b') eq(why, 'changed')\n"
           "eq(s:cas('c', 'a', 'b'), true) ok, why = s:cas('c', 'a', 'x') eq(why, 'changed')\n"
           "eq(s:cas('c', 1, 'x'), nil) eq(s:get 'c', 'b')\n"
           "eq(s:cas('c', 'b', nil), true) eq(s:get 'c', nil)");
}

static void test_shared_values_expire(void **state) {
    LUA_OK(*state, "local s = bh.shared.ttl\n"
                   "s:set('a', 1, 0.1) s:incr('b', 1, 0.1) s:add('c', 1, 0.1) s:set('d', 1)\n"
                   "s:cas('e', nil, 1, 0.1)\n"
                   "bh.spawn(function() bh.sleep(0.05) eq(s:get 'a', 1) eq(s:incr('b', 1, 9), 2)\n"
                   "bh.sleep(0.1) eq(s:get 'a', nil) eq(s:get 'b', nil) eq(s:add('c', 2), true)\n"
                   "eq(s:get 'd', 1) eq(s:cas('e', nil, 1), true) s:set('done', true) end)");
    struct env *env = *state;
    env_advance(env, 200);
    env_close_script(env);
    LUA_OK(env, "eq(bh.shared.ttl:get 'done', true)"); /* it outlives the state */
}

static void test_shared_is_bounded(void **state) {
    LUA_OK(*state, "local s, n = bh.shared.full, 0\n"
                   "while s:set('k' .. n, ('x'):rep(1000), 0.05) do n = n + 1 end\n"
                   "assert(n > 50 and n < 66)\n"
                   "local ok, why = s:set('more', ('x'):rep(1000)) eq(ok, nil)\n"
                   "assert(why:find 'script.shared_memory')\n"
                   "eq(s:set('k0', ('y'):rep(1000)), true) eq(s:get 'k1', ('x'):rep(1000))\n"
                   "eq(s:set('k1', nil), true) eq(s:set('more', 'small'), true)\n"
                   "bh.spawn(function() bh.sleep(2) for i = 1, n - 2 do\n"
                   "eq(s:set('again' .. i, ('x'):rep(1000)), true) end s:set('done', 1) end)");
    struct env *env = *state;
    env_advance(env, 2500);
    env_close_script(env);
    LUA_OK(env, "eq(bh.shared.full:get 'done', 1)");
}

/* --- cache --- */

static void test_cache_fetches_once(void **state) {
    struct env *env = *state;
    LUA_OK(env, "local calls, got = 0, {}\n"
                "local function fetch() calls = calls + 1 bh.sleep(0.1) return 'v' .. calls end\n"
                "for i = 1, 5 do bh.spawn(function()\n"
                "  local v = bh.cache('ns', 'k', 1, fetch) got[#got + 1] = v end) end\n"
                "bh.spawn(function()\n"
                "  bh.sleep(0.2) eq(calls, 1) eq(table.concat(got, ','), 'v1,v1,v1,v1,v1')\n"
                "  eq(bh.cache('ns', 'k', 1, fetch), 'v1')\n"
                "  eq(bh.cache('n', 'sk', 1, function() return 'other' end), 'other')\n"
                "  bh.sleep(1) eq(bh.cache('ns', 'k', 1, fetch), 'v2')\n"
                "  bh.shared.t:set('done', true) end)");
    env_advance(env, 2000);
    env_close_script(env);
    LUA_OK(env, "eq(bh.shared.t:get 'done', true)");
}

static void test_cache_of_failures(void **state) {
    struct env *env = *state;
    LUA_OK(env,
           "local got, calls = {}, 0\n"
           "local function ask(fn) bh.spawn(function()\n"
           "  local ok, v, why = pcall(bh.cache, 'ns', 'k', 1, fn)\n"
           "  got[#got + 1] = tostring(ok) .. ' ' .. tostring(v) .. ' ' .. tostring(why) end) end\n"
           "local function no() bh.sleep(0.1) return nil, 'no luck' end\n"
           "local function boom() bh.sleep(0.1) error('boom', 0) end\n"
           "local function value() return false end\n"
           "ask(no) ask(no)\n"
           "bh.spawn(function() bh.sleep(0.2) table.sort(got)\n"
           "  eq(table.concat(got, ','), 'true nil no luck,true nil no luck')\n"
           "  got = {} ask(boom) ask(boom) bh.sleep(0.2) table.sort(got)\n"
           "  eq(table.concat(got, ','), 'false boom nil,true nil boom')\n"
           "  got = {} ask(value) ask(boom) bh.sleep(0.2)\n"
           "  eq(table.concat(got, ','), 'true false nil,true false nil')\n"
           "  local n = 0 local function short() n = n + 1 return n, 0.1 end\n"
           "  eq(bh.cache('ns', 's', 9, short), 1) eq(bh.cache('ns', 's', 9, short), 1)\n"
           "  eq(select('#', bh.cache('ns', 's', 9, short)), 1)\n"
           "  bh.sleep(0.2) eq(bh.cache('ns', 's', 9, short), 2)\n"
           "  local function itself() return bh.cache('ns', 'self', 1, print) end\n"
           "  throws('the key that it fetches', bh.cache, 'ns', 'self', 1, itself)\n"
           "  throws('number expected', bh.cache, 'ns', 't', 9, function() return 1, {} end)\n"
           "  eq(bh.cache('ns', 't', 9, function() return 3 end), 3)\n"
           "  throws('function expected', bh.cache, 'a', 'b', 1)\n"
           "  throws('seconds', bh.cache, 'a', 'b', -1, value)\n"
           "  bh.shared.t:set('done', true) end)");
    env_advance(env, 2000);
    env_close_script(env);
    LUA_OK(env, "eq(bh.shared.t:get 'done', true)");
}

/* The fetching hook is cancelled: the others get an error, and the next one fetches again. */
static void test_cache_when_the_fetching_hook_is_cancelled(void **state) {
    struct env *env = *state;
    struct bh_request r = {.path = BH_SLICE("/ws")};
    struct answer a = {0}, b = {0};
    LOAD_OK(env, BH "local n = 0\n"
                    "return { on_handshake = function()\n"
                    "  local v, why = bh.cache('ns', 'k', 9, function() n = n + 1 bh.sleep(0.1)\n"
                    "    return n end)\n"
                    "  return false, 403, tostring(v) .. ' ' .. tostring(why) end }");
    struct bh_hooks *h = env->worker->hooks;
    bh_handle ticket = h->vt->handshake(h, &r, on_handshake_result, &a, 0);
    h->vt->handshake(h, &r, on_handshake_result, &b, 0);
    h->vt->cancel(h, ticket);
    env_advance(env, 50);
    assert_int_equal(a.calls, 0);
    assert_string_equal(b.body, "nil the task that was fetching the value was cancelled");
    answer_free(&b);
    h->vt->handshake(h, &r, on_handshake_result, &a, 0);
    env_advance(env, 200);
    assert_string_equal(a.body, "2 nil");
    answer_free(&a);
}

static void test_cache_is_bounded(void **state) {
    LUA_OK(*state, "local function one() return ('x'):rep(10) end\n"
                   "for i = 1, 25000 do bh.cache('ns', 'k' .. i, 100, one) end\n"
                   "local again = 0\n"
                   "local function count() again = again + 1 return 1 end\n"
                   "for i = 15001, 25000 do bh.cache('ns', 'k' .. i, 100, count) end\n"
                   "eq(again, 0) bh.cache('ns', 'k15000', 100, count) eq(again, 1)");
}

static void test_closing_while_fetching(void **state) {
    struct env *env = *state;
    LUA_OK(env, "for i = 1, 3 do bh.spawn(function()\n"
                "bh.cache('ns', 'k', 1, function() bh.sleep(10) end) end) end");
    env_close_script(env);
}

/* --- metrics --- */

static void has_metric(const char *line, bool expected) {
    struct bh_bytes out = {0};
    bh_metrics_render(&out);
    bh_bytes_addc(&out, '\0');
    if ((strstr(out.p, line) != NULL) != expected)
        fail_msg("\"%s\" is %s in %s", line, expected ? "not" : "", out.p);
    bh_bytes_free(&out);
}

static void test_metrics(void **state) {
    struct env *env = *state;
    LOAD_OK(env,
            BH "local c = bh.metrics.counter('app_logins_total', 'log-ins', { 'result', 'by' })\n"
               "local g = bh.metrics.gauge('app_rooms', 'rooms that are open')\n"
               "local h = bh.metrics.histogram('app_seconds', 'how long', { 'what' })\n"
               "return { on_init = function()\n"
               "c:inc(1, 'ok', 'jwt') c:inc(2.5, 'ok', 'jwt') c:inc(nil, 'bad\"\\n\\\\', '')\n"
               "g:set(7) g:inc(-2) h:observe(0.3, 'x') h:observe(99, 'x')\n"
               "end }");
    has_metric("# TYPE app_logins_total counter\n", true);
    has_metric("app_logins_total{result=\"ok\",by=\"jwt\"} 3.5\n", true);
    has_metric("app_logins_total{result=\"bad\\\"\\n\\\\\",by=\"\"} 1\n", true);
    has_metric("app_rooms 5\n", true);
    has_metric("app_seconds_bucket{what=\"x\",le=\"0.25\"} 0\n", true);
    has_metric("app_seconds_bucket{what=\"x\",le=\"0.5\"} 1\n", true);
    has_metric("app_seconds_bucket{what=\"x\",le=\"+Inf\"} 2\n", true);
    has_metric("app_seconds_count{what=\"x\"} 2\n", true);
    env_close_script(env);
    LOAD_OK(env,
            BH "local c = bh.metrics.counter('app_logins_total', 'log-ins', { 'result', 'by' })\n"
               "return { on_init = function() c:inc(1, 'ok', 'jwt') end }");
    has_metric("app_logins_total{result=\"ok\",by=\"jwt\"} 4.5\n", true);
}

static void test_metrics_misuse(void **state) {
    struct env *env = *state;
    LOAD_OK(
        env, BH
        "local function throws(part, f, ...)\n"
        "  local ok, e = pcall(f, ...)\n"
        "  if ok or not e:find(part, 1, true) then error('threw: ' .. tostring(e), 2) end end\n"
        "throws('letters', bh.metrics.counter, 'a b') throws('letters', bh.metrics.gauge, '')\n"
        "throws('bellhop_', bh.metrics.counter, 'bellhop_x')\n"
        "throws('list of names', bh.metrics.counter, 'app_x', '', { 'a-b' })\n"
        "throws('at most 8', bh.metrics.counter, 'app_x', '', {1,2,3,4,5,6,7,8,9})\n"
        "local c = bh.metrics.counter('app_m_total', '', { 'a' })\n"
        "throws('another type', bh.metrics.gauge, 'app_m_total')\n"
        "throws('1 labels, but 0 values', c.inc, c) throws('cannot decrease', c.inc, c, -1, 'x')\n"
        "throws('no method set', c.set, c, 1, 'x') throws('cannot decrease', c.inc, c, 0/0, 'x')\n"
        "for i = 1, 1000 do assert(c:inc(1, 'v' .. i)) end\n"
        "local ok, why = c:inc(1, 'one more') assert(not ok and why:find 'too many')\n"
        "assert(c:inc(1, 'v7'))\n"
        "return { on_init = function()\n"
        "throws('while the script is loaded', bh.metrics.counter, 'app_late') end }");
}

/* --- redis --- */

static void reply_with(struct env *env, const struct bh_reply *r) {
    env->redis.done(env->redis.ud, env->redis.handle, 0, r);
}

static void assert_command(const struct env *env, const char *expected) {
    struct bh_slice command = bh_bytes_slice(&env->redis.command);
    if (!bh_slice_eq(command, bh_slice_cstr(expected)))
        fail_msg("%.*s is not %s", BH_SLICE_ARG(command), expected);
}

static void test_redis_must(void **state) {
    struct env *env = *state;
    struct client p;
    const struct bh_reply ok = {.type = BH_REPLY_STRING, .str = BH_SLICE("v")},
                          none = {.type = BH_REPLY_NIL},
                          bad = {.type = BH_REPLY_ERROR, .str = BH_SLICE("ERR no")};
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  local ok, v = pcall(bh.redis.must, 'GET', d)\n"
                    "  return tostring(ok) .. ' ' .. tostring(v) end }");
    client_open(env, &p, "u1");
    client_sends(&p, "k");
    reply_with(env, &ok);
    assert_string_equal(client_last(&p), "true v");
    client_sends(&p, "k");
    reply_with(env, &none);
    assert_string_equal(client_last(&p), "true nil");
    client_sends(&p, "k");
    reply_with(env, &bad);
    assert_non_null(strstr(client_last(&p), "false "));
    assert_non_null(strstr(client_last(&p), "bh.redis.must: ERR no"));
    env->redis.at_once = &bad;
    client_sends(&p, "k");
    assert_non_null(strstr(client_last(&p), "bh.redis.must: ERR no"));
    env->redis.at_once = &ok;
    client_sends(&p, "k");
    assert_string_equal(client_last(&p), "true v");
    client_free(&p);
}

static void test_redis_pipeline(void **state) {
    struct env *env = *state;
    struct client p;
    const struct bh_reply value = {.type = BH_REPLY_STRING, .str = BH_SLICE("v")},
                          bad = {.type = BH_REPLY_ERROR, .str = BH_SLICE("ERR no")};
    bh_handle first;
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  local r, why = bh.redis.pipeline{ {'GET', 'a'}, {'INCRBY', d, 2} }\n"
                    "  if not r then return why end\n"
                    "  return tostring(#r) .. tostring(r[1]) .. tostring(r[2].error or r[2]) end,\n"
                    "on_init = function()\n"
                    "  for _, bad in ipairs{ {}, {{}}, {{{}}}, {1} } do\n"
                    "    assert(not pcall(bh.redis.pipeline, bad)) end\n"
                    "  assert(not pcall(bh.redis.pipeline)) end }");
    client_open(env, &p, "u1");
    client_sends(&p, "k");
    assert_int_equal(env->redis.calls, 2);
    assert_command(env, "INCRBY k 2");
    first = env->redis.handle - 1;
    reply_with(env, &bad);
    assert_int_equal(p.sent_count, 0);
    env->redis.done(env->redis.ud, first, 0, &value);
    assert_string_equal(client_last(&p), "2vERR no");
    env->redis.at_once = &value;
    client_sends(&p, "k");
    assert_string_equal(client_last(&p), "2vv");
    env->redis.at_once = NULL;
    client_sends(&p, "k");
    env_advance(env, 6000);
    assert_string_equal(client_last(&p), "timed out");
    first = env->redis.handle - 1;
    env->redis.done(env->redis.ud, first, 0, &value); /* too late, and heard by nobody */
    reply_with(env, &value);
    client_free(&p);
}

static void test_redis_eval(void **state) {
    struct env *env = *state;
    struct client p;
    const struct bh_reply unknown = {.type = BH_REPLY_ERROR,
                                     .str = BH_SLICE("NOSCRIPT No matching script.")},
                          value = {.type = BH_REPLY_INTEGER, .integer = 5};
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  local r, why = bh.redis.eval('return 1', { 'k1', 2 }, { 3.5, 'x' })\n"
                    "  return tostring(r) .. tostring(why) end,\n"
                    "on_init = function() assert(not pcall(bh.redis.eval, 'x', 'k'))\n"
                    "  assert(not pcall(bh.redis.eval, 'x', {{}})) end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_command(env, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 2 k1 2 3.5 x");
    reply_with(env, &unknown);
    assert_command(env, "EVAL return 1 2 k1 2 3.5 x");
    reply_with(env, &value);
    assert_string_equal(client_last(&p), "5nil");
    env->redis.at_once = &value;
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "5nil");
    env->redis.at_once = &unknown;
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "nilNOSCRIPT No matching script.");
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_shared_values),
        SCRIPT_TEST(test_shared_verbs),
        SCRIPT_TEST(test_shared_values_expire),
        SCRIPT_TEST(test_shared_is_bounded),
        SCRIPT_TEST(test_cache_fetches_once),
        SCRIPT_TEST(test_cache_of_failures),
        SCRIPT_TEST(test_cache_when_the_fetching_hook_is_cancelled),
        SCRIPT_TEST(test_cache_is_bounded),
        SCRIPT_TEST(test_closing_while_fetching),
        SCRIPT_TEST(test_metrics),
        SCRIPT_TEST(test_metrics_misuse),
        SCRIPT_TEST(test_redis_must),
        SCRIPT_TEST(test_redis_pipeline),
        SCRIPT_TEST(test_redis_eval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
