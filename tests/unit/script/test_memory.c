/* test_memory.c - the accounting of memory alone: what a burst leaves is collected in slices, and
 * not by the next entry. */
#include "lua/limits.h"
#include "unit_test.h"

#include <lauxlib.h>

#define LIMIT  ((size_t)256 << 20)
#define TABLES 600000

struct state {
    struct bh_limits limits;
    struct bh_memory memory;
    lua_State *L;
};

static int setup(void **state) {
    struct state *s = calloc(1, sizeof *s);
    bh_memory_init(&s->memory, LIMIT, &s->limits);
    s->L = lua_newstate(bh_memory_allocate, &s->memory);
    bh_memory_stop_collector(s->L);
    *state = s;
    return 0;
}

static int teardown(void **state) {
    struct state *s = *state;
    lua_close(s->L);
    assert_int_equal(s->memory.used, 0);
    free(s);
    return 0;
}

/* As a hook that is stopped while it builds a list: an error, and no instruction after it. */
static int make_garbage(lua_State *L) {
    lua_newtable(L);
    for (int i = 1; i <= TABLES; i++) {
        lua_newtable(L);
        lua_rawseti(L, -2, i);
    }
    return luaL_error(L, "stopped");
}

static void burst(struct state *s) {
    struct bh_level level;
    bh_limits_enter(&s->limits, &level, s->L, 0);
    lua_pushcfunction(s->L, make_garbage);
    assert_int_equal(lua_pcall(s->L, 0, 0, 0), LUA_ERRRUN);
    lua_settop(s->L, 0);
    lua_sethook(s->L, NULL, 0, 0);
    bh_limits_leave(&s->limits, &level);
}

static void the_next_entry_does_not_collect_it(void **state) {
    struct state *s = *state;
    struct bh_level level;
    burst(s);
    assert_true(bh_memory_due(&s->memory));
    bh_memory_left(&s->memory);
    bh_limits_enter(&s->limits, &level, s->L, 0);
    lua_pushliteral(s->L, "a string of the next entry, which has no hook to collect garbage");
    assert_null(lua_gethook(s->L));
    assert_false(s->memory.wanted);
    lua_settop(s->L, 0);
    bh_limits_leave(&s->limits, &level);
}

static void it_is_collected_in_slices(void **state) {
    struct state *s = *state;
    size_t before = s->memory.used, at, steps = 0;
    bool more;
    burst(s);
    bh_memory_left(&s->memory);
    assert_true(s->memory.used > before + (30u << 20));
    do {
        at = s->memory.used;
        more = bh_memory_step(&s->memory, s->L);
        assert_true(at - s->memory.used < (24u << 20)); /* the list itself is one block of 16 MiB */
        assert_true(++steps < 1000);
    } while (more);
    assert_true(steps > 10);
    assert_true(s->memory.used < before + (64u << 10));
}

static void a_little_is_collected_at_once(void **state) {
    struct state *s = *state;
    for (int i = 0; i < 1000; i++) {
        lua_newtable(s->L);
        lua_settop(s->L, 0);
    }
    assert_true(bh_memory_due(&s->memory));
    bh_memory_left(&s->memory);
    assert_false(bh_memory_step(&s->memory, s->L));
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_next_entry_does_not_collect_it),
        T(it_is_collected_in_slices),
        T(a_little_is_collected_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
