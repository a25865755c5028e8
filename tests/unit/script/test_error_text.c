/* test_error_text.c - what an error of a script says: the similar name, and the fields of a table.
 */
#include "run/shared.h"
#include "script_cmocka.h"

/* --- hints --- */

struct sample {
    const char *code, *text;
};

static void check(struct env *env, const struct sample *s) {
    char source[256];
    snprintf(source, sizeof source, "local bh = require 'bellhop';\n%s\nreturn {}", s->code);
    if (!ENV_LOAD(env, source))
        fail_msg("no error: %s", s->code);
    if (!strstr(env->error, s->text))
        fail_msg("%s: %s", s->code, env->error);
    bh_free(env->error);
    env->error = NULL;
    bh_free(env->files[0]);
    env->files[0] = NULL;
}

static void test_hints(void **state) {
    static const struct sample samples[] = {
        {"bh.metric.counter 'x'", "(field 'metric'); did you mean bh.metrics?\n"},
        {"bh.metrics.conter 'x'", "; did you mean bh.metrics.counter?\n"},
        {"bh.json.decod '1'", "; did you mean bh.json.decode?\n"},
        {"bh.json.metrics 'x'", "; there is no bh.json.metrics in scripts\n"},
        {"bh.metrics.counter('c', 'help'):icn()", "; did you mean metric:inc?\n"},
        {"bh.shared.x:cass()", "; did you mean shared:cas?\n"},
        {"bh.json:decod '1'", "; did you mean bh.json.decode?\n"},
        {"('x'):fnd 'y'", "; did you mean string:find?\n"},
        {"table.isnert({}, 1)", "; did you mean table.insert?\n"},
        {"os.execute 'x'",
         "; there is no os.execute in scripts, only time, date, clock and difftime"},
        {"os.getenv 'X'", "; there is no os.getenv in scripts; bh.config has the settings\n"},
        {"io.open 'x'", "; scripts have no io: use bh.log for output, bh.shared or bh.redis"},
        {"local f = io f.open 'x'", "(local 'f')\n"},
        {"debug.traceback()", "; scripts have no debug library\n"},
        {"package.path = ''", "; scripts have no package library"},
        {"dofile 'x'", "; scripts have no dofile; use require\n"},
        {"bh = nil bh.log.info 'x'", "(local 'bh'); did you mean: local bh = require \"bellhop\"?"},
        {"redis.call 'x'", "; did you mean bh.redis?\n"},
        {"pritn 'x'", "; did you mean print?\n"},
        {"xyzzy()", "(global 'xyzzy')\n"},
        {"local own = {} own.metric.x = 1", "(field 'metric')\n"},
        {"local x = bh.metric\nlocal own = {} own.metric.x = 1", "(field 'metric')\n"},
        {"local k = ('k'):rep(1000) local x = bh[k] bh[k].x = 1", "a nil value (field '?')\n"},
        {"error \"attempt to call a nil value (method 'x\"", "(method 'x\n"},
        {"error ': attempt to index a nil value (field'", "(field\n"},
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        check(*state, &samples[i]);
}

/* --- error objects --- */

static void test_error_objects(void **state) {
    static const struct sample samples[] = {
        {"error { 7, -0.5, true }", "an error object { 1 = 7, 2 = -0.5, 3 = true }\n"},
        {"error { api_token = 'abc' }", "an error object { api_token = *** }\n"},
        {"error { { 1 } }", "an error object { 1 = (a table) }\n"},
        {"error { [print] = 1 }", "an error object { (a function) = 1 }\n"},
        {"error {}", "an error object { }\n"},
        {"error { ('x'):rep(200) }", "x...\" }\n"},
        {"local t = {} for i = 1, 1000 do t[i] = i end error(t)", " ... }\n"},
        {"local t = {} for i = 1, 9 do t[i] = ('x'):rep(200) end error(t)", "x...\" ... }\n"},
        {"error(setmetatable({ a = 1 }, { __tostring = function() return 'b' end }))",
         "{ a = 1 }\n"},
        {"error()", "error(nil), an error without a message\n"},
        {"error(1.5)", "1.5\n"},
        {"error(print)", "an error object of type function\n"},
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        check(*state, &samples[i]);
}

/* --- once --- */

static void test_once_for_each_generation(void **state) {
    struct bh_shared *shared = ((struct env *)*state)->config.shared;
    assert_true(bh_shared_once(shared, 0, 1));
    assert_false(bh_shared_once(shared, 0, 1));
    assert_true(bh_shared_once(shared, BH_SHARED_MATTERS - 1, 1));
    assert_true(bh_shared_once(shared, 0, 3));
    assert_false(bh_shared_once(shared, 0, 2));
    assert_false(bh_shared_once(shared, 0, 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_hints),
        SCRIPT_TEST(test_error_objects),
        SCRIPT_TEST(test_once_for_each_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
