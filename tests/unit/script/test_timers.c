/* test_timers.c - what depends on time: timers in their scopes, on_expire, on_shutdown,
 * conn:allow. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

/* --- timers --- */

static void test_timer_runs_periodically(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { timers = { tick = { every = 0.1, fn = function()\n"
                    "bh.publish{ user = '42', data = 'tick' } end } } }");
    client_open(env, &p, "42");
    env_advance(env, 1050);
    if (p.sent_count < 9 || p.sent_count > 10)
        fail_msg("%u ticks", p.sent_count);
    client_free(&p);
}

static void test_timer_does_not_overlap_with_itself(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "local running = 0\n"
                    "return { timers = { tick = { every = 0.1, fn = function()\n"
                    "  running = running + 1 assert(running == 1) bh.sleep(0.25)\n"
                    "  running = running - 1\n"
                    "  bh.publish{ user = '42', data = 'tick' } end } } }");
    client_open(env, &p, "42");
    env_advance(env, 1150);
    assert_in_range(p.sent_count, 3, 4);
    client_free(&p);
}

static void test_failing_timer_runs_again(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "local n = 0\n"
                    "return { timers = { tick = { every = 0.1, fn = function() n = n + 1\n"
                    "  bh.publish{ user = '42', data = tostring(n) }\n"
                    "  if n == 2 then error 'boom' end end } } }");
    client_open(env, &p, "42");
    env_advance(env, 450);
    assert_true(p.sent_count >= 3);
    assert_string_equal(p.sent[2], "3");
    client_free(&p);
}

static void test_timers_of_an_instance_run_on_one_worker(void **state) {
    struct env *env = *state;
    struct client p;
    env->worker->index = 1;
    LOAD_OK(env, BH "local function say(what) return function()\n"
                    "  bh.publish{ user = '42', data = what } end end\n"
                    "return { timers = {\n"
                    "  a = { every = 0.1, scope = 'instance', fn = say 'instance' },\n"
                    "  b = { every = 0.1, scope = 'cluster', fn = say 'cluster' },\n"
                    "  c = { every = 0.1, scope = 'worker', fn = say 'worker' } } }");
    client_open(env, &p, "42");
    env_advance(env, 150);
    assert_int_equal(p.sent_count, 1);
    assert_string_equal(p.sent[0], "worker");
    client_free(&p);
    env->worker->index = 0;
}

static void test_cluster_timer_needs_a_lease(void **state) {
    struct env *env = *state;
    struct client p;
    const struct bh_reply ok = {.type = BH_REPLY_STATUS, .str = BH_SLICE("OK")},
                          taken = {.type = BH_REPLY_NIL},
                          bad = {.type = BH_REPLY_ERROR, .str = BH_SLICE("NOPERM x")};
    env->worker->redis = &env->redis.base;
    LOAD_OK(env, BH "return { timers = { tick = { every = 1, scope = 'cluster', fn = function()\n"
                    "bh.publish{ user = '42', data = 'tick' } end } } }");
    client_open(env, &p, "42");
    for (int i = 0; i < 4; i++) {
        env_advance(env, 1005);
        assert_int_equal(env->redis.calls, i + 1);
        assert_true(bh_slice_eq(bh_bytes_slice(&env->redis.command),
                                BH_SLICE("SET ws:timer:tick i1 NX PX 950")));
        env->redis.done(env->redis.ud, env->redis.handle, i == 3 ? BH_EUNAVAIL : 0,
                        i == 0   ? &ok
                        : i == 1 ? &taken
                                 : &bad);
        assert_int_equal(p.sent_count, 1);
    }
    client_free(&p);
    env_advance(env, 1005);
    env_close_script(env);
    env->redis.done(env->redis.ud, env->redis.handle, 0, &ok); /* the state has gone */
}

static void test_timers_without_redis_are_the_instances(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { timers = { tick = { every = 0.1, scope = 'cluster', fn = function()\n"
                    "bh.publish{ user = '42', data = 'tick' } end } } }");
    client_open(env, &p, "42");
    env_advance(env, 150);
    assert_int_equal(p.sent_count, 1);
    client_free(&p);
}

static void test_timers_change_with_a_reload(void **state) {
    struct env *env = *state;
    struct bh_script *next;
    struct client p;
    LOAD_OK(env, BH "return { timers = { tick = { every = 0.1, fn = function()\n"
                    "bh.sleep(0.05) bh.publish{ user = '42', data = 'old' } end } } }");
    client_open(env, &p, "42");
    env_advance(env, 120);
    env_write(env, "a.lua",
              BH "return { timers = { tick = { every = 0.1, fn = function()\n"
                 "bh.publish{ user = '42', data = 'new' } end } } }");
    assert_int_equal(bh_script_new(&env->config, env->worker, 2, &next, &env->error), 0);
    bh_script_start(next, env_on_init, env);
    env_advance(env, 10);
    bh_script_activate(next);
    env->script = next;
    env_advance(env, 320);
    assert_true(p.sent_count >= 3);
    assert_string_equal(p.sent[0], "old"); /* was under way */
    for (unsigned i = 1; i < p.sent_count; i++)
        assert_string_equal(p.sent[i], "new");
    assert_int_equal(bh_script_state_count(env->worker), 1);
    client_free(&p);
}

#define BAD(name, text, part)                                                                      \
    static void name(void **state) {                                                               \
        LOAD_FAILS(*state, "return { timers = " text " }", part);                                  \
    }

BAD(test_timers_no_table, "7", "timers must be a table, not a number")
BAD(test_timer_no_table, "{ x = 7 }", "timers.x: it must be a table")
BAD(test_timer_no_name, "{ { every = 1, fn = print } }", "timers have names")
BAD(test_timer_typo, "{ x = { evry = 1, fn = print } }", "did you mean \"every\"?")
BAD(test_timer_no_period, "{ x = { fn = print } }", "`every` must be a number of seconds")
BAD(test_timer_too_fast, "{ x = { every = 0, fn = print } }", "`every` must be")
BAD(test_timer_no_function, "{ x = { every = 1 } }", "`fn` must be a function")
BAD(test_timer_scope, "{ x = { every = 1, fn = print, scope = 'world' } }", "`scope` must be")
BAD(test_timer_bad_name, "{ ['a b'] = { every = 1, fn = print } }", "timers.a b:")

static void test_timers_of_two_scripts(void **state) {
    struct env *env = *state;
    assert_int_equal(ENV_LOAD(env, "return { timers = { x = { every = 1, fn = print } } }",
                              "return { timers = { x = { every = 1, fn = print } } }"),
                     BH_ESCRIPT);
    assert_non_null(strstr(env->error, "b.lua: timers.x: another script has a timer of that name"));
}

/* --- on_expire --- */

struct expiry {
    int calls;
    int64_t expires;
};

static void on_expiry(void *ud, bh_handle handle, int64_t expires) {
    struct expiry *e = ud;
    e->calls++;
    e->expires = expires;
    assert_int_equal(handle, 9);
}

static int64_t expiry_of(struct env *env, const char *answer) {
    char source[256];
    struct client p;
    struct expiry e = {0};
    snprintf(source, sizeof source, "return { on_expire = function(conn) %s end }", answer);
    env_close_script(env);
    LOAD_OK(env, source);
    client_open(env, &p, "42");
    struct bh_hooks *h = env->worker->hooks;
    assert_true(bh_hooks_has(h, BH_HOOK_EXPIRE));
    h->vt->expire(h, &p.sub, on_expiry, &e, 9);
    env_advance(env, 200);
    assert_int_equal(e.calls, 1);
    client_free(&p);
    return e.expires;
}

static void test_on_expire(void **state) {
    struct env *env = *state;
    assert_int_equal(expiry_of(env, "return os.time() + 60"), TEST_WALL_MS / 1000 + 60);
    assert_int_equal(expiry_of(env, "require 'bellhop'.sleep(0.1) return 1.9e9"), 1900000000);
    assert_int_equal(expiry_of(env, "return 1900000000.25"), 1900000001);
    assert_int_equal(expiry_of(env, "return false"), 0);
    assert_int_equal(expiry_of(env, "return nil"), 0);
    assert_int_equal(expiry_of(env, "return 'soon'"), 0);
    assert_int_equal(expiry_of(env, "return -1"), 0);
    assert_int_equal(expiry_of(env, "return 3600"), 0);
    assert_int_equal(expiry_of(env, "error 'boom'"), 0);
}

/* --- on_shutdown --- */

static void count(void *ud) {
    ++*(int *)ud;
}

static void test_on_shutdown(void **state) {
    struct env *env = *state;
    struct client p;
    int done = 0;
    LOAD_OK(env,
            BH
            "return { on_shutdown = function(reason, grace) bh.sleep(0.1)\n"
            "  bh.publish{ user = '42', data = reason .. ' ' .. grace } return true end,\n"
            "timers = { t = { every = 0.05, fn = function() bh.publish{ all = true, data = 't' }\n"
            "end } } }",
            BH "return { on_shutdown = function() bh.publish{ user = '42', data = 'second' }\n"
               "  error 'boom' end }");
    client_open(env, &p, "42");
    bh_script_shutdown(env->script, "stop", 2500, count, &done);
    assert_int_equal(done, 0);
    env_advance(env, 200);
    assert_int_equal(done, 1);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "stop 2.5");
    assert_string_equal(p.sent[1], "second");
    client_free(&p);
}

static void test_no_on_shutdown(void **state) {
    struct env *env = *state;
    int done = 0;
    LOAD_OK(env, "return {}");
    bh_script_shutdown(env->script, "stop", 0, count, &done);
    assert_int_equal(done, 1);
}

/* What an instance that stops waits for: hooks, but no background task. */
static void test_busy(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_open = function() bh.spawn(function() bh.sleep(60) end) end,\n"
                    "  on_close = function() bh.sleep(0.1) end }");
    client_open(env, &p, "42");
    assert_false(bh_script_is_busy(env->worker));
    client_closed(&p, 1001, "stop");
    assert_true(bh_script_is_busy(env->worker));
    env_advance(env, 200);
    assert_false(bh_script_is_busy(env->worker));
    client_free(&p);
}

/* --- conn:allow --- */

static void test_allow(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env,
            "return { on_message = function(conn, d)\n"
            "  return tostring(conn:allow('say', 2, 3)) .. tostring(conn:allow(d, 1000)) end }");
    client_open(env, &p, "42");
    for (int i = 0; i < 5; i++)
        client_sends(&p, "other");
    assert_string_equal(p.sent[2], "truetrue");
    assert_string_equal(p.sent[3], "falsetrue");
    env_advance(env, 600);
    client_sends(&p, "other");
    client_sends(&p, "other");
    assert_string_equal(p.sent[5], "truetrue");
    assert_string_equal(p.sent[6], "falsetrue");
    env_advance(env, 60000);
    for (int i = 0; i < 4; i++)
        client_sends(&p, "other");
    assert_string_equal(p.sent[9], "truetrue");
    assert_string_equal(p.sent[10], "falsetrue");
    client_free(&p);
}

static void test_allow_stays_over_a_reload(void **state) {
    struct env *env = *state;
    struct bh_script *next;
    struct client p;
    LOAD_OK(env,
            "return { on_message = function(conn) return tostring(conn:allow('a', 0, 1)) end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "true");
    assert_int_equal(bh_script_new(&env->config, env->worker, 2, &next, &env->error), 0);
    bh_script_start(next, env_on_init, env);
    bh_script_activate(next);
    env->script = next;
    env_run_due(env);
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "false");
    client_free(&p);
}

static void test_allow_misuse(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env,
            "return { on_message = function(conn)\n"
            "  local function throws(part, ...) local ok, e = pcall(conn.allow, conn, ...)\n"
            "    assert(not ok and e:find(part, 1, true), e) end\n"
            "  throws('a rate', 'a', -1) throws('a burst', 'a', 1, 0) throws('a rate', 'a', 0/0)\n"
            "  throws('64 bytes', ('x'):rep(65), 1)\n"
            "  for i = 1, 16 do conn:allow('n' .. i, 1) end throws('16 names', 'n17', 1)\n"
            "  return 'done' end,\n"
            "on_close = function(conn) local ok, why = conn:allow('n1', 1)\n"
            "  assert(ok == nil and why == 'closed') end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "done");
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_timer_runs_periodically),
        SCRIPT_TEST(test_timer_does_not_overlap_with_itself),
        SCRIPT_TEST(test_failing_timer_runs_again),
        SCRIPT_TEST(test_timers_of_an_instance_run_on_one_worker),
        SCRIPT_TEST(test_cluster_timer_needs_a_lease),
        SCRIPT_TEST(test_timers_without_redis_are_the_instances),
        SCRIPT_TEST(test_timers_change_with_a_reload),
        SCRIPT_TEST(test_timers_no_table),
        SCRIPT_TEST(test_timer_no_table),
        SCRIPT_TEST(test_timer_no_name),
        SCRIPT_TEST(test_timer_typo),
        SCRIPT_TEST(test_timer_no_period),
        SCRIPT_TEST(test_timer_too_fast),
        SCRIPT_TEST(test_timer_no_function),
        SCRIPT_TEST(test_timer_scope),
        SCRIPT_TEST(test_timer_bad_name),
        SCRIPT_TEST(test_timers_of_two_scripts),
        SCRIPT_TEST(test_on_expire),
        SCRIPT_TEST(test_on_shutdown),
        SCRIPT_TEST(test_no_on_shutdown),
        SCRIPT_TEST(test_busy),
        SCRIPT_TEST(test_allow),
        SCRIPT_TEST(test_allow_stays_over_a_reload),
        SCRIPT_TEST(test_allow_misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
