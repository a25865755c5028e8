/* script_cmocka.h - cmocka, and what the unit tests of scripts share. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_CMOCKA_H
#define BELLHOP_TESTS_UNIT_SCRIPT_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/base/log.h"

#include "script_test.h"

/* Loads and starts, and it must go well. */
#define LOAD_OK(w, ...)                                                                            \
    do {                                                                                           \
        struct world *world_ = (w);                                                                \
        if (WORLD_LOAD(world_, __VA_ARGS__) || !world_->started)                                   \
            fail_msg("%s", world_->error ? world_->error : "on_init is not done");                 \
    } while (0)

/* Loading fails, with a message that holds this part. */
#define LOAD_FAILS(w, source, part)                                                                \
    do {                                                                                           \
        struct world *world_ = (w);                                                                \
        assert_int_equal(WORLD_LOAD(world_, source), BH_ESCRIPT);                                  \
        if (!strstr(world_->error, part))                                                          \
            fail_msg("the message is: %s", world_->error);                                         \
    } while (0)

/* Runs Lua assertions in a task of its own (on_init, which may wait). */
#define LUA_OK(w, code)                                                                            \
    LOAD_OK(w, "local bh = require 'bellhop'\n"                                                    \
               "local function eq(a, b) if a ~= b or math.type(a) ~= math.type(b) then "           \
               "error(('%s (%s) is not %s'):format(tostring(a), math.type(a), tostring(b)), 2) "   \
               "end end\n"                                                                         \
               "local function throws(part, f, ...)\n"                                             \
               "  local ok, e = pcall(f, ...)\n"                                                   \
               "  if ok or not tostring(e):find(part, 1, true) then "                              \
               "error('threw: ' .. tostring(e), 2) end\n"                                          \
               "end\n"                                                                             \
               "return { on_init = function(ctx)\n" code "\nend }")

static inline int script_setup(void **state) {
    struct world *w = malloc(sizeof *w);
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    world_open(w);
    *state = w;
    return 0;
}

static inline int script_teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

#define SCRIPT_TEST(f) cmocka_unit_test_setup_teardown(f, script_setup, script_teardown)

#endif
