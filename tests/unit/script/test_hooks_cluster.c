/* test_hooks_cluster.c - on_presence, on_offline, on_slow. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

static struct {
    int calls;
    enum bh_offline what;
    uint64_t retry_ms;
} decided;

static void on_decided(void *ud, bh_handle handle, enum bh_offline what, uint64_t retry_ms) {
    assert_int_equal(handle, 5);
    decided.calls++;
    decided.what = what;
    decided.retry_ms = retry_ms;
}

static void ask_offline(struct env *env, unsigned attempt) {
    struct bh_topic to;
    struct bh_message parts = {
        .topic = &to, .opcode = BH_TEXT, .payload = BH_SLICE("hi"), .id = BH_SLICE("m1")};
    bh_topic_make(BH_TOPIC_USER, BH_SLICE("42"), &to, NULL);
    struct bh_message *m = bh_message_new(&parts);
    struct bh_hooks *hooks = env->worker->hooks;
    assert_true(bh_hooks_has(hooks, BH_HOOK_OFFLINE));
    decided.calls = 0;
    hooks->vt->offline(hooks, m, attempt, on_decided, NULL, 5);
    bh_message_unref(m); /* the hook keeps its own */
    env_run_due(env);
}

static void expect_offline(struct env *env, const char *code, enum bh_offline what,
                           uint64_t retry_ms) {
    char script[512];
    snprintf(script, sizeof script, BH "return { on_offline = function(msg, attempt) %s end }",
             code);
    LOAD_OK(env, script);
    ask_offline(env, 2);
    assert_int_equal(decided.calls, 1);
    assert_int_equal(decided.what, what);
    if (what == BH_OFFLINE_RETRY)
        assert_int_equal(decided.retry_ms, retry_ms);
}

static void test_offline_answers(void **state) {
    struct env *env = *state;
    expect_offline(env,
                   "assert(msg.user == '42' and msg.data == 'hi' and attempt == 2) return true",
                   BH_OFFLINE_HANDLED, 0);
}
static void test_offline_drops(void **state) {
    expect_offline(*state, "return 'drop'", BH_OFFLINE_DROP, 0);
}
static void test_offline_undecided(void **state) {
    expect_offline(*state, "", BH_OFFLINE_DROP, 0);
}
static void test_offline_retries(void **state) {
    expect_offline(*state, "return { retry = 2.5 }", BH_OFFLINE_RETRY, 2500);
}
static void test_offline_retry_has_a_minimum(void **state) {
    expect_offline(*state, "return { retry = 0 }", BH_OFFLINE_RETRY, 100);
}
static void test_offline_misuse(void **state) {
    expect_offline(*state, "return { retry = -1 }", BH_OFFLINE_DROP, 0);
}
static void test_offline_failure_is_retried(void **state) {
    expect_offline(*state, "error 'no'", BH_OFFLINE_RETRY, 2000);
}
static void test_offline_may_wait(void **state) {
    struct env *env = *state;
    LOAD_OK(env, BH "return { on_offline = function() bh.sleep(1) return true end }");
    ask_offline(env, 1);
    assert_int_equal(decided.calls, 0);
    env_advance(env, 1100);
    assert_int_equal(decided.calls, 1);
    assert_int_equal(decided.what, BH_OFFLINE_HANDLED);
}

static void test_offline_msg_is_detached(void **state) {
    struct env *env = *state;
    LOAD_OK(env,
            BH "local kept\n"
               "return { on_offline = function(msg)\n"
               "  if kept then assert(not pcall(function() return kept.data end)) return true end\n"
               "  kept = msg return 'drop' end }");
    ask_offline(env, 1);
    ask_offline(env, 2);
    assert_int_equal(decided.what, BH_OFFLINE_HANDLED);
}

static void test_presence(void **state) {
    struct env *env = *state;
    LOAD_OK(env, BH "return { on_presence = function(e)\n"
                    "  assert(e.user == '42' and e.online == true and e.at == 1700000000.5)\n"
                    "  bh.publish{ topic = 'seen', data = 'x', strategy = 'redis' } end }");
    struct bh_hooks *hooks = env->worker->hooks;
    assert_true(bh_hooks_has(hooks, BH_HOOK_PRESENCE));
    int before = env->broker.published;
    hooks->vt->presence(hooks, BH_SLICE("42"), true, 1700000000500);
    env_run_due(env);
    assert_int_equal(env->broker.published, before + 1);
}

static void test_slow(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_slow = function(c, queued)\n"
                    "  assert(c.user and queued >= 10)\n"
                    "  return ({ [10] = 'drop_oldest', [11] = 'drop_newest', [12] = 'close',\n"
                    "            [13] = 'nonsense' })[queued] end }");
    client_open(env, &p, "42");
    struct bh_hooks *hooks = env->worker->hooks;
    static const enum bh_slow expected[] = {BH_SLOW_DROP_OLDEST, BH_SLOW_DROP_NEWEST, BH_SLOW_CLOSE,
                                            BH_SLOW_CLOSE, BH_SLOW_DROP_NEWEST};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(hooks->vt->slow(hooks, &p.sub, 10 + i, BH_SLOW_DROP_NEWEST), expected[i]);
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_offline_answers),
        SCRIPT_TEST(test_offline_drops),
        SCRIPT_TEST(test_offline_undecided),
        SCRIPT_TEST(test_offline_retries),
        SCRIPT_TEST(test_offline_retry_has_a_minimum),
        SCRIPT_TEST(test_offline_misuse),
        SCRIPT_TEST(test_offline_failure_is_retried),
        SCRIPT_TEST(test_offline_may_wait),
        SCRIPT_TEST(test_offline_msg_is_detached),
        SCRIPT_TEST(test_presence),
        SCRIPT_TEST(test_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
