/* script_cmocka.h - cmocka, and what the unit tests of scripts share. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_CMOCKA_H
#define BELLHOP_TESTS_UNIT_SCRIPT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "script_test.h"

/* The thread sanitizer holds the signals of the CPU limit back for as long as Lua calls nothing
 * that it watches: an endless loop stays endless. */
#ifdef __SANITIZE_THREAD__
#define HAS_WATCHDOG false
#else
#define HAS_WATCHDOG true
#endif

/* Loads and starts; both must succeed. */
#define LOAD_OK(e, ...)                                                                            \
    do {                                                                                           \
        struct env *env_ = (e);                                                                    \
        if (ENV_LOAD(env_, __VA_ARGS__) || !env_->started)                                         \
            fail_msg("%s", env_->error ? env_->error : "on_init has not finished");                \
    } while (0)

/* Loading fails, with a message that contains this part. */
#define LOAD_FAILS(e, source, part)                                                                \
    do {                                                                                           \
        struct env *env_ = (e);                                                                    \
        assert_int_equal(ENV_LOAD(env_, source), BH_ESCRIPT);                                      \
        if (!strstr(env_->error, part))                                                            \
            fail_msg("the message is: %s", env_->error);                                           \
    } while (0)

/* Runs Lua assertions in a task of its own (on_init, which may wait). */
#define LUA_OK(e, code)                                                                            \
    LOAD_OK(e, "local bh = require 'bellhop'\n"                                                    \
               "local function eq(a, b) if a ~= b or math.type(a) ~= math.type(b) then "           \
               "error(('%s (%s) is not %s'):format(tostring(a), math.type(a), tostring(b)), 2) "   \
               "end end\n"                                                                         \
               "local function throws(part, f, ...)\n"                                             \
               "  local ok, e = pcall(f, ...)\n"                                                   \
               "  if ok or not tostring(e):find(part, 1, true) then "                              \
               "error('threw: ' .. tostring(e), 2) end\n"                                          \
               "end\n"                                                                             \
               "return { on_init = function(ctx)\n" code "\nend }")

int script_setup(void **state);
int script_teardown(void **state);
#define SCRIPT_TEST(f) cmocka_unit_test_setup_teardown(f, script_setup, script_teardown)

#endif
