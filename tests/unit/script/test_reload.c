/* test_reload.c - a new generation of the scripts replaces the previous one while connections are
 * open and hooks are running. */
#include "script_cmocka.h"

/* Loads the next generation, starts and activates it. NULL, or the error of the load or of on_init:
 * then the previous one stays. */
static const char *reload(struct env *env, const char *source) {
    static char path[64];
    struct bh_script *next = NULL;
    unsigned generation = bh_script_generation(env->script) + 1;
    env_write(env, "a.lua", source);
    snprintf(path, sizeof path, "%s/a.lua", env->dir);
    bh_free(env->error);
    env->error = NULL;
    env->started = false;
    if (bh_script_new(&env->config, env->worker, generation, &next, &env->error))
        return env->error;
    bh_script_start(next, env_on_init, env);
    env_advance(env, 50);
    if (!env->started) {
        bh_script_free(next);
        return env->error ? env->error : "on_init is not done";
    }
    bh_script_activate(next);
    env->script = next;
    env_run_due(env);
    return NULL;
}

static void reload_ok(struct env *env, const char *source) {
    const char *error = reload(env, source);
    if (error)
        fail_msg("%s", error);
}

static size_t states(const struct env *env) {
    return bh_script_state_count(env->worker);
}

#define ECHO(name) "return { on_message = function(conn, d) return '" name " ' .. d end }"

static void test_new_state_serves(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, ECHO("one"));
    client_open(env, &p, "42");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "one x");
    reload_ok(env, ECHO("two"));
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "two x");
    assert_int_equal(states(env), 1);
    assert_int_equal(p.code, 0);
    client_free(&p);
}

static void test_failed_reload_changes_nothing(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, ECHO("one"));
    client_open(env, &p, "42");
    assert_non_null(strstr(reload(env, "return {"), "a.lua:1:"));
    assert_non_null(strstr(reload(env, "return { on_mesage = 1 }"), "did you mean"));
    assert_non_null(
        strstr(reload(env, "return { on_init = function() error 'no' end }"), "a.lua:1: no"));
    assert_non_null(
        strstr(reload(env, "return { on_init = function() return false, 'shy' end }"), "shy"));
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "one x");
    assert_int_equal(states(env), 1);
    client_free(&p);
}

static void test_init_context_of_a_reload(void **state) {
    struct env *env = *state;
    LOAD_OK(env, "return { on_init = function(c)\n"
                 "  assert(c.generation == 1 and c.reload == false and c.previous == nil) end }");
    reload_ok(env, "return { on_init = function(c)\n"
                   "  assert(c.generation == 2 and c.reload == true and c.previous == 1) end }");
    reload_ok(env, "return { on_init = function(c)\n"
                   "  assert(c.generation == 3 and c.previous == 2) end }");
}

static void test_on_init_may_wait_while_the_old_state_serves(void **state) {
    struct env *env = *state;
    struct bh_script *next = NULL;
    struct client p;
    LOAD_OK(env, ECHO("one"));
    client_open(env, &p, "42");
    env_write(env, "a.lua",
              "return { on_init = function() require 'bellhop'.sleep(0.1) end,\n"
              "on_message = function() return 'two' end }");
    env->started = false;
    assert_int_equal(bh_script_new(&env->config, env->worker, 2, &next, &env->error), 0);
    bh_script_start(next, env_on_init, env);
    assert_false(env->started);
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "one x");
    env_advance(env, 200);
    assert_true(env->started);
    bh_script_activate(next);
    env->script = next;
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "two");
    client_free(&p);
}

/* --- what connections take with them --- */

static void test_vars_are_copied_if_they_are_data(void **state) {
    struct env *env = *state;
    struct client p, idle;
    LOAD_OK(env, "return { on_message = function(conn, d)\n"
                 "  local v = conn.vars\n"
                 "  v.n, v.s, v.b, v.t = 7, 'text', true, { 1, { x = 2.5 } }\n"
                 "  v.f, v.c, v.u = print, coroutine.create(print), conn\n"
                 "  v[1] = 'one' return 'kept' end }");
    client_open(env, &p, "42");
    client_open(env, &idle, "43");
    client_sends(&p, "x");
    for (int i = 0; i < 3; i++)
        reload_ok(env, "return { on_message = function(conn)\n"
                       "  local v = conn.vars\n"
                       "  if v.n == nil then return 'nothing' end\n"
                       "  assert(math.type(v.n) == 'integer' and v.f == nil and v.c == nil)\n"
                       "  assert(v.u == nil and v[1] == 'one' and v.b == true)\n"
                       "  return v.n .. v.s .. v.t[2].x end }");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "7text2.5");
    client_sends(&idle, "x");
    assert_string_equal(client_last(&idle), "nothing");
    client_free(&p);
    client_free(&idle);
}

static void test_cyclic_vars(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(conn) conn.vars.me = conn.vars return true end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    reload_ok(env, "return { on_message = function(conn) return type(conn.vars.me) end }");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "table");
    client_free(&p);
}

static void test_too_many_vars(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { on_message = function(conn) local v = conn.vars\n"
                 "  v.list, v.object = bh.json.array {}, {}\n"
                 "  local t = {} for _ = 1, 14 do t = { t, t, t, t, t, t, t, t, t, t } end\n"
                 "  v.wide = t return true end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    reload_ok(env, "return { on_message = function(conn) return type(conn.vars.wide) end }");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "table");
    client_free(&p);
}

static void test_json_marks_are_handed_over(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { on_message = function(conn)\n"
                 "  conn.vars.list, conn.vars.map = bh.json.array {}, bh.json.object { 7 }\n"
                 "  return true end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    reload_ok(env, "return { on_message = function(conn) local e = require 'bellhop'.json.encode\n"
                   "return e(conn.vars.list) .. e(conn.vars.map) end }");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "[]{\"1\":7}");
    client_free(&p);
}

/* --- hooks that are under way --- */

#define SLOW(name)                                                                                 \
    "local bh = require 'bellhop'\n"                                                               \
    "return { on_message = function(conn, d)\n"                                                    \
    "  if d == 'now' then return '" name " now' end\n"                                             \
    "  bh.sleep(tonumber(d)) conn.vars.last = '" name "'\n"                                        \
    "  return '" name " ' .. d end,\n"                                                             \
    "  on_close = function(conn, info) closed = info.code\n"                                       \
    "    bh.publish{ user = 'log', data = '" name " closed ' .. tostring(conn.vars.last) } end }"

static void test_hooks_of_one_connection_keep_their_order(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, SLOW("one"));
    client_open(env, &p, "42");
    client_sends(&p, "0.5");
    client_sends(&p, "0.1");
    reload_ok(env, SLOW("two"));
    assert_int_equal(states(env), 2);
    client_sends(&p, "now");
    assert_int_equal(p.sent_count, 0);
    reload_ok(env, SLOW("three"));
    client_sends(&p, "now");
    assert_int_equal(states(env), 2);
    env_advance(env, 420);
    assert_int_equal(p.sent_count, 1);
    assert_string_equal(p.sent[0], "one 0.5");
    env_advance(env, 200);
    assert_int_equal(states(env), 1);
    assert_int_equal(p.sent_count, 4);
    assert_string_equal(p.sent[1], "three 0.1");
    assert_string_equal(p.sent[2], "three now");
    assert_string_equal(p.sent[3], "three now");
    client_free(&p);
}

static void test_connection_closes_during_reload(void **state) {
    struct env *env = *state;
    struct client p, log;
    LOAD_OK(env, SLOW("one"));
    client_open(env, &log, "log");
    client_open(env, &p, "42");
    client_sends(&p, "0.2");
    reload_ok(env, SLOW("two"));
    client_sends(&p, "0.1");
    client_free(&p);
    env_advance(env, 100);
    assert_int_equal(log.sent_count, 0);
    env_advance(env, 500);
    assert_int_equal(log.sent_count, 1);
    assert_string_equal(client_last(&log), "two closed two");
    assert_int_equal(states(env), 1);
    client_free(&log);
}

static void test_subscribe_in_the_old_state_runs_the_new_hook(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { on_message = function(conn) bh.sleep(0.1)\n"
                 "  local a, why = conn:subscribe 'good' local b = conn:subscribe 'bad'\n"
                 "  return tostring(a) .. tostring(b) end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    reload_ok(env, "return { on_subscribe = function(conn, topic) return topic == 'good' end }");
    env_advance(env, 300);
    assert_string_equal(client_last(&p), "truenil");
    assert_int_equal(states(env), 1);
    client_free(&p);
}

static void test_pending_handshake_finishes_in_its_state(void **state) {
    struct env *env = *state;
    struct bh_request r = {.path = BH_SLICE("/ws")};
    struct answer a = {0}, b = {0};
    struct bh_hooks *h;
    LOAD_OK(env, "return { on_handshake = function() require 'bellhop'.sleep(0.1)\n"
                 "  return { user = 'one' } end }");
    h = env->worker->hooks;
    assert_true(h->vt->handshake(h, &r, on_handshake_result, &a, 0) != 0);
    bh_handle ticket = h->vt->handshake(h, &r, on_handshake_result, &b, 0);
    reload_ok(env, "return { on_handshake = function() return { user = 'two' } end }");
    h = env->worker->hooks;
    h->vt->cancel(h, ticket);
    env_advance(env, 200);
    assert_true(bh_slice_eq(a.identity->user, BH_SLICE("one")));
    assert_int_equal(b.calls, 0);
    assert_int_equal(states(env), 1);
    answer_free(&a);
    answer_free(&b);
}

static void test_publish_in_the_old_state_runs_the_new_hook(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { on_message = function(conn, d) bh.sleep(0.1)\n"
                 "  bh.publish{ user = '42', data = 'x' } return 'done' end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    reload_ok(env, "return { on_deliver = function(conn, m)\n"
                   "conn.vars.seen = true return 'filtered ' .. m.data end,\n"
                   "on_message = function(conn) return tostring(conn.vars.seen) end }");
    env_advance(env, 200);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "filtered x");
    assert_string_equal(p.sent[1], "done");
    client_free(&p);
}

/* The old hook gets views of connections that belong to the new state; they stay there. */
static void test_old_hook_reads_connections(void **state) {
    struct env *env = *state;
    struct client p, q;
    LOAD_OK(env,
            "local bh = require 'bellhop'\n"
            "return { on_message = function(conn, d)\n"
            "  conn.vars.n = (conn.vars.n or 0) + 1\n"
            "  if d == 'slow' then bh.sleep(0.2)\n"
            "    for _, c in ipairs(bh.hub.by_user '43') do c:send('from old ' .. c.user) end end\n"
            "  return 'one' end }");
    client_open(env, &p, "42");
    client_open(env, &q, "43");
    client_sends(&q, "x");
    client_sends(&p, "slow");
    reload_ok(env, "return { on_message = function(conn)\n"
                   "  conn.vars.n = conn.vars.n + 1 return 'two ' .. conn.vars.n end }");
    client_sends(&q, "x");
    env_advance(env, 300);
    assert_string_equal(q.sent[1], "two 2");
    assert_string_equal(q.sent[2], "from old 43");
    client_sends(&q, "x");
    assert_string_equal(client_last(&q), "two 3");
    assert_int_equal(states(env), 1);
    client_free(&p);
    client_free(&q);
}

/* More than a slice, with vars; some are used, some close before they are handed over. */
static void test_many_connections_are_handed_over(void **state) {
    enum { MANY = 1300 };
    struct env *env = *state;
    struct client *clients = bh_calloc(MANY, sizeof *clients);
    char expected[24];
    LOAD_OK(env, "local n = 0 return { on_open = function(conn) n = n + 1 conn.vars.n = n end }");
    for (int i = 0; i < MANY; i++)
        client_open(env, &clients[i], "u");
    for (int r = 0; r < 3; r++) {
        env_write(env, "a.lua",
                  "closed = 0 return { on_message = function(conn) return conn.vars.n .. '' end,\n"
                  "on_close = function(conn) assert(conn.vars.n) closed = closed + 1 end }");
        struct bh_script *next;
        assert_int_equal(
            bh_script_new(&env->config, env->worker, 2 + (unsigned)r, &next, &env->error), 0);
        bh_script_start(next, env_on_init, env);
        bh_script_activate(next);
        env->script = next;
        client_sends(&clients[MANY - 1 - r], "x");
        snprintf(expected, sizeof expected, "%d", MANY - r);
        assert_string_equal(client_last(&clients[MANY - 1 - r]), expected);
        client_free(&clients[r]);
    }
    assert_true(states(env) > 1);
    env_advance(env, 200);
    assert_int_equal(states(env), 1);
    for (int i = 3; i < MANY; i++) {
        client_sends(&clients[i], "x");
        snprintf(expected, sizeof expected, "%d", i + 1);
        assert_string_equal(client_last(&clients[i]), expected);
        client_free(&clients[i]);
    }
    bh_free(clients);
}

/* --- what scripts have started by themselves --- */

static void test_background_tasks_are_cancelled(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.hook_timeout_ms = 1000;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { on_init = function()\n"
                 "  bh.spawn(function() while true do bh.sleep(0.3)\n"
                 "    bh.publish{ user = '42', data = 'tick' } end end) end }");
    client_open(env, &p, "42");
    env_advance(env, 400);
    assert_int_equal(p.sent_count, 1);
    reload_ok(env, ECHO("two"));
    env_advance(env, 400);
    assert_true(p.sent_count > 1); /* it may finish */
    assert_int_equal(states(env), 2);
    env_advance(env, 1000);
    assert_int_equal(states(env), 1);
    client_forget(&p);
    env_advance(env, 1000);
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
}

static void test_freed_while_running(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, SLOW("one"));
    client_open(env, &p, "42");
    client_sends(&p, "10");
    reload_ok(env, SLOW("two"));
    client_sends(&p, "10");
    env_close_script(env);
    assert_int_equal(states(env), 0);
    client_free(&p);
}

/* --- many at random --- */

#define CLIENTS 12

static unsigned roll(unsigned *seed, unsigned sides) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 16) % sides;
}

static void test_random_lives(void **state) {
    struct env *env = *state;
    struct client *clients[CLIENTS] = {0};
    unsigned seed = 11, said[CLIENTS] = {0}, heard = 0, asked = 0;
    static const char source[] =
        "local bh = require 'bellhop'\n"
        "return { on_message = function(conn, d)\n"
        "  conn.vars.n = (conn.vars.n or 0) + 1\n"
        "  if conn.vars.n % 3 == 0 then bh.sleep(0.02) end\n"
        "  if conn.vars.n % 5 == 0 then conn:subscribe('t' .. conn.vars.n) end\n"
        "  return tostring(conn.vars.n) end,\n"
        "  on_subscribe = function() bh.sleep(0.01) return true end,\n"
        "  on_close = function(conn) bh.sleep(0.01) end }";
    LOAD_OK(env, source);
    for (int step = 0; step < 3000; step++) {
        unsigned i = roll(&seed, CLIENTS);
        if (!clients[i]) {
            clients[i] = bh_calloc(1, sizeof **clients);
            client_open(env, clients[i], "u");
            said[i] = 0;
        } else if (roll(&seed, 60) == 0) {
            client_free(clients[i]);
            bh_free(clients[i]);
            clients[i] = NULL;
        } else if (roll(&seed, 40) == 0) {
            reload_ok(env, source);
        } else if (roll(&seed, 10) == 0) {
            env_advance(env, roll(&seed, 40));
        } else {
            client_sends(clients[i], "x");
            said[i]++;
            asked++;
        }
        for (i = 0; i < CLIENTS; i++) {
            for (unsigned k = 0; clients[i] && k < clients[i]->sent_count; k++)
                heard++;
            if (clients[i])
                client_forget(clients[i]);
        }
    }
    assert_true(heard > asked / 2);
    env_advance(env, 5000);
    assert_int_equal(states(env), 1);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (!clients[i])
            continue;
        char expected[16];
        client_forget(clients[i]);
        client_sends(clients[i], "x");
        env_advance(env, 100);
        snprintf(expected, sizeof expected, "%u", said[i] + 1);
        assert_string_equal(client_last(clients[i]), expected); /* none lost, none twice */
        client_free(clients[i]);
        bh_free(clients[i]);
    }
    env_advance(env, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_new_state_serves),
        SCRIPT_TEST(test_failed_reload_changes_nothing),
        SCRIPT_TEST(test_init_context_of_a_reload),
        SCRIPT_TEST(test_on_init_may_wait_while_the_old_state_serves),
        SCRIPT_TEST(test_vars_are_copied_if_they_are_data),
        SCRIPT_TEST(test_cyclic_vars),
        SCRIPT_TEST(test_too_many_vars),
        SCRIPT_TEST(test_json_marks_are_handed_over),
        SCRIPT_TEST(test_hooks_of_one_connection_keep_their_order),
        SCRIPT_TEST(test_connection_closes_during_reload),
        SCRIPT_TEST(test_subscribe_in_the_old_state_runs_the_new_hook),
        SCRIPT_TEST(test_pending_handshake_finishes_in_its_state),
        SCRIPT_TEST(test_publish_in_the_old_state_runs_the_new_hook),
        SCRIPT_TEST(test_old_hook_reads_connections),
        SCRIPT_TEST(test_many_connections_are_handed_over),
        SCRIPT_TEST(test_background_tasks_are_cancelled),
        SCRIPT_TEST(test_freed_while_running),
        SCRIPT_TEST(test_random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
