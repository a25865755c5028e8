/* safe_test.h - a Lua state with the libraries that can be stopped, beside Lua's own.
 *
 * In Lua, `stock.string` and `stock.table` are Lua's own, `string` and `table` are ours, and
 * `stops(f, ...)` asserts that f was stopped by the limits. bh_limits_check is replaced here: the
 * limit is a number of checks, so a loop without checks makes the test time out. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_SAFE_TEST_H
#define BELLHOP_TESTS_UNIT_SCRIPT_SAFE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#define CHECKS_UNTIL_STOPPED 100
#define UNLIMITED            INT64_MAX

extern int64_t checks_left;

void run(lua_State *L, const char *code);
int safe_setup(void **state);
int safe_teardown(void **state);

#define SAFE_TEST(f) cmocka_unit_test_setup_teardown(f, safe_setup, safe_teardown)
/* A test that is Lua code. */
#define LUA_TEST(name, code)                                                                       \
    static void name(void **state) {                                                               \
        run(*state, code);                                                                         \
    }

#endif
