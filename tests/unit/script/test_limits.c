/* test_limits.c - scripts that do not finish, or use ever more memory, in all known ways. Each is
 * stopped, and the next hook runs. Of timers, the next run is later. */
#include "script_cmocka.h"

#include <time.h>

#define CPU_LIMIT_MS 50
#define MEMORY_MAX   (64u << 20)

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int setup(void **state) {
    script_setup(state);
    struct env *env = *state;
    env->config.cpu_limit_ms = CPU_LIMIT_MS;
    env->config.memory_limit = MEMORY_MAX;
    env->config.hook_timeout_ms = 1000;
    env->config.max_tasks = 20;
    return 0;
}

static const char after[] = "return { on_message = function(conn, data)\n"
                            "  if data == 'ping' then return 'pong' end\n"
                            "  return run(conn, data)\n"
                            "end }";

/* Loads the global function `run`, and calls it for one message. */
static void attack(struct env *env, struct client *p, const char *run) {
    struct bh_bytes source = {0};
    bh_bytes_add(&source, bh_slice_cstr("local bh = require 'bellhop'\n"));
    bh_bytes_add(&source, bh_slice_cstr(run));
    bh_bytes_addc(&source, '\n');
    bh_bytes_add(&source, bh_slice_cstr(after));
    bh_bytes_addc(&source, '\0');
    LOAD_OK(env, source.p);
    bh_bytes_free(&source);
    client_open(env, p, "42");
}

static void still_serves(struct client *p) {
    client_forget(p);
    client_sends(p, "ping");
    assert_string_equal(client_last(p), "pong");
    client_free(p);
}

/* The bound is generous, because a busy machine and sanitizers stretch CPU time; a script that
 * escapes the limit runs for ever. */
static void ends_in_time(struct env *env, const char *run) {
    struct client p;
    attack(env, &p, run);
    double before = cpu_seconds();
    client_sends(&p, "go");
    double took = cpu_seconds() - before;
    assert_string_equal(client_last(&p), "(nothing)");
    if (took > 20 * CPU_LIMIT_MS / 1000.0)
        fail_msg("it took %.3f s of CPU", took);
    assert_true(took > 0.02);
    still_serves(&p);
}

#define ENDS(name, code)                                                                           \
    static void name(void **state) {                                                               \
        ends_in_time(*state, code);                                                                \
    }

ENDS(test_a_loop, "function run() while true do end end")
ENDS(test_pcall_in_a_loop,
     "function run() while true do pcall(function() while true do end end) end end")
ENDS(test_recursion_in_pcall, "function run() pcall(run) return run() end")
ENDS(test_a_coroutine, "function run() coroutine.wrap(function() while true do end end)() end")
ENDS(test_coroutines_that_make_coroutines,
     "local function more() while true do local co = coroutine.create(more)\n"
     "coroutine.resume(co) end end run = more")
ENDS(test_a_coroutine_that_catches,
     "function run() local co = coroutine.wrap(function()\n"
     "  while true do pcall(function() while true do end end) end end)\n"
     "while true do pcall(co) end end")
ENDS(
    test_a_coroutine_that_yields,
    "function run() local co = coroutine.wrap(function() while true do coroutine.yield() end end)\n"
    "while true do co() end end")
ENDS(test_a_message_handler,
     "function run() xpcall(error, function() while true do end end, 'x') end")
ENDS(test_a_message_handler_after_the_limit,
     "function run() xpcall(function() while true do end end,\n"
     "function() while true do end end) end")
ENDS(test_message_handlers_all_the_way_down,
     "local function h() return xpcall(error, h) end\n"
     "function run() while true do xpcall(function() while true do end end, h) end end")
ENDS(test_a_variable_to_be_closed,
     "function run() local x <close> = setmetatable({}, {__close = function()\n"
     "while true do end end}) while true do end end")
ENDS(test_closing_a_coroutine,
     "function run() local co = coroutine.create(function()\n"
     "  local x <close> = setmetatable({}, {__close = function() while true do end end})\n"
     "  coroutine.yield() end)\n"
     "coroutine.resume(co) coroutine.close(co) end")
ENDS(test_metamethods, "function run() local t = setmetatable({}, {__index = function(t, k)\n"
                       "while true do end end}) return t.x end")
ENDS(test_tostring,
     "function run() return bh.log.info(tostring(setmetatable({}, {__tostring = function()\n"
     "while true do end end}))) end")
ENDS(test_an_iterator, "function run() for _ in function() return 1 end do end end")
ENDS(test_goto, "function run() ::top:: goto top end")
ENDS(test_comparing_in_sort, "function run() local t = {} for i = 1, 100 do t[i] = i end\n"
                             "table.sort(t, function(a, b) while true do end end) end")

ENDS(test_a_pattern, "function run() return ('a'):rep(50000):find((\".-\"):rep(20) .. 'b') end")
ENDS(test_gsub,
     "function run() return ('a'):rep(50000):gsub(('a?'):rep(25) .. ('a'):rep(25) .. 'b', '')\nend")
ENDS(test_move, "function run() table.move({}, 1, 1 << 40, 1) end")
ENDS(test_sort, "function run() local t = {} for i = 1, 400000 do t[i] = i * 7919 % 400009 end\n"
                "for _ = 1, 1000 do table.sort(t) end end")
#define ONES "local text = '[' .. ('1,'):rep(1 << 20) .. '1]'\n"
ENDS(test_decoding, ONES "function run() while true do bh.json.decode(text) end end")
ENDS(test_decoding_caught, ONES "function run() while true do pcall(bh.json.decode, text) end end")
ENDS(test_peeking, ONES "function run() while true do bh.json.peek(text, '1048575') end end")
ENDS(test_encoding, "local t = {} for _ = 1, 20 do t = { t, t } end\n"
                    "function run() while true do bh.json.encode(t) end end")
ENDS(test_encoding_what_is_no_list, "local t = {} for i = 1, 100000 do t[i] = i end t.x = 1\n"
                                    "function run() while true do bh.json.encode(t) end end")
ENDS(test_a_reader, "function run() load(function() while true do end end) end")
ENDS(test_pieces, "function run() load(function() return ' ' end) while true do end end")

/* --- what is not there --- */

static void test_finalizers_are_refused(void **state) {
    LUA_OK(*state, "throws('finalizers (__gc)', setmetatable, {}, {__gc = function() end})\n"
                   "local t = setmetatable({}, {__index = {x = 1}}) eq(t.x, 1)\n"
                   "throws('protected', setmetatable, setmetatable({}, {__metatable = 1}), {})");
}

/* --- that what is limited works as it should --- */

static void test_coroutines_work(void **state) {
    LUA_OK(*state,
           "local co = coroutine.create(function(a, b)\n"
           "  local c = coroutine.yield(a + b) local d = coroutine.yield(c * 2) error('end ' .. d) "
           "end)\n"
           "local ok, x = coroutine.resume(co, 1, 2) eq(ok, true) eq(x, 3)\n"
           "ok, x = coroutine.resume(co, 5) eq(x, 10)\n"
           "ok, x = coroutine.resume(co, 7) eq(ok, false) eq(x:match('end 7$'), 'end 7')\n"
           "ok, x = coroutine.resume(co) eq(ok, false) eq(x, 'cannot resume dead coroutine')\n"
           "throws('expected', coroutine.resume, 1)\n"
           "throws('expected', coroutine.wrap, 1)\n"
           "local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)\n"
           "local sum = 0 for i in gen do sum = sum + i end eq(sum, 6)\n"
           "throws('cannot resume dead coroutine', gen)\n"
           "local bad = coroutine.wrap(function() error('boom') end)\n"
           "throws('boom', bad)\n"
           "local object = {} local raised = coroutine.wrap(function() error(object) end)\n"
           "local ok2, e = pcall(raised) eq(ok2, false) if e ~= object then error('lost') end\n"
           "local closed = false\n"
           "local open = coroutine.create(function()\n"
           "  local x <close> = setmetatable({}, {__close = function() closed = true end})\n"
           "  coroutine.yield() end)\n"
           "coroutine.resume(open) eq(coroutine.close(open), true) eq(closed, true)\n"
           "throws('cannot close', function() coroutine.close(coroutine.running()) end)");
}

static void test_xpcall_works(void **state) {
    LUA_OK(*state, "local function h(e) return 'handled ' .. e:match('[^ ]+$') end\n"
                   "local ok, e = xpcall(error, h, 'x') eq(ok, false) eq(e, 'handled x')\n"
                   "local ok2, a, b = xpcall(function(...) return ... end, h, 1, 2)\n"
                   "eq(ok2, true) eq(a, 1) eq(b, 2)\n"
                   "local ok3, c = xpcall(function() bh.sleep(0) return 'waited' end, h)\n"
                   "eq(ok3, true) eq(c, 'waited')\n"
                   "throws('expected', xpcall, print)");
}

static void test_error_names_place_and_remedy(void **state) {
    struct env *env = *state;
    struct bh_request r = {.path = BH_SLICE("/")};
    struct answer a = {0};
    LOAD_OK(env, "return { on_api = function()\n"
                 "  local ok, e = pcall(function()\n"
                 "    while true do end end)\n"
                 "end }");
    bh_script_hooks(env->script)->vt->api(bh_script_hooks(env->script), &r, answer_allowed, &a, 0);
    assert_int_equal(a.status, 503); /* the hook's on-failure, although it was caught */
    answer_free(&a);
}

/* Each hook has the whole limit. */
static void test_each_hook_has_its_own_limit(void **state) {
    struct env *env = *state;
    struct client p;
    attack(env, &p,
           "function run() local t = os.clock()\n"
           "while os.clock() - t < 0.02 do end return 'done' end");
    for (int i = 0; i < 8; i++) {
        client_sends(&p, "go");
        assert_string_equal(client_last(&p), "done");
        client_forget(&p);
    }
    client_free(&p);
}

/* --- memory --- */

static void grows_no_further(struct env *env, const char *run) {
    struct client p;
    env->config.cpu_limit_ms = 0;
    attack(env, &p, run);
    client_sends(&p, "go");
    assert_string_equal(client_last(&p), "(nothing)");
    still_serves(&p);
}

#define GROWS(name, code)                                                                          \
    static void name(void **state) {                                                               \
        grows_no_further(*state, code);                                                            \
    }

GROWS(test_a_table_that_grows, "function run() local t = {} while true do t[#t + 1] = {} end end")
GROWS(test_a_string_that_grows, "function run() local s = 'x' while true do s = s .. s end end")
GROWS(test_a_giant_string, "function run() return ('x'):rep(1 << 40) end")
GROWS(test_what_is_kept,
      "kept = {} function run() while true do kept[#kept + 1] = ('x'):rep(1000) .. #kept end end")
GROWS(test_many_coroutines,
      "function run() local t = {} while true do t[#t + 1] = coroutine.create(print) end end")
GROWS(test_caught_refusals, "function run() local t = {} while true do pcall(function()\n"
                            "while true do t[#t + 1] = {} end end) end end")

/* Many small objects, which the allocator cannot refuse one by one. */
GROWS(test_decoding_objects,
      "function run() return #bh.json.decode('[' .. ('{},'):rep(4 << 20) .. '1]') end")
GROWS(test_decoding_ones,
      "function run() return #bh.json.decode('[' .. ('1,'):rep((8 << 20) - 1) .. '1]') end")
/* 16 MiB of values end by one of the limits, and memory stays within its limit. The CPU limit
 * cannot be caught. */
static void ends_bounded(struct env *env, const char *unit) {
    char run[512];
    struct client p;
    env->config.memory_limit = 256u << 20; /* the default */
    snprintf(run, sizeof run,
             "local text = '[' .. ('%s,'):rep((16 << 20) // %zu - 2) .. '1]'\n"
             "function run() local ok, why = pcall(bh.json.decode, text)\n"
             "return tostring(why) .. ' ' .. collectgarbage 'count' // 1024 end",
             unit, strlen(unit) + 1);
    attack(env, &p, run);
    client_sends(&p, "go");
    bool by_cpu = env->config.cpu_limit_ms && p.sent_count == 0;
    if (!by_cpu) {
        assert_non_null(strstr(client_last(&p), "not enough memory"));
        assert_true(atoi(strrchr(client_last(&p), ' ')) <= 256);
    }
    still_serves(&p);
    env_close_script(env);
}

static void test_hostile_lists(void **state) {
    static const char *const units[] = {"1", "{}", "\"\"", "[[]]", "{\"a\":{}}"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct env *env = *state;
        env->config.cpu_limit_ms = 0;
        ends_bounded(env, units[i]);
        env->config.cpu_limit_ms = CPU_LIMIT_MS;
        ends_bounded(env, units[i]);
    }
}

static void test_garbage_does_not_count(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.cpu_limit_ms = 0;
    attack(env, &p,
           "function run() local s for i = 1, 400 do s = ('x'):rep(1 << 20) .. i end\n"
           "return 'fine' end");
    client_sends(&p, "go");
    assert_string_equal(client_last(&p), "fine");
    client_free(&p);
}

static void test_garbage_of_many_hooks_is_collected(void **state) {
    struct env *env = *state;
    struct client p;
    attack(env, &p,
           "function run() local t = {} for i = 1, 100 do t[i] = {i} end\n"
           "return tostring(collectgarbage('count')) end");
    for (int i = 0; i < 5000; i++) {
        client_sends(&p, "go");
        if (atof(client_last(&p)) > 8 * 1024)
            fail_msg("%s KiB after %d hooks", client_last(&p), i);
        client_forget(&p);
        env_run_due(env);
    }
    client_free(&p);
}

static double kib_used(struct client *p) {
    client_forget(p);
    client_sends(p, "count");
    return atof(client_last(p));
}

/* What a hook left behind is collected in slices, so that no tick stops the worker for long. */
static void test_a_burst_is_collected_in_slices(void **state) {
    struct env *env = *state;
    struct client p;
    unsigned ticks = 0;
    env->config.cpu_limit_ms = 0;
    attack(env, &p,
           "function run(conn, data)\n"
           "if data == 'count' then return tostring(collectgarbage 'count') end\n"
           "return #bh.json.decode('[' .. ('{},'):rep(200000) .. '1]') .. '' end");
    double before = kib_used(&p);
    client_sends(&p, "go");
    assert_string_equal(client_last(&p), "200001");
    double burst = kib_used(&p);
    assert_true(burst > before + 10 * 1024);
    bh_loop_tick(env->loop, false);
    assert_true(kib_used(&p) > burst / 2);
    for (; kib_used(&p) > before + 512; ticks++) {
        bh_clock_fake_advance(1);
        bh_loop_tick(env->loop, false);
        assert_true(ticks < 1000);
    }
    assert_true(ticks > 3);
    client_free(&p);
}

static void test_growth_outside_of_the_state(void **state) {
    struct env *env = *state;
    env->config.cpu_limit_ms = 0;
    env->config.memory_limit = 256u << 20;
    LUA_OK(env, "local t = {} for _ = 1, 30 do t = { t, t } end\n"
                "local ok, why = bh.json.encode(t) eq(ok, nil) assert(why:find '16 MiB', why)\n"
                "ok, why = bh.json.decode(('['):rep(1 << 24) .. ' ') eq(ok, nil)\n"
                "assert(why:find '16 MiB', why)\n"
                "throws('1 MiB', load, ('-'):rep((1 << 20) + 1))\n"
                "throws('1 MiB', load, function() return ('-'):rep(1000) end)\n"
                "local n = 0 local f = load(function() n = n + 1\n"
                "return ({ 'return ', '4', '2' })[n] end) eq(f(), 42)\n"
                "eq(load('return x', 'c', 't', { x = 7 })(), 7)\n"
                "throws('must return a string', load, function() return 1 end)\n"
                "throws('64 KiB', string.format, ('x'):rep(70000))\n"
                "throws('64 KiB', string.unpack, ('b'):rep(70000), '')\n"
                "eq(string.pack('<i2', 258), '\\2\\1') eq(('%d-%s'):format(1, 'x'), '1-x')\n"
                "throws('1024 bytes', os.date, ('%%'):rep(1000))\n"
                "throws('not enough memory', string.rep, 'x', 80 << 20)");
}

/* --- waiting --- */

static void test_hook_timeout(void **state) {
    struct env *env = *state;
    struct client p;
    attack(env, &p,
           "function run(conn, data)\n"
           "local x <close> = setmetatable({}, {__close = function() conn:send('closed') end})\n"
           "while true do bh.sleep(0.3) end end");
    client_sends(&p, "go");
    client_sends(&p, "ping");
    env_advance(env, 800);
    assert_string_equal(client_last(&p), "(nothing)");
    env_advance(env, 400);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "closed");
    assert_string_equal(p.sent[1], "pong");
    client_free(&p);
}

static void test_too_many_tasks(void **state) {
    struct env *env = *state;
    struct client p;
    attack(env, &p,
           "function run(conn)\n"
           "local n = 0\n"
           "while true do local ok, why = bh.spawn(function() bh.sleep(100) end)\n"
           "if not ok then return n .. ' ' .. why end n = n + 1 end end");
    client_sends(&p, "go");
    assert_string_equal(client_last(&p), "19 too many tasks (script.max_tasks)");
    assert_int_equal(p.code, 0);
    client_free(&p);
}

static void test_too_many_hooks(void **state) {
    struct env *env = *state;
    struct client clients[21];
    struct client *last = &clients[20];
    attack(env, &clients[0], "function run() bh.sleep(0.1) return 'late' end");
    for (int i = 1; i < 21; i++)
        client_open(env, &clients[i], "43");
    for (int i = 0; i < 21; i++)
        client_sends(&clients[i], "go");
    env_advance(env, 200);
    for (int i = 0; i < 20; i++)
        assert_string_equal(client_last(&clients[i]), "late");
    assert_string_equal(client_last(last), "(nothing)");
    client_sends(last, "go");
    env_advance(env, 200);
    assert_string_equal(client_last(last), "late");
    for (int i = 0; i < 21; i++)
        client_free(&clients[i]);
}

/* --- timers --- */

static void runs_by(struct env *env, struct client *p, uint64_t ms, const char *runs) {
    env_advance(env, ms);
    client_forget(p);
    client_sends(p, "runs");
    assert_string_equal(client_last(p), runs);
}

/* From one start to the next: 100 ms, then 200, 400, and 100 again. */
static void test_a_timer_that_overruns_runs_less_often(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local runs = 0\n"
                 "return { timers = { t = { every = 0.1, fn = function() runs = runs + 1\n"
                 "  while runs < 3 do end end } },\n"
                 "on_message = function() return tostring(runs) end }");
    client_open(env, &p, "42");
    runs_by(env, &p, 105, "1");
    runs_by(env, &p, 180, "1");
    runs_by(env, &p, 20, "2");
    runs_by(env, &p, 380, "2");
    runs_by(env, &p, 20, "3");
    runs_by(env, &p, 100, "4");
    runs_by(env, &p, 100, "5");
    client_free(&p);
}

/* A run that fails for another reason is on time. */
static void test_a_timer_that_fails_keeps_its_period(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local runs = 0\n"
                 "return { timers = { t = { every = 0.1, fn = function() runs = runs + 1\n"
                 "  error 'boom' end } },\n"
                 "on_message = function() return tostring(runs) end }");
    client_open(env, &p, "42");
    runs_by(env, &p, 305, "3");
    client_free(&p);
}

/* With waits in between, each part has the whole limit. */
static void test_a_timer_that_overruns_after_a_wait(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "local bh, runs = require 'bellhop', 0\n"
                 "return { timers = { t = { every = 0.1, fn = function() runs = runs + 1\n"
                 "  bh.sleep(0.05) while true do end end } },\n"
                 "on_message = function() return tostring(runs) end }");
    client_open(env, &p, "42");
    runs_by(env, &p, 105, "1");
    runs_by(env, &p, 180, "1");
    runs_by(env, &p, 20, "2");
    client_free(&p);
}

static void test_a_slow_timer_of_a_retired_script_stays_off(void **state) {
    struct env *env = *state;
    struct bh_script *next;
    struct client p;
    LOAD_OK(env, "local bh = require 'bellhop'\n"
                 "return { timers = { t = { every = 0.1, fn = function()\n"
                 "  bh.sleep(0.05) while true do end end } } }");
    client_open(env, &p, "42");
    env_advance(env, 120);
    env_write(env, "a.lua", "return {}");
    assert_int_equal(bh_script_new(&env->config, env->worker, 2, &next, &env->error), 0);
    bh_script_start(next, env_on_init, env);
    bh_script_activate(next);
    env->script = next;
    env_advance(env, 500);
    assert_int_equal(bh_script_state_count(env->worker), 1);
    client_free(&p);
}

static void test_load_is_stopped(void **state) {
    LOAD_FAILS(*state, "while true do end", "a.lua:1: loading the script ran for more than");
}

int main(void) {
    if (!HAS_WATCHDOG)
        return 0;
#define T(f) cmocka_unit_test_setup_teardown(f, setup, script_teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_loop),
        T(test_pcall_in_a_loop),
        T(test_recursion_in_pcall),
        T(test_a_coroutine),
        T(test_coroutines_that_make_coroutines),
        T(test_a_coroutine_that_catches),
        T(test_a_coroutine_that_yields),
        T(test_a_message_handler),
        T(test_a_message_handler_after_the_limit),
        T(test_message_handlers_all_the_way_down),
        T(test_a_variable_to_be_closed),
        T(test_closing_a_coroutine),
        T(test_metamethods),
        T(test_tostring),
        T(test_an_iterator),
        T(test_goto),
        T(test_comparing_in_sort),
        T(test_a_pattern),
        T(test_gsub),
        T(test_move),
        T(test_sort),
        T(test_decoding),
        T(test_decoding_caught),
        T(test_peeking),
        T(test_encoding),
        T(test_encoding_what_is_no_list),
        T(test_a_reader),
        T(test_pieces),
        T(test_finalizers_are_refused),
        T(test_growth_outside_of_the_state),
        T(test_coroutines_work),
        T(test_xpcall_works),
        T(test_error_names_place_and_remedy),
        T(test_each_hook_has_its_own_limit),
        T(test_a_table_that_grows),
        T(test_a_string_that_grows),
        T(test_a_giant_string),
        T(test_what_is_kept),
        T(test_many_coroutines),
        T(test_caught_refusals),
        T(test_decoding_objects),
        T(test_decoding_ones),
        T(test_hostile_lists),
        T(test_garbage_does_not_count),
        T(test_garbage_of_many_hooks_is_collected),
        T(test_a_burst_is_collected_in_slices),
        T(test_hook_timeout),
        T(test_too_many_tasks),
        T(test_too_many_hooks),
        T(test_a_timer_that_overruns_runs_less_often),
        T(test_a_timer_that_fails_keeps_its_period),
        T(test_a_timer_that_overruns_after_a_wait),
        T(test_a_slow_timer_of_a_retired_script_stays_off),
        T(test_load_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
