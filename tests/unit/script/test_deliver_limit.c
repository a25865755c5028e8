/* test_deliver_limit.c - on_deliver and on_slow that do not finish: each is stopped, also inside
 * another hook; a connection whose on_deliver is stopped three times within a minute is closed; a
 * hundred of them neither stop the worker for long nor fill the log. */
#include "script_cmocka.h"

#include "bellhop/base/log.h"
#include "bellhop/base/metrics.h"
#include "run/state.h"

#include <fcntl.h>
#include <time.h>

#define BH "local bh = require 'bellhop'\n"
/* Users whose name begins with "bad" make it loop. */
#define LOOPS                                                                                      \
    "on_deliver = function(conn, msg) if conn.user:find '^bad' then while true do end end end"

static int setup(void **state) {
    script_setup(state);
    struct env *env = *state;
    env->config.cpu_limit_ms = 50;
    env->config.deliver_limit_ms = 5;
    env->config.memory_limit = 64u << 20;
    env->config.max_tasks = 1000;
    return 0;
}

static void ignore(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    assert_int_equal(r->error, 0);
}

static void publish_to_all(struct env *env, const char *text) {
    struct bh_publish p = {.source = BH_SOURCE_HTTP, .opcode = BH_TEXT};
    bh_topic_parse(BH_SLICE("all"), &p.topic);
    p.data = bh_buf_copy(bh_slice_cstr(text));
    bh_node_publish(env->worker, &p, ignore, NULL, 0);
    env_run_due(env);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the third time within a minute --- */

static void test_the_third_time_ends_the_connection(void **state) {
    struct env *env = *state;
    struct client bad, good;
    LOAD_OK(env, "return { " LOOPS " }");
    client_open(env, &bad, "bad");
    client_open(env, &good, "good");
    for (int i = 0; i < 2; i++) {
        publish_to_all(env, "m");
        lua_gc(env->script->L, LUA_GCCOLLECT); /* the count outlives the collector */
        assert_int_equal(bad.code, 0);
    }
    publish_to_all(env, "m");
    assert_int_equal(bad.code, 1011);
    assert_string_equal(bad.reason, "on_deliver failed");
    assert_int_equal(bad.sent_count, 0);
    assert_int_equal(good.sent_count, 3);
    assert_int_equal(good.code, 0);
    client_free(&bad);
    client_free(&good);
}

/* While the closing handshake lasts, it costs nothing. */
static void test_it_is_not_called_for_a_connection_that_was_closed_for_it(void **state) {
    struct env *env = *state;
    struct client bad;
    LOAD_OK(env, "calls = 0 return { on_deliver = function() calls = calls + 1\n"
                 "while calls <= 3 do end end,\n"
                 "on_message = function() return tostring(calls) end }");
    client_open(env, &bad, "bad");
    for (int i = 0; i < 10; i++)
        publish_to_all(env, "m");
    assert_int_equal(bad.code, 1011);
    bad.code = 0;
    client_sends(&bad, "x");
    assert_string_equal(client_last(&bad), "3");
    client_free(&bad);
}

static void test_old_ones_are_forgotten(void **state) {
    struct env *env = *state;
    struct client bad;
    LOAD_OK(env, "return { " LOOPS " }");
    client_open(env, &bad, "bad");
    for (int i = 0; i < 4; i++) {
        publish_to_all(env, "m");
        assert_int_equal(bad.code, 0);
        env_advance(env, 31000);
    }
    publish_to_all(env, "m");
    assert_int_equal(bad.code, 0);
    publish_to_all(env, "m");
    assert_int_equal(bad.code, 1011);
    client_free(&bad);
}

static void test_errors_are_no_overruns(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_deliver = function() error 'boom' end }");
    client_open(env, &p, "p");
    for (int i = 0; i < 5; i++)
        publish_to_all(env, "m");
    assert_int_equal(p.code, 0);
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
}

static void test_zero_is_no_limit_of_its_own(void **state) {
    struct env *env = *state;
    struct client bad;
    env->config.deliver_limit_ms = 0;
    LOAD_OK(env, "return { " LOOPS " }");
    client_open(env, &bad, "bad");
    for (int i = 0; i < 4; i++)
        publish_to_all(env, "m");
    assert_int_equal(bad.code, 0);
    assert_int_equal(bad.sent_count, 0);
    client_free(&bad);
}

static void test_without_the_limit_of_all_hooks(void **state) {
    struct env *env = *state;
    struct client bad;
    env->config.cpu_limit_ms = 0;
    LOAD_OK(env, "return { " LOOPS " }");
    client_open(env, &bad, "bad");
    for (int i = 0; i < 3; i++)
        publish_to_all(env, "m");
    assert_int_equal(bad.code, 1011);
    client_free(&bad);
}

/* --- in all ways --- */

static void test_ways_not_to_finish(void **state) {
    static const char *const ways[] = {
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "setmetatable({}, {__index = function() while true do end end}).x()",
        "local x <close> = setmetatable({}, {__close = function() while true do end end})\n"
        "while true do end",
        "while true do bh.json.decode(text) end",
        "return ('a'):rep(50000):find((\".-\"):rep(20) .. 'b')",
    };
    struct env *env = *state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char source[512];
        struct client bad;
        snprintf(source, sizeof source,
                 BH "local text = '[' .. ('1,'):rep(1 << 20) .. '1]'\n"
                    "return { on_deliver = function(conn) %s end }",
                 ways[i]);
        LOAD_OK(env, source);
        client_open(env, &bad, "bad");
        for (int n = 0; n < 3; n++)
            publish_to_all(env, "m");
        assert_int_equal(bad.code, 1011);
        client_free(&bad);
        env_close_script(env);
    }
}

/* --- inside another hook --- */

static void test_the_hook_around_it_goes_on(void **state) {
    struct env *env = *state;
    struct client bad, good;
    LOAD_OK(env, BH "return { " LOOPS ",\n"
                    "on_message = function(conn, data)\n"
                    "  local id, why = bh.publish { all = true, data = 'm' }\n"
                    "  local sum = 0 for i = 1, 1000 do sum = sum + i end\n"
                    "  return (id and 'published ' or tostring(why)) .. sum end }");
    client_open(env, &bad, "bad");
    client_open(env, &good, "good");
    for (int i = 0; i < 3; i++) {
        client_forget(&good);
        client_sends(&good, "go");
        env_run_due(env);
        assert_int_equal(good.sent_count, 2);
        assert_string_equal(good.sent[0], "m");
        assert_string_equal(good.sent[1], "published 500500");
    }
    assert_int_equal(bad.code, 1011);
    assert_int_equal(good.code, 0);
    client_free(&bad);
    client_free(&good);
}

/* The receivers are not to blame, and none of them begins to run. */
static void test_a_hook_that_is_stopped_while_it_publishes(void **state) {
    struct env *env = *state;
    struct client clients[20];
    LOAD_OK(env, BH "return { on_deliver = function() return true end,\n"
                    "on_message = function() while true do\n"
                    "pcall(bh.publish, { all = true, data = 'm' }) end end }");
    for (size_t i = 0; i < 20; i++)
        client_open(env, &clients[i], "u");
    for (int i = 0; i < 4; i++) {
        client_sends(&clients[0], "go");
        env_run_due(env);
    }
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(clients[i].code, 0);
        assert_true(clients[i].sent_count > 0);
        client_free(&clients[i]);
    }
}

static void test_one_on_deliver_inside_another(void **state) {
    struct env *env = *state;
    struct client outer, inner;
    LOAD_OK(env, BH "return { on_deliver = function(conn, msg)\n"
                    "  if conn.user == 'outer' then\n"
                    "    bh.publish { user = 'inner', data = 'm' } return 'sent' end\n"
                    "  while true do end end }");
    client_open(env, &outer, "outer");
    client_open(env, &inner, "inner");
    for (int i = 0; i < 3; i++)
        publish_to_all(env, "m");
    assert_int_equal(inner.code, 1011);
    client_free(&outer);
    client_free(&inner);
}

/* --- on_slow --- */

static void test_on_slow_is_limited_too(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_slow = function() while true do end end }");
    client_open(env, &p, "p");
    struct bh_hooks *h = env->worker->hooks;
    for (int i = 0; i < 5; i++)
        assert_int_equal(h->vt->slow(h, &p.sub, 10, BH_SLOW_DROP_NEWEST), BH_SLOW_CLOSE);
    client_free(&p);
}

/* --- a hundred --- */

static int redirect_log(char path[64]) {
    snprintf(path, 64, "/tmp/bellhop-log-XXXXXX");
    int file = mkstemp(path), saved = dup(2);
    dup2(file, 2);
    close(file);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    return saved;
}

static void restore_log(int saved) {
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    dup2(saved, 2);
    close(saved);
}

static size_t count_lines(const char *path, const char *part) {
    char line[4096];
    size_t n = 0;
    FILE *f = fopen(path, "r");
    while (fgets(line, sizeof line, f))
        n += strstr(line, part) != NULL;
    fclose(f);
    return n;
}

static uint64_t times_turned_off(void) {
    static const char line[] = "\nbellhop_script_deliver_off_total ";
    struct bh_bytes text = {0};
    bh_metrics_render(&text);
    bh_bytes_addc(&text, '\0');
    const char *at = strstr(text.p, line);
    assert_non_null(at);
    uint64_t value = strtoull(at + strlen(line), NULL, 10);
    bh_bytes_free(&text);
    return value;
}

static void test_a_hundred(void **state) {
    enum { MANY = 100, LIMIT_MS = 5 };
    static struct client bad[MANY];
    struct env *env = *state;
    struct client good;
    char path[64];
    LOAD_OK(env, "return { " LOOPS " }");
    for (int i = 0; i < MANY; i++)
        client_open(env, &bad[i], "bad");
    client_open(env, &good, "good");
    uint64_t before = times_turned_off();
    int saved = redirect_log(path);
    double began = cpu_seconds();
    for (int i = 0; i < 6; i++)
        publish_to_all(env, "m");
    double took = cpu_seconds() - began;
    restore_log(saved);
    assert_int_equal(good.sent_count, 6);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(bad[i].code, 1011);
    assert_int_equal(times_turned_off() - before, MANY);
    size_t closed = count_lines(path, "msg=\"connection closed: on_deliver is too slow\"");
    assert_true(closed > 0 && closed <= 60);
    assert_true(count_lines(path, "user=bad") == closed);
    assert_true(count_lines(path, "script failed") <= 60);
    unlink(path);
    if (took > 3 * MANY * LIMIT_MS / 1000.0) /* all of them at the full limit */
        fail_msg("it took %.3f s of CPU", took);
    for (int i = 0; i < MANY; i++)
        client_free(&bad[i]);
    client_free(&good);
}

/* After a minute without overruns, the limit is the configured one again. */
static void test_the_limit_is_lower_for_a_while(void **state) {
    struct env *env = *state;
    struct client bad;
    LOAD_OK(env, "return { " LOOPS " }");
    volatile sig_atomic_t *limit = &env->script->script_worker->limits.brief.limit_ms;
    client_open(env, &bad, "bad");
    assert_int_equal(*limit, 5);
    publish_to_all(env, "m");
    publish_to_all(env, "m");
    assert_int_equal(*limit, 5);
    publish_to_all(env, "m");
    assert_int_equal(*limit, 1);
    client_free(&bad);
    client_open(env, &bad, "good");
    env_advance(env, 59000);
    publish_to_all(env, "m");
    assert_int_equal(*limit, 1);
    env_advance(env, 2000);
    publish_to_all(env, "m");
    assert_int_equal(*limit, 5);
    assert_int_equal(bad.sent_count, 2);
    client_free(&bad);
}

int main(void) {
    if (!HAS_WATCHDOG)
        return 0;
    bh_script_metrics_register();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, script_teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_third_time_ends_the_connection),
        T(test_it_is_not_called_for_a_connection_that_was_closed_for_it),
        T(test_old_ones_are_forgotten),
        T(test_errors_are_no_overruns),
        T(test_zero_is_no_limit_of_its_own),
        T(test_without_the_limit_of_all_hooks),
        T(test_ways_not_to_finish),
        T(test_the_hook_around_it_goes_on),
        T(test_a_hook_that_is_stopped_while_it_publishes),
        T(test_one_on_deliver_inside_another),
        T(test_on_slow_is_limited_too),
        T(test_a_hundred),
        T(test_the_limit_is_lower_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
