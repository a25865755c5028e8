/* test_state.c - loading, the sandbox, on_init. */
#include "script_cmocka.h"

/* --- load errors --- */

static void test_unknown_hook(void **state) {
    LOAD_FAILS(*state, "return { on_mesage = function() end }",
               "a.lua: unknown hook \"on_mesage\"; did you mean \"on_message\"?");
}

static void test_not_a_table(void **state) {
    LOAD_FAILS(*state, "local x = 1", "a script must return a table of hooks");
}

static void test_not_a_function(void **state) {
    LOAD_FAILS(*state, "return { on_open = 1 }", "on_open must be a function, not a number");
}

static void test_key_is_not_a_name(void **state) {
    LOAD_FAILS(*state, "return { function() end }", "a key that is a number");
}

static void test_syntax_error_names_file_and_line(void **state) {
    LOAD_FAILS(*state, "\n\nreturn {{", "a.lua:3:");
}

static void test_error_at_load_has_a_traceback(void **state) {
    LOAD_FAILS(*state, "local function f() error('boom') end\nf()", "a.lua:1: boom");
    assert_non_null(strstr(((struct env *)*state)->error, "stack traceback"));
}

static void test_missing_file(void **state) {
    struct env *env = *state;
    env->files[0] = bh_strdup("/nowhere/at/all.lua");
    assert_int_equal(env_load_files(env, 1), BH_ESCRIPT);
    assert_non_null(strstr(env->error, "/nowhere/at/all.lua"));
}

static void test_bytecode_is_refused(void **state) {
    LOAD_FAILS(*state, "\x1bLua...", "attempt to load a binary chunk");
}

static void test_hooks_while_loading(void **state) {
    LOAD_FAILS(*state, "require('bellhop').publish{all=true, data=''} return {}",
               "bh.publish works inside hooks only");
}

static void test_waiting_while_loading(void **state) {
    LOAD_FAILS(*state, "require('bellhop').sleep(1) return {}", "not while the script is loaded");
}

static void test_check_without_a_worker(void **state) {
    struct env *env = *state;
    struct bh_worker *worker = env->worker;
    env->worker = NULL;
    env_write(env, "a.lua", "return { on_open = function() end }");
    env->files[0] = bh_malloc(64);
    snprintf(env->files[0], 64, "%s/a.lua", env->dir);
    assert_int_equal(env_load_files(env, 1), 0);
    env_close_script(env);
    env->worker = worker;
}

static void test_present_has_the_hooks_of_the_scripts(void **state) {
    struct env *env = *state;
    LOAD_OK(env, "return { on_open = function() end }", "return { on_api = function() end }");
    assert_int_equal(bh_script_hooks(env->script)->present, BH_HOOK_OPEN | BH_HOOK_API);
    assert_ptr_equal(env->worker->hooks, bh_script_hooks(env->script));
}

/* --- sandbox --- */

static void test_removed_libraries(void **state) {
    LUA_OK(*state, "for _, name in ipairs { 'io', 'debug', 'package', 'dofile', 'loadfile', "
                   "'loadstring' } do eq(_G[name], nil) end "
                   "eq(os.execute, nil) eq(os.getenv, nil) eq(os.exit, nil) eq(os.remove, nil) "
                   "eq(string.dump, nil) eq(getmetatable(''), false) "
                   "assert(os.time() > 0 and os.clock() and os.date() and os.difftime(2, 1))");
}

static void test_load_takes_text_only(void **state) {
    LUA_OK(*state, "eq(load('return 7')(), 7) "
                   "eq(load('return x', 'n', 'b', { x = 3 })(), 3) "
                   "eq(pcall(load('return x', 'n', 't', nil)), false) "
                   "local f, e = load('\\27Lua', 'n', 'b') eq(f, nil) "
                   "assert(e:find('binary'))");
}

static void test_collectgarbage(void **state) {
    LUA_OK(*state, "assert(collectgarbage() > 1 and collectgarbage('count') > 1) "
                   "throws('not available', collectgarbage, 'stop')");
}

static void test_require_beside_the_script(void **state) {
    struct env *env = *state;
    char path[64];
    snprintf(path, sizeof path, "mkdir -p %s/lib/deep", env->dir);
    assert_int_equal(system(path), 0);
    env_write(env, "lib/one.lua", "local n = ... return { name = n }");
    env_write(env, "lib/deep/init.lua", "return 5");
    env_write(env, "lib/loop.lua", "return require 'lib.loop'");
    env_write(env, "lib/nothing.lua", "");
    LUA_OK(env,
           "eq(require('lib.one').name, 'lib.one') eq(require('lib.one'), require('lib.one')) "
           "eq(require 'lib.deep', 5) eq(require 'lib.nothing', true) "
           "eq(require 'bellhop', bh) "
           "throws('requires itself', require, 'lib.loop') "
           "throws('not found', require, 'lib.none') "
           "throws('not found', require, 'bellhop.none') "
           "throws('not a module name', require, '../a') "
           "throws('not a module name', require, '/etc/passwd') "
           "throws('not a module name', require, 'a..b') throws('not a module name', require, '')");
}

static void test_trusted_has_everything(void **state) {
    struct env *env = *state;
    env->config.trusted = true;
    LUA_OK(env, "assert(io.open and debug.traceback and package.path and os.getenv) "
                "eq(require 'bellhop', bh)");
}

/* --- on_init --- */

static void test_init_context(void **state) {
    LUA_OK(*state, "eq(ctx.worker, 1) eq(ctx.workers, 1) eq(ctx.generation, 1) "
                   "eq(ctx.reload, false)");
}

static void test_init_may_wait(void **state) {
    struct env *env = *state;
    assert_int_equal(ENV_LOAD(env, "local bh = require 'bellhop'\n"
                                   "return { on_init = function() bh.sleep(0.5) end }"),
                     0);
    assert_int_equal(env->init_calls, 0);
    env_advance(env, 600);
    assert_int_equal(env->init_calls, 1);
    assert_true(env->started);
}

static void test_init_error_stops_the_start(void **state) {
    struct env *env = *state;
    assert_int_equal(ENV_LOAD(env, "return { on_init = function() error 'no key' end }"), 0);
    assert_false(env->started);
    assert_non_null(strstr(env->error, "a.lua:1: no key"));
}

static void test_init_false_stops_the_start(void **state) {
    struct env *env = *state;
    assert_int_equal(ENV_LOAD(env, "return { on_init = function() return false, 'not today' end }"),
                     0);
    assert_false(env->started);
    assert_non_null(strstr(env->error, "on_init refused: not today"));
}

static void test_every_script_has_its_init(void **state) {
    struct env *env = *state;
    LOAD_OK(env, "n = 0 return { on_init = function() n = n + 1 return true end }",
            "return { on_init = function() assert(n == 1) n = n + 1 end }",
            "return { on_init = function() assert(n == 2) end }");
    assert_int_equal(env->init_calls, 1);
}

static void test_freed_while_it_waits(void **state) {
    struct env *env = *state;
    assert_int_equal(ENV_LOAD(env, "local bh = require 'bellhop'\n"
                                   "return { on_init = function()\n"
                                   "  bh.spawn(function() bh.sleep(9) end)\n"
                                   "  bh.after(9, function() end)\n"
                                   "  bh.redis.call('PING')\n"
                                   "end }"),
                     0);
    env_close_script(env);
    assert_null(env->worker->hooks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_unknown_hook),
        SCRIPT_TEST(test_not_a_table),
        SCRIPT_TEST(test_not_a_function),
        SCRIPT_TEST(test_key_is_not_a_name),
        SCRIPT_TEST(test_syntax_error_names_file_and_line),
        SCRIPT_TEST(test_error_at_load_has_a_traceback),
        SCRIPT_TEST(test_missing_file),
        SCRIPT_TEST(test_bytecode_is_refused),
        SCRIPT_TEST(test_hooks_while_loading),
        SCRIPT_TEST(test_waiting_while_loading),
        SCRIPT_TEST(test_check_without_a_worker),
        SCRIPT_TEST(test_present_has_the_hooks_of_the_scripts),
        SCRIPT_TEST(test_removed_libraries),
        SCRIPT_TEST(test_load_takes_text_only),
        SCRIPT_TEST(test_collectgarbage),
        SCRIPT_TEST(test_require_beside_the_script),
        SCRIPT_TEST(test_trusted_has_everything),
        SCRIPT_TEST(test_init_context),
        SCRIPT_TEST(test_init_may_wait),
        SCRIPT_TEST(test_init_error_stops_the_start),
        SCRIPT_TEST(test_init_false_stops_the_start),
        SCRIPT_TEST(test_every_script_has_its_init),
        SCRIPT_TEST(test_freed_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
