/* test_bind_services.c - bh.redis, bh.hub, bh.tracker, bh.id, bh.channel, bh.config, bh.log, and
 * time. */
#include "script_cmocka.h"

#include "bellhop/base/log.h"

#define BH "local bh = require 'bellhop'\n"

/* --- redis --- */

#define ASK                                                                                        \
    BH "return { on_message = function(c, d)\n"                                                    \
       "  local v, why = bh.redis.call('GET', d, 1, 2.5)\n"                                        \
       "  return tostring(v) .. '|' .. tostring(why) end }"

static void test_redis_is_not_configured(void **state) {
    LUA_OK(*state, "local v, why = bh.redis.call('PING') eq(v, nil) assert(why:find 'no Redis')\n"
                   "throws('a command', bh.redis.call)");
}

static void test_redis_replies(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_reply items[] = {{.type = BH_REPLY_INTEGER, .integer = 3}, {.type = BH_REPLY_NIL}};
    const struct {
        struct bh_reply reply;
        int error;
        const char *expected;
    } cases[] = {
        {{.type = BH_REPLY_STRING, .str = BH_SLICE("v")}, 0, "v|nil"},
        {{.type = BH_REPLY_STATUS, .str = BH_SLICE("OK")}, 0, "OK|nil"},
        {{.type = BH_REPLY_INTEGER, .integer = -1}, 0, "-1|nil"},
        {{.type = BH_REPLY_NIL}, 0, "nil|nil"},
        {{.type = BH_REPLY_ERROR, .str = BH_SLICE("ERR no")}, 0, "nil|ERR no"},
        {{.type = BH_REPLY_NIL}, BH_EUNAVAIL, "nil|unavailable"},
    };
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, ASK);
    client_open(env, &p, "u1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client_sends(&p, "k");
        env->redis.done(env->redis.ud, env->redis.handle, cases[i].error,
                        cases[i].error ? NULL : &cases[i].reply);
        assert_string_equal(client_last(&p), cases[i].expected);
        /* a second completion finds no task */
        env->redis.done(env->redis.ud, env->redis.handle, 0, &cases[i].reply);
        env->redis.at_once = cases[i].error ? NULL : &cases[i].reply;
        if (env->redis.at_once) {
            client_sends(&p, "k");
            assert_string_equal(client_last(&p), cases[i].expected);
        }
        env->redis.at_once = NULL;
    }
    assert_true(bh_slice_eq(bh_bytes_slice(&env->redis.command), BH_SLICE("GET k 1 2.5")));
    struct bh_reply array = {.type = BH_REPLY_ARRAY, .count = 2, .elements = items};
    client_sends(&p, "k");
    env->redis.done(env->redis.ud, env->redis.handle, 0, &array);
    assert_non_null(strstr(client_last(&p), "table: "));
    client_free(&p);
}

static void test_redis_array(void **state) {
    struct env *env = *state;
    struct bh_reply inner[] = {{.type = BH_REPLY_STRING, .str = BH_SLICE("x")}};
    struct bh_reply items[] = {{.type = BH_REPLY_INTEGER, .integer = 3},
                               {.type = BH_REPLY_NIL},
                               {.type = BH_REPLY_ARRAY, .count = 1, .elements = inner}};
    struct bh_reply array = {.type = BH_REPLY_ARRAY, .count = 3, .elements = items};
    env->worker->redis = &env->redis.base;
    env->redis.at_once = &array;
    LUA_OK(env, "local t = bh.redis.call('X') eq(#t, 3) eq(t[1], 3) eq(t[2], bh.json.null)\n"
                "eq(t[3][1], 'x')");
}

static void test_redis_timeout(void **state) {
    struct env *env = *state;
    struct client p;
    env->worker->redis = &env->redis.base;
    env->config.redis_timeout_ms = 200;
    LOAD_OK(env, ASK);
    client_open(env, &p, "u1");
    client_sends(&p, "k");
    env_advance(env, 300);
    assert_string_equal(client_last(&p), "nil|timed out");
    struct bh_reply late = {.type = BH_REPLY_STRING, .str = BH_SLICE("late")};
    bh_handle handle = env->redis.handle;
    client_sends(&p, "again"); /* waits for something else now */
    env->redis.done(env->redis.ud, handle, 0, &late);
    assert_int_equal(p.sent_count, 1);
    client_free(&p);
    env_advance(env, 300);
}

static void test_redis_reply_after_the_state(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_reply late = {.type = BH_REPLY_STRING, .str = BH_SLICE("late")};
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, ASK);
    client_open(env, &p, "u1");
    client_sends(&p, "k");
    client_sends(&p, "waits");
    env_close_script(env);
    env->redis.done(env->redis.ud, env->redis.handle, 0, &late);
    assert_int_equal(p.sent_count, 0);
    assert_null(p.sub.script);
    client_free(&p);
}

/* --- hub and tracker --- */

static void test_hub_topics(void **state) {
    struct env *env = *state;
    struct client a, b;
    LOAD_OK(env,
            BH "return { on_message = function(c, d)\n"
               "  if d == 'join' then c:subscribe('news/1') c:subscribe('x') return true end\n"
               "  if d == 'leave' then c:unsubscribe('x') return true end\n"
               "  local n, list = 0, {}\n"
               "  for topic, count in pairs(bh.hub.topics(d)) do\n"
               "    n = n + 1 list[n] = topic .. '=' .. count\n"
               "    assert(bh.hub.subscribers(topic) == count)\n"
               "  end\n"
               "  table.sort(list)\n"
               "  assert(bh.hub.subscribers('nobody') == 0)\n"
               "  assert(not bh.hub.subscribers('a b') and not pcall(bh.hub.subscribers, {}))\n"
               "  assert(not pcall(bh.hub.topics, {}))\n"
               "  return table.concat(list, ' ') end }");
    client_open(env, &a, "u1");
    client_open(env, &b, "u2");
    client_sends(&a, "news");
    assert_string_equal(client_last(&a), "");
    client_sends(&a, "join");
    client_sends(&b, "join");
    env_advance(env, 10);
    client_sends(&a, "leave");
    client_sends(&a, "");
    assert_string_equal(client_last(&a), "news/1=2 x=1");
    client_sends(&a, "news/");
    assert_string_equal(client_last(&a), "news/1=2");
    client_free(&b);
    client_sends(&a, "");
    assert_string_equal(client_last(&a), "news/1=1");
    client_free(&a);
}

static void test_hub(void **state) {
    struct env *env = *state;
    struct client a, b;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  c:subscribe('news')\n"
                    "  assert(bh.hub.count() == 2 and #bh.hub.by_user('u1') == 1)\n"
                    "  assert(bh.hub.by_user('u1')[1] == c and #bh.hub.by_user(7) == 1)\n"
                    "  assert(#bh.hub.by_user('nobody') == 0 and bh.hub.by_topic('news')[1] == c)\n"
                    "  assert(not bh.hub.by_user('a b') and not pcall(bh.hub.by_user, {}))\n"
                    "  assert(not pcall(bh.hub.close_user, 'u1', 1006))\n"
                    "  bh.hub.by_user(7)[1]:send('hello')\n"
                    "  assert(bh.hub.close_user(7, 4001, 'out') and not bh.hub.close_user('a b'))\n"
                    "  return 'done' end }");
    client_open(env, &a, "u1");
    client_open(env, &b, "7");
    client_sends(&a, "x");
    env_run_due(env);
    assert_string_equal(client_last(&a), "done");
    assert_string_equal(client_last(&b), "hello");
    assert_int_equal(b.code, 4001);
    assert_string_equal(b.reason, "out");
    client_free(&a);
    client_free(&b);
}

static void test_ids(void **state) {
    LUA_OK(*state,
           "local check = bh.id.check\n"
           "eq(check('user', 42), '42') eq(check('tenant', 'a/b'), 'a/b') eq(check('topic', 'x'), "
           "'x')\n"
           "for _, id in ipairs { 'auth0|5f7c', 'us-east-1:0a1b', 'did:plc:x', '\\u{43f}' } do\n"
           "  for _, kind in ipairs { 'user', 'tenant', 'topic' } do eq(check(kind, id), id) end\n"
           "end\n"
           "for _, bad in ipairs { '', 'a b', '\\u{a0}', '\\u{202e}', '\\xff', 'broadcast', 1.5, "
           "{}, true,\n"
           "                      ('x'):rep(129) } do\n"
           "  local id, why = check('user', bad) eq(id, nil) eq(type(why), 'string')\n"
           "end\n"
           "eq(check('user', nil), nil) eq(check('user'), nil)\n"
           "eq(check('tenant', 'broadcast'), 'broadcast')\n"
           "throws('invalid option', check, 'room', 'x')\n");
}

static void test_channels(void **state) {
    LUA_OK(
        *state,
        "local channel = bh.channel\n"
        "eq(channel { user = 42 }, 'notification:42')\n"
        "eq(channel { user = 'tenant:7' }, 'notification:tenant%3A7')\n"
        "eq(channel { tenant = 'a/{b}' }, 'notification:tenant:a%2F%7Bb%7D')\n"
        "eq(channel { topic = 'a/b%' }, 'notification:topic:a/b%25')\n"
        "eq(channel { all = true }, 'notification:broadcast')\n"
        "local name, why = channel { user = 'a b' } eq(name, nil) assert(why:find 'white space')\n"
        "throws('is missing', channel, {}) throws('more than one', channel, { user = 1, topic = 2 "
        "})\n"
        "throws('unknown option \"usr\"', channel, { usr = 1 }) throws('must be true', channel, { "
        "all = 1 })\n"
        "throws('string or an integer', channel, { user = {} }) throws('table expected', channel, "
        "'x')\n");
}

static void test_tracker(void **state) {
    struct env *env = *state;
    struct client a;
    LOAD_OK(env,
            BH "return { on_message = function(c, d)\n"
               "  assert(bh.tracker.online('u1') == true and bh.tracker.online('u2') == false)\n"
               "  local list = bh.tracker.connections('u1')\n"
               "  assert(#list == 1 and list[1].instance == 'i1' and list[1].id == c.id)\n"
               "  assert(#bh.tracker.connections('u2') == 0)\n"
               "  assert(bh.tracker.online('a b') == nil)\n"
               "  assert(not pcall(bh.tracker.online))\n"
               "  return 'done' end }");
    client_open(env, &a, "u1");
    client_sends(&a, "x");
    env_run_due(env);
    assert_string_equal(client_last(&a), "done");
    client_free(&a);
}

/* --- config, log, time --- */

static void test_config(void **state) {
    struct env *env = *state;
    env_config(env, "{\"a\":{\"b\":[1,{\"c\":\"x\"}],\"n\":null,\"t\":true},\"dev\":false}");
    LUA_OK(
        env,
        "eq(bh.config('a.b.1'), 1) eq(bh.config('a.b.2.c'), 'x') eq(bh.config('a.t'), true)\n"
        "eq(bh.config('dev'), false) eq(bh.config('a.n'), nil) eq(bh.config('a.b.3'), nil)\n"
        "eq(bh.config('a.b.0'), nil) eq(bh.config('none.at.all'), nil) eq(#bh.config('a.b'), 2)\n"
        "eq(bh.config('dev.x'), nil) throws('string expected', bh.config)");
}

static void test_config_absent(void **state) {
    LUA_OK(*state, "eq(bh.config('a'), nil)");
}

static void test_log(void **state) {
    LUA_OK(*state,
           "bh.log.info('x') bh.log.warn('x', { a = 1, b = 'two', c = true, d = 1.5,\n"
           "  e = {}, [1] = 'no name' }) bh.log.error('x\\ny', {}) bh.log.debug('x')\n"
           "local many = {} for i = 1, 50 do many['k' .. i] = i end bh.log.info('x', many)\n"
           "print('x', nil, 1, {})\n"
           "throws('string expected', bh.log.info) throws('table', bh.log.info, 'x', 'y')");
}

static void test_log_is_written(void **state) {
    bh_log_init(BH_LOG_DEBUG, BH_LOG_LOGFMT, false, NULL);
    test_log(state);
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
}

static void test_time(void **state) {
    LUA_OK(*state,
           "throws('seconds', bh.sleep, -1) throws('seconds', bh.sleep, 1e9)\n"
           "throws('seconds', bh.sleep, 0/0) throws('function expected', bh.spawn, 1)\n"
           "throws('function expected', bh.after, 1) throws('number', bh.after, 'x', print)\n"
           "eq(bh.version:match('^%d+%.%d+%.%d+$'), bh.version)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_redis_is_not_configured),
        SCRIPT_TEST(test_redis_replies),
        SCRIPT_TEST(test_redis_array),
        SCRIPT_TEST(test_redis_timeout),
        SCRIPT_TEST(test_redis_reply_after_the_state),
        SCRIPT_TEST(test_hub),
        SCRIPT_TEST(test_hub_topics),
        SCRIPT_TEST(test_tracker),
        SCRIPT_TEST(test_ids),
        SCRIPT_TEST(test_channels),
        SCRIPT_TEST(test_config),
        SCRIPT_TEST(test_config_absent),
        SCRIPT_TEST(test_log),
        SCRIPT_TEST(test_log_is_written),
        SCRIPT_TEST(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
