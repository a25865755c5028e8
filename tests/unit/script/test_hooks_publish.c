/* test_hooks_publish.c - bh.publish, on_publish, on_deliver. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

struct outcome {
    int calls, error;
    char why[128], id[64];
};

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    struct outcome *o = ud;
    o->calls++;
    o->error = r->error;
    snprintf(o->why, sizeof o->why, "%s", r->why ? r->why : "");
    snprintf(o->id, sizeof o->id, "%.*s", BH_SLICE_ARG(r->id));
}

/* As an HTTP request does. */
static void publish(struct env *env, const char *user, const char *text, struct outcome *o) {
    struct bh_publish p = {.source = BH_SOURCE_HTTP, .opcode = BH_TEXT};
    *o = (struct outcome){0};
    bh_topic_make(BH_TOPIC_USER, bh_slice_cstr(user), &p.topic, NULL);
    p.data = bh_buf_copy(bh_slice_cstr(text));
    bh_node_publish(env->worker, &p, on_published, o, 0);
    env_run_due(env);
}

/* --- bh.publish --- */

static void test_publish_targets(void **state) {
    struct env *env = *state;
    struct client p;
    struct bh_identity parts = {.user = BH_SLICE("42"), .tenant = BH_SLICE("7")}, *identity;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  assert(bh.publish{ user = 42, data = 'user' })\n"
                    "  assert(bh.publish{ tenant = '7', data = 'tenant' })\n"
                    "  assert(bh.publish{ topic = 'news', data = 'topic' })\n"
                    "  assert(bh.publish{ all = true, data = 'all', strategy = 'local' })\n"
                    "  assert(bh.publish{ conn = c, data = 'conn' })\n"
                    "  assert(bh.publish{ conn = c.id, data = '\\xff', binary = true })\n"
                    "  assert(bh.publish{ all = true, data = 'not me', except = c })\n"
                    "  assert(bh.publish{ all = true, data = 'nor me', except = c.id })\n"
                    "  assert(#bh.publish{ user = 'x', data = '' } == 22)\n"
                    "  assert(bh.publish{ user = 'x', data = '', id = 'my:id' } == 'my:id')\n"
                    "  return true end }");
    bh_identity_new(&parts, &identity, NULL);
    client_open_as(env, &p, identity);
    client_sends(&p, "x");
    env_run_due(env);
    assert_int_equal(p.sent_count, 5);
    assert_string_equal(p.sent[0], "user");
    assert_string_equal(p.sent[1], "tenant");
    assert_string_equal(p.sent[2], "all");
    assert_string_equal(p.sent[3], "conn");
    assert_int_equal(p.opcodes[4], BH_BINARY);
    client_free(&p);
}

static void test_publish_refusals(void **state) {
    LUA_OK(*state, "local function refused(part, t) local id, why = bh.publish(t) eq(id, nil)\n"
                   "  if not why:find(part, 1, true) then error(why) end end\n"
                   "refused('user:', { user = 'a b', data = '' })\n"
                   "refused('tenant:', { tenant = '', data = '' })\n"
                   "refused('UTF-8', { all = true, data = '\\xff' })\n"
                   "refused('payload', { all = true, data = ('x'):rep(2 ^ 20 + 1) })\n"
                   "refused('id:', { all = true, data = '', id = 'a b' })\n"
                   "refused('connection id', { conn = 'x', data = '' })\n"
                   "refused('no such connection', { conn = 'AAAAAAAAAAE', data = '' })\n"
                   "refused('connection id', { all = true, except = 'x', data = '' })\n"
                   "throws('bh.json.encode', bh.publish, { all = true, data = {} })\n"
                   "throws('exactly one target', bh.publish, { data = '' })\n"
                   "throws('exactly one target', bh.publish, { user = 1, all = true, data = '' })\n"
                   "throws('data is missing', bh.publish, { all = true })\n"
                   "throws('did you mean \"data\"', bh.publish, { all = true, date = '' })\n"
                   "throws('strategy', bh.publish, { all = true, data = '', strategy = 'fast' })\n"
                   "throws('user must be', bh.publish, { user = 1.5, data = '' })\n"
                   "throws('all must be true', bh.publish, { all = false, data = '' })\n"
                   "throws('ttl', bh.publish, { all = true, data = '', ttl = -1 })\n"
                   "throws('ttl', bh.publish, { all = true, data = '', ttl = 0/0 })\n"
                   "throws('priority', bh.publish, { all = true, data = '', priority = 256 })\n"
                   "throws('opcode', bh.publish, { all = true, data = '', opcode = 'ping' })\n"
                   "throws('binary', bh.publish, { all = true, data = '', binary = 1 })\n"
                   "throws('no field', bh.publish, { all = true, data = '', [1] = 1 })\n"
                   "throws('table expected', bh.publish, 'x')");
}

/* --- on_publish --- */

static void test_hook_reads_and_changes_msg(void **state) {
    struct env *env = *state;
    struct client p, q;
    struct outcome o;
    LOAD_OK(env,
            "return { on_publish = function(msg, source)\n"
            "  assert(msg.kind == 'user' and msg.user == 'u1' and msg.topic == nil)\n"
            "  assert(msg.data == 'hi' and msg.opcode == 'text' and msg.ttl == 0)\n"
            "  assert(msg.tenant == nil and msg.all == nil and msg.except == nil)\n"
            "  assert(msg.source == 'http' and source.kind == 'http' and source.conn == nil)\n"
            "  assert(msg.strategy == 'default' or msg.strategy, msg.strategy)\n"
            "  msg.user = 'u2' msg.data = 'changed' msg.id = 'own' msg.ttl = 60\n"
            "  assert(msg.user == 'u2' and msg.data == 'changed' and msg.id == 'own')\n"
            "  for _, f in ipairs { 'kind', 'source', 'conn', 'nonsense' } do\n"
            "    assert(not pcall(function() msg[f] = 'x' end), f) end\n"
            "  assert(not pcall(function() msg.user = 'a b' end))\n"
            "  assert(not pcall(function() msg.data = {} end)) end }",
            "return { on_publish = function(msg) msg.data = msg.data .. ' twice' end }");
    client_open(env, &p, "u1");
    client_open(env, &q, "u2");
    publish(env, "u1", "hi", &o);
    assert_int_equal(o.error, 0);
    assert_int_equal(o.calls, 1);
    assert_string_equal(o.id, "own");
    assert_int_equal(p.sent_count, 0);
    assert_string_equal(client_last(&q), "changed twice");
    client_free(&p);
    client_free(&q);
}

static void test_hook_refuses(void **state) {
    struct env *env = *state;
    struct client p;
    struct outcome o;
    LOAD_OK(env,
            "return { on_publish = function(msg)\n"
            "  if msg.data == 'why' then return false, 'too loud' end\n"
            "  if msg.data == 'plain' then return false end\n"
            "  if msg.data == 'broken' then error 'x' end\n"
            "  if msg.data == 'odd' then return 7 end\n"
            "  if msg.data == 'fast' then return 'warp' end\n"
            "  if msg.data == 'local' then return 'local' end\n"
            "  return true end }",
            "return { on_publish = function() error 'not asked' end }");
    client_open(env, &p, "u1");
    publish(env, "u1", "why", &o);
    assert_int_equal(o.error, BH_EDENIED);
    assert_string_equal(o.why, "too loud");
    publish(env, "u1", "plain", &o);
    assert_int_equal(o.error, BH_EDENIED);
    publish(env, "u1", "broken", &o);
    assert_int_equal(o.error, BH_ESCRIPT);
    publish(env, "u1", "odd", &o);
    assert_int_equal(o.error, BH_ESCRIPT);
    publish(env, "u1", "fast", &o);
    assert_int_equal(o.error, BH_ESCRIPT);
    assert_int_equal(p.sent_count, 0);
    publish(env, "u1", "local", &o);
    assert_int_equal(o.error, 0);
    assert_int_equal(env->broker.published, 0);
    publish(env, "u1", "yes", &o);
    assert_int_equal(o.error, 0);
    assert_int_equal(p.sent_count, 2);
    client_free(&p);
}

static void test_hook_may_wait_and_msg_is_detached(void **state) {
    struct env *env = *state;
    struct client p;
    struct outcome o, o2;
    LOAD_OK(env, BH "local kept\n"
                    "return { on_publish = function(msg)\n"
                    "  if kept then local ok, why = pcall(function() return kept.data end)\n"
                    "    msg.data = why:match('this msg is no longer valid') return end\n"
                    "  kept = msg bh.sleep(1) msg.data = 'late' end }");
    client_open(env, &p, "u1");
    publish(env, "u1", "x", &o);
    assert_int_equal(o.calls, 0);
    env_advance(env, 1100);
    assert_int_equal(o.calls, 1);
    assert_string_equal(client_last(&p), "late");
    publish(env, "u1", "x", &o2);
    assert_string_equal(client_last(&p), "this msg is no longer valid");
    client_free(&p);
}

static void test_source_of_a_client(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(c, d) return { user = 'u1', data = d } end,\n"
                 "  on_publish = function(msg, source)\n"
                 "    msg.data = source.kind .. ' ' .. source.conn.user .. ' '\n"
                 "      .. tostring(source.id == source.conn.id) end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    env_run_due(env);
    assert_string_equal(client_last(&p), "client u1 true");
    client_free(&p);
}

static void test_publish_inside_the_hook_skips_it(void **state) {
    struct env *env = *state;
    struct client p;
    struct outcome o;
    LOAD_OK(env, BH "return { on_publish = function(msg)\n"
                    "  assert(bh.publish{ user = 'u1', data = 'copy of ' .. msg.data }) end }");
    client_open(env, &p, "u1");
    publish(env, "u1", "x", &o);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "copy of x");
    client_free(&p);
}

/* --- on_deliver --- */

static void test_deliver(void **state) {
    struct env *env = *state;
    struct client a, b, c, d;
    LOAD_OK(env, BH "return { on_deliver = function(conn, msg)\n"
                    "  assert(msg.data == 'hi' and msg.kind == 'all' and #msg.id > 0)\n"
                    "  assert(not pcall(function() msg.data = 'x' end))\n"
                    "  assert(not pcall(bh.sleep, 1))\n"
                    "  if conn.user == 'a' then return false end\n"
                    "  if conn.user == 'b' then return 'for b' end\n"
                    "  if conn.user == 'c' then error 'x' end end,\n"
                    "  on_message = function() assert(bh.publish{ all = true, data = 'hi' })\n"
                    "    return true end }");
    client_open(env, &a, "a");
    client_open(env, &b, "b");
    client_open(env, &c, "c");
    client_open(env, &d, "d");
    client_sends(&d, "x");
    env_run_due(env);
    assert_int_equal(a.sent_count, 0);
    assert_int_equal(b.sent_count, 1);
    assert_string_equal(b.sent[0], "for b");
    assert_int_equal(c.sent_count, 0);
    assert_int_equal(d.sent_count, 1);
    assert_string_equal(d.sent[0], "hi");
    client_free(&a);
    client_free(&b);
    client_free(&c);
    client_free(&d);
}

static void test_publish_inside_deliver(void **state) {
    struct env *env = *state;
    struct client p;
    struct outcome o;
    LOAD_OK(env,
            BH "return { on_deliver = function(conn, msg)\n"
               "  if msg.data == 'one' then bh.publish{ user = 'u1', data = 'two' } end end }");
    client_open(env, &p, "u1");
    publish(env, "u1", "one", &o);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "one");
    assert_string_equal(p.sent[1], "two");
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_publish_targets),
        SCRIPT_TEST(test_publish_refusals),
        SCRIPT_TEST(test_hook_reads_and_changes_msg),
        SCRIPT_TEST(test_hook_refuses),
        SCRIPT_TEST(test_hook_may_wait_and_msg_is_detached),
        SCRIPT_TEST(test_source_of_a_client),
        SCRIPT_TEST(test_publish_inside_the_hook_skips_it),
        SCRIPT_TEST(test_deliver),
        SCRIPT_TEST(test_publish_inside_deliver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
