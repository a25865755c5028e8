/* test_bind_publish.c - filters in bh.publish and in msg; bh.publish_wait. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

static void client_open_tagged(struct env *env, struct client *p, const char *user,
                               const char *os) {
    struct bh_tag tags[] = {{BH_SLICE("os"), bh_slice_cstr(os)},
                            {BH_SLICE("beta"), BH_SLICE("true")},
                            {BH_SLICE("ver"), BH_SLICE("2")}};
    struct bh_identity parts = {.user = bh_slice_cstr(user), .tags = tags, .tag_count = 3},
                       *identity;
    assert_int_equal(bh_identity_new(&parts, &identity, NULL), 0);
    client_open_as(env, p, identity);
}

struct pair {
    struct client ios, android;
};

static void open_pair(struct env *env, struct pair *p) {
    client_open_tagged(env, &p->ios, "42", "ios");
    client_open_tagged(env, &p->android, "42", "android");
}

static void free_pair(struct pair *p) {
    client_free(&p->ios);
    client_free(&p->android);
}

/* The ios client sends x; the policy publishes. */
static void say_x(struct env *env, struct pair *p) {
    client_sends(&p->ios, "x");
    env_run_due(env);
}

/* --- filter --- */

static void test_filter_of_publish(void **state) {
    struct env *env = *state;
    struct pair p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  bh.publish{ user = 42, data = 'both', filter = { beta = true, ver = 2 } }\n"
                    "  bh.publish{ user = 42, data = 'ios', filter = { os = 'ios', ver = '2' } }\n"
                    "  bh.publish{ all = true, data = 'android', filter = { os = 'android' } }\n"
                    "  bh.publish{ all = true, data = 'nobody', filter = { os = 'ios', x = '' } }\n"
                    "  return { user = 42, data = 'answer', filter = { os = 'android' } } end }");
    open_pair(env, &p);
    say_x(env, &p);
    assert_int_equal(p.ios.sent_count, 2);
    assert_string_equal(p.ios.sent[0], "both");
    assert_string_equal(p.ios.sent[1], "ios");
    assert_int_equal(p.android.sent_count, 3);
    assert_string_equal(p.android.sent[0], "both");
    assert_string_equal(p.android.sent[1], "android");
    assert_string_equal(p.android.sent[2], "answer");
    free_pair(&p);
}

static void test_filter_of_a_connection(void **state) {
    struct env *env = *state;
    struct pair p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  assert(bh.publish{ conn = c, data = 'yes', filter = { os = 'ios' } })\n"
                    "  assert(bh.publish{ conn = c, data = 'no', filter = { os = 'android' } })\n"
                    "  local r = bh.publish_wait{ conn = c, data = 'no', filter = { x = 1 } }\n"
                    "  assert(r.status == 'offline' and r.instances == 0 and r['local'] == 0)\n"
                    "  c:send 'done' return true end }");
    open_pair(env, &p);
    say_x(env, &p);
    assert_int_equal(p.ios.sent_count, 2);
    assert_string_equal(p.ios.sent[0], "yes");
    assert_string_equal(p.ios.sent[1], "done");
    free_pair(&p);
}

static void test_bad_filters(void **state) {
    LUA_OK(*state,
           "local function with(f) return { all = true, data = 'x', filter = f } end\n"
           "local function refused(part, f) local id, why = bh.publish(with(f)) eq(id, nil)\n"
           "  if not why:find(part, 1, true) then error(why) end end\n"
           "local many = {}\n"
           "for i = 1, 9 do many['t' .. i] = 'x' end\n"
           "refused('at most 8', many)\n"
           "many.t9 = nil\n"
           "assert(bh.publish(with(many)))\n"
           "refused('1 to 64 bytes', { [''] = 'x' })\n"
           "refused('1 to 64 bytes', { [('n'):rep(65)] = 'x' })\n"
           "refused('at most 256 bytes', { x = ('v'):rep(257) })\n"
           "assert(bh.publish(with { [('n'):rep(64)] = ('v'):rep(256), ['\\0\\xff:'] = '\\0' }))\n"
           "throws('has no tags', bh.publish, with {})\n"
           "throws('not a string', bh.publish, with 'os=ios')\n"
           "throws('names and values', bh.publish, with { 'ios' })\n"
           "throws('names and values', bh.publish, with { os = {} })\n"
           "throws('names and values', bh.publish, with { [true] = 'x' })\n"
           "throws('did you mean \"filter\"', bh.publish, { all = true, data = '', filtr = {} })\n"
           "throws('has no tags', bh.publish_wait, with {})");
}

static void test_filter_of_msg(void **state) {
    struct env *env = *state;
    struct pair p;
    LOAD_OK(env, BH "local kept\n"
                    "return { on_publish = function(msg)\n"
                    "  if msg.data == 'plain' then assert(msg.filter == nil)\n"
                    "    msg.filter = { os = 'ios', ver = 2 }\n"
                    "    assert(msg.filter.os == 'ios' and msg.filter.ver == '2') end\n"
                    "  if msg.data == 'was filtered' then assert(msg.filter.os == 'ios')\n"
                    "    msg.filter.os = 'a copy' assert(msg.filter.os == 'ios')\n"
                    "    for _, bad in ipairs { {}, 'x', 1, false, { {} } } do\n"
                    "      assert(not pcall(function() msg.filter = bad end)) end\n"
                    "    assert(next(msg.filter) == 'os' and next(msg.filter, 'os') == nil)\n"
                    "    msg.filter = nil assert(msg.filter == nil) end\n"
                    "end,\n"
                    "on_deliver = function(conn, msg)\n"
                    "  assert(not pcall(function() msg.filter = nil end))\n"
                    "  local f = msg.filter\n"
                    "  return msg.data .. ': ' .. (f and f.os .. f.ver or 'all') end,\n"
                    "on_message = function()\n"
                    "  bh.publish{ all = true, data = 'plain' }\n"
                    "  bh.publish{ all = true, data = 'was filtered', filter = { os = 'ios' } }\n"
                    "  return true end }");
    open_pair(env, &p);
    say_x(env, &p);
    assert_int_equal(p.ios.sent_count, 2);
    assert_string_equal(p.ios.sent[0], "plain: ios2");
    assert_string_equal(p.ios.sent[1], "was filtered: all");
    assert_int_equal(p.android.sent_count, 1);
    assert_string_equal(p.android.sent[0], "was filtered: all");
    free_pair(&p);
}

/* --- publish_wait --- */

static void test_wait_results(void **state) {
    struct env *env = *state;
    struct pair p;
    LOAD_OK(env, BH
            "local function is(r, status, instances, sockets)\n"
            "  assert(r.status == status, r.status)\n"
            "  assert(math.type(r.instances) == 'integer' and r.instances == instances)\n"
            "  assert(r['local'] == sockets, r['local']) assert(r.duplicate == nil)\n"
            "  return r.id end\n"
            "local wait = bh.publish_wait\n"
            "return { on_message = function(c)\n"
            "  for _, s in ipairs { 'local_first', 'redis', 'both', 'local' } do\n"
            "    assert(#is(wait{ user = 42, data = s, strategy = s }, 'delivered', 1, 2) == 22)\n"
            "    is(wait{ user = 42, data = '', strategy = s, filter = { os = 'android' } },\n"
            "      'delivered', 1, 1)\n"
            "    is(wait{ user = 42, data = '', strategy = s, filter = { os = '' } },\n"
            "      'offline', 0, 0)\n"
            "    is(wait{ user = 'nobody', data = '', strategy = s }, 'offline', 0, 0) end\n"
            "  assert(is(wait{ user = 42, data = '', id = 'k' }, 'delivered', 1, 2) == 'k')\n"
            "  local again = wait{ user = 42, data = '', id = 'k' }\n"
            "  assert(again.duplicate and again.status == 'delivered' and again.id == 'k')\n"
            "  assert(again.instances == nil and again['local'] == nil)\n"
            "  assert(#is(wait{ conn = c, data = 'conn' }, 'delivered', 1, 1) == 22)\n"
            "  c:send 'done' return true end }");
    open_pair(env, &p);
    say_x(env, &p);
    env_advance(env, 100);
    assert_string_equal(client_last(&p.ios), "done");
    assert_int_equal(p.ios.sent_count, 4 + 1 + 1 + 1);
    assert_int_equal(p.android.sent_count, 4 + 4 + 1);
    free_pair(&p);
}

static void test_wait_errors(void **state) {
    LUA_OK(*state,
           "local function refused(part, t) local r, why = bh.publish_wait(t) eq(r, nil)\n"
           "  if not why:find(part, 1, true) then error(why) end end\n"
           "refused('user:', { user = 'a b', data = '' })\n"
           "refused('UTF-8', { all = true, data = '\\xff' })\n"
           "refused('UTF-8', { all = true, data = '\\xff', id = 'by-the-bus' })\n"
           "refused('payload', { all = true, data = ('x'):rep(2 ^ 20 + 1) })\n"
           "refused('no such connection', { conn = 'AAAAAAAAAAE', data = '' })\n"
           "throws('bh.publish_wait: publish: name exactly one', bh.publish_wait, { data = '' })\n"
           "throws('table expected', bh.publish_wait, 'x')\n"
           "throws('coroutine of your own', coroutine.wrap(bh.publish_wait),\n"
           "  { all = true, data = '' })");
}

static void test_no_wait_while_loading(void **state) {
    LOAD_FAILS(*state, BH "bh.publish_wait{ all = true, data = '' } return {}",
               "bh.publish_wait waits, so it works inside hooks only");
}

static void test_no_wait_in_sync_hooks(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_deliver = function(conn, msg)\n"
                    "  local ok, why = pcall(bh.publish_wait, { all = true, data = 'x' })\n"
                    "  return tostring(ok) .. ' ' .. why end,\n"
                    "on_message = function() return { all = true, data = 'x' } end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    env_run_due(env);
    assert_int_equal(p.sent_count, 1);
    assert_non_null(strstr(p.sent[0], "false "));
    assert_non_null(strstr(p.sent[0], "on_deliver must not wait"));
    client_free(&p);
}

static void test_wait_does_not_recurse(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "local calls = 0\n"
                    "return { on_publish = function(msg) calls = calls + 1\n"
                    "  local r = assert(bh.publish_wait{ user = 42, data = 'copy', id = 'c' })\n"
                    "  msg.data = msg.data .. ' ' .. r.status .. ' ' .. calls end,\n"
                    "on_message = function() return { user = 42, data = 'first' } end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    env_advance(env, 20);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "copy");
    assert_string_equal(p.sent[1], "first delivered 1");
    client_free(&p);
}

static void test_wait_for_a_slow_hook(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_publish = function(msg) bh.sleep(1)\n"
                    "  if msg.data == 'no' then return false, 'not today' end end,\n"
                    "on_message = function(c, d)\n"
                    "  local r, why = bh.publish_wait{ user = 42, data = d }\n"
                    "  return r and r.status or why end }");
    client_open(env, &p, "42");
    client_sends(&p, "yes");
    env_advance(env, 500);
    assert_int_equal(p.sent_count, 0);
    env_advance(env, 600);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "yes");
    assert_string_equal(p.sent[1], "delivered");
    client_sends(&p, "no");
    env_advance(env, 1100);
    assert_int_equal(p.sent_count, 3);
    assert_string_equal(p.sent[2], "not today");
    client_free(&p);
}

/* The waiting task is cancelled; the publish continues. */
static void test_wait_after_the_task_was_cancelled(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.hook_timeout_ms = 500;
    LOAD_OK(env, BH "return { on_publish = function() bh.sleep(0.4) end,\n"
                    "on_message = function(c, d) bh.sleep(0.3)\n"
                    "  bh.publish_wait{ user = 42, data = d } return 'never' end }");
    client_open(env, &p, "42");
    client_sends(&p, "late");
    env_advance(env, 2000);
    assert_int_equal(p.sent_count, 1);
    assert_string_equal(p.sent[0], "late");
    client_sends(&p, "at the end"); /* of the whole state */
    env_advance(env, 400);
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_filter_of_publish),
        SCRIPT_TEST(test_filter_of_a_connection),
        SCRIPT_TEST(test_bad_filters),
        SCRIPT_TEST(test_filter_of_msg),
        SCRIPT_TEST(test_wait_results),
        SCRIPT_TEST(test_wait_errors),
        SCRIPT_TEST(test_no_wait_while_loading),
        SCRIPT_TEST(test_no_wait_in_sync_hooks),
        SCRIPT_TEST(test_wait_does_not_recurse),
        SCRIPT_TEST(test_wait_for_a_slow_hook),
        SCRIPT_TEST(test_wait_after_the_task_was_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
