/* limits.c - the watchdog of CPU time and the accounting of memory.
 *
 * The timer uses the thread's own CPU clock, so a stalled machine blames no script, and an idle
 * worker is not woken. The kernel looks at such timers only in its own ticks, every 4 ms or so.
 * That is too coarse for brief entries: while a tick finds one, a second timer on the monotonic
 * clock ticks every half millisecond, until a tick finds none. Nothing is measured outside of the
 * handler. It runs on the thread that runs Lua, may interrupt it anywhere, calls only functions
 * that are safe in a handler, and does what lua.c's own handler does: lua_sethook, which is safe
 * there.
 *
 * The hook yields out of the whole task. Inside a metamethod or the like, where yielding is not
 * possible, it raises an error at every instruction, so code that catches one meets the next.
 * (Errors alone would do, but one that is caught by each of 50,000 nested pcalls takes seconds.)
 * Each coroutine of the chain has its own hook. A hook that stayed set by mistake (on a pooled or
 * suspended coroutine) removes itself at its next instruction.
 *
 * Hooks do not run in finalizers, nor in message handlers called for an error that a hook raised:
 * sandbox/safe_base.c replaces xpcall and setmetatable for that. Long loops in C call
 * bh_limits_check. */

#include "lua/limits.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TICK_US       2000
#define FINE_TICK_US  500
#define LARGE         (1024u * 1024) /* blocks of this size are refused beyond the limit */
#define RESERVE       (16u * 1024 * 1024)
#define THRESHOLD_MIN (32u * 1024 * 1024)
#define KIB           1024
#define BURST         (1024u * 1024) /* allocated between two steps: collected in slices */
#define BURST_CYCLES  2              /* the first may have begun before the garbage was there */
#define SLICE_LOG2                                                                                 \
    11 /* of a slice's size in bytes, as Lua counts work; about half a millisecond                 \
        */
#define SLICE_BYTES   (256u * 1024) /* one slice for that much, so that a busy state keeps up */
#define SLICES_MAX    8
#define LARGE_REQUEST 4096

/* The allocator's ud is what every state has, also one without a struct bh_script. */
static struct bh_memory *memory_of(lua_State *L) {
    void *ud;
    lua_getallocf(L, &ud);
    return ud;
}

/* The runner of specs has a state without limits. */
static bool has_limits(lua_State *L) {
    return lua_getallocf(L, NULL) == bh_memory_allocate;
}

struct bh_limits *bh_limits_of(lua_State *L) {
    return memory_of(L)->limits;
}

/* --- the hook --- */

static int raise_at(lua_State *L, lua_Debug *ar, const char *what) {
    lua_getinfo(L, "Sl", ar);
    lua_pushfstring(L, "%s:%d: %s", ar->short_src, ar->currentline, what);
    return lua_error(L);
}

void bh_limits_text(const struct bh_watch *w, char text[BH_LIMITS_TEXT_MAX]) {
    snprintf(text, BH_LIMITS_TEXT_MAX, "%s ran for more than %d ms%s", w->text.what,
             (int)w->limit_ms, w->text.hint);
}

bool bh_limits_over(const struct bh_limits *l) {
    return l->whole.tripped || l->brief.tripped;
}

const struct bh_watch *bh_limits_reached_watch(const struct bh_limits *l) {
    return l->brief.tripped ? &l->brief : &l->whole;
}

/* A yield leaves the whole task and cannot be caught. Where it is not possible, an error is raised,
 * and the yield follows as soon as it is. */
static void stop(lua_State *L, lua_Debug *ar) {
    char text[BH_LIMITS_TEXT_MAX];
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
        return;
    }
    bh_limits_text(bh_limits_reached_watch(bh_limits_of(L)), text);
    raise_at(L, ar, text);
}

/* The next full collection is at twice the present size, so live data is not traversed too often.
 */
static void set_threshold(struct bh_memory *m) {
    m->threshold = m->used * 2 > THRESHOLD_MIN ? m->used * 2 : THRESHOLD_MIN;
    if (m->limit && m->threshold > m->limit)
        m->threshold = m->limit;
}

#define MEMORY_TEXT "not enough memory: the limit is reached (script.memory_limit)"

static bool is_near_limit(const struct bh_memory *m) {
    return m->limit && m->used > m->limit - m->limit / 16;
}

/* False: hardly anything was garbage. */
static bool collect(lua_State *L) {
    struct bh_memory *m = memory_of(L);
    m->wanted = false;
    lua_gc(L, LUA_GCCOLLECT);
    set_threshold(m);
    return !is_near_limit(m);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
    if (bh_limits_over(bh_limits_of(L))) {
        stop(L, ar);
        return;
    }
    lua_sethook(L, NULL, 0, 0);
    if (memory_of(L)->wanted && !collect(L))
        raise_at(L, ar, MEMORY_TEXT);
}

/* From this level outwards, `until` excluded. */
static void arm(const struct bh_level *level, const struct bh_level *until) {
    for (; level != until; level = level->outer)
        lua_sethook(level->L, on_hook, LUA_MASKCOUNT, 1);
}

/* --- the watchdog --- */

static int64_t thread_cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void set_ticks(timer_t timer, int us) {
    struct timespec every = {0, us * 1000L};
    timer_settime(timer, 0, &(struct itimerspec){every, every}, NULL);
}

/* Timers tick a little early at times. */
#define EARLY_US 100

static void watch(const struct bh_limits *l, struct bh_watch *w, int64_t now_us) {
    const struct bh_level *level = w->level;
    if (!level || w->limit_ms == 0)
        return;
    if (w->seen != w->entries) {
        w->seen = w->entries;
        w->since_us = now_us;
    } else if (now_us - w->since_us >= w->limit_ms * 1000 - EARLY_US) {
        w->tripped = 1;
        arm(l->level, level->outer);
    }
}

static void on_tick(int signo, siginfo_t *info, void *context) {
    struct bh_limits *l = info->si_value.sival_ptr;
    int error = errno;
    if (info->si_code != SI_TIMER)
        return;
    bool fine = l->brief.level != NULL;
    if (l->is_fine != fine)
        set_ticks(l->fine_timer, fine ? FINE_TICK_US : 0);
    l->is_fine = fine;
    if (l->level) {
        int64_t now_us = thread_cpu_us();
        watch(l, &l->whole, now_us);
        watch(l, &l->brief, now_us);
    }
    errno = error;
}

static int watchdog_signal(void) {
    return SIGRTMIN + 1;
}

static sigset_t signal_set(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, watchdog_signal());
    return set;
}

static bool make_timer(struct bh_limits *l, clockid_t clock, timer_t *timer) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = watchdog_signal()};
    event.sigev_value.sival_ptr = l;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    return timer_create(clock, &event, timer) == 0;
}

static bool make_timers(struct bh_limits *l) {
    if (!make_timer(l, CLOCK_THREAD_CPUTIME_ID, &l->timer))
        return false;
    if (make_timer(l, CLOCK_MONOTONIC, &l->fine_timer))
        return true;
    timer_delete(l->timer);
    return false;
}

void bh_limits_start(struct bh_limits *l, int cpu_ms, const struct bh_limit_text *whole,
                     int brief_ms, const struct bh_limit_text *brief) {
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    *l = (struct bh_limits){.whole = {.limit_ms = cpu_ms, .text = *whole}};
    if (brief)
        l->brief = (struct bh_watch){.limit_ms = brief_ms, .text = *brief};
    if (cpu_ms == 0 && brief_ms == 0)
        return;
    sigaction(watchdog_signal(), &action, NULL);
    sigset_t set = signal_set();
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    l->timed = make_timers(l);
    if (l->timed)
        set_ticks(l->timer, TICK_US);
    else
        bh_warn("no CPU limit for scripts: the system has no CPU timers",
                bh_kv_str("error", strerror(errno)));
}

/* A signal that is still pending points to the struct, so it is consumed here. The thread may have
 * another watchdog, whose signals must arrive afterwards. */
void bh_limits_stop(struct bh_limits *l) {
    static const struct timespec now;
    sigset_t set = signal_set(), before;
    if (!l->timed)
        return;
    pthread_sigmask(SIG_BLOCK, &set, &before);
    timer_delete(l->timer);
    timer_delete(l->fine_timer);
    while (sigtimedwait(&set, NULL, &now) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->timed = false;
}

static void begin(struct bh_watch *w, struct bh_level *level, bool again) {
    if (!again)
        w->entries = (sig_atomic_t)((unsigned)w->entries + 1);
    level->watch = w;
    w->level = level;
}

/* True when its limit was reached. The handler sets `tripped` only while there is a level. */
static bool end(struct bh_watch *w) {
    w->level = NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (!w->tripped)
        return false;
    w->tripped = 0;
    return true;
}

/* An entry inside one that has reached its limit has no hook yet; it is to stop at once. */
__attribute__((cold, noinline)) static void arm_if_over(const struct bh_limits *l,
                                                        const struct bh_level *level) {
    if (bh_limits_over(l))
        arm(level, level->outer);
}

void bh_limits_enter(struct bh_limits *l, struct bh_level *level, lua_State *L, unsigned how) {
    struct bh_watch *w = how & BH_ENTER_BRIEF ? &l->brief : &l->whole;
    level->L = L;
    level->outer = l->level;
    level->watch = NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    l->level = level;
    if (!level->outer || (how & BH_ENTER_BRIEF && !w->level))
        begin(w, level, how & BH_ENTER_AGAIN);
    if (level->outer)
        arm_if_over(l, level);
}

bool bh_limits_leave(struct bh_limits *l, struct bh_level *level) {
    bool tripped = level->watch && end(level->watch);
    l->level = level->outer;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return tripped;
}

bool bh_limits_reached(lua_State *L) {
    return has_limits(L) && bh_limits_over(bh_limits_of(L));
}

void bh_limits_check(lua_State *L) {
    char text[BH_LIMITS_TEXT_MAX];
    if (!bh_limits_reached(L))
        return;
    bh_limits_text(bh_limits_reached_watch(bh_limits_of(L)), text);
    luaL_error(L, "%s", text);
}

void bh_memory_check(lua_State *L) {
    if (has_limits(L) && is_near_limit(memory_of(L)) && !collect(L))
        luaL_error(L, "%s", MEMORY_TEXT);
}

/* --- memory --- */

void bh_memory_init(struct bh_memory *m, size_t limit, struct bh_limits *limits) {
    *m = (struct bh_memory){.limit = limit, .limits = limits};
    set_threshold(m);
}

/* A single block is bounded, too: C code that walks through a string cannot be stopped, and its
 * time grows with the string. */
static bool may_grow(struct bh_memory *m, size_t size, size_t growth) {
    if (m->limit && growth >= LARGE && size > m->limit / 4)
        return false;
    if (m->limit && growth >= LARGE && m->used + growth > m->limit + RESERVE)
        return false;
    m->grown += growth;
    size_t threshold = m->cycles && m->limit ? m->limit : m->threshold;
    if (m->used + growth > threshold && !m->wanted && m->limits->level) {
        m->wanted = true;
        arm(m->limits->level, NULL);
    }
    return true;
}

void *bh_memory_allocate(void *ud, void *p, size_t old_size, size_t size) {
    struct bh_memory *m = ud;
    size_t old = p ? old_size : 0;
    if (size == 0) {
        m->used -= old;
        bh_free(p);
        return NULL;
    }
    if (size > old && !may_grow(m, size, size - old))
        return NULL;
    void *q = p ? bh_try_realloc(p, size) : bh_try_malloc(size);
    if (q)
        m->used = m->used - old + size;
    return q;
}

void bh_memory_stop_collector(lua_State *L) {
    lua_gc(L, LUA_GCSTOP);
    lua_gc(L, LUA_GCINC, 0, 0, SLICE_LOG2);
}

/* A cycle frees all garbage that is newer than the newest live object at once, before it begins to
 * sweep in slices. So there is a live object that is newer than the garbage of a burst. */
static int renew_fence(lua_State *L) {
    static const char fence_key;
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &fence_key);
    return 0;
}

void bh_memory_left(struct bh_memory *m) {
    if (m->grown < BURST)
        return;
    m->cycles = BURST_CYCLES;
    m->wanted = false; /* else the next entry, maybe of another client, would collect it all */
}

static void push_fence(lua_State *L) {
    lua_checkstack(L, 2);
    lua_pushcfunction(L, renew_fence);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        lua_pop(L, 1); /* no memory: it takes longer */
}

/* With a size, Lua does all that is due for what was allocated since the last step; without, one
 * slice. */
static bool collect_slice(lua_State *L, size_t size) {
    return lua_gc(L, LUA_GCSTEP, (int)(size / KIB)) != 0;
}

/* glibc joins small free blocks at the next large request, all at once: it gets one after each
 * slice. */
static void join_free_blocks(void) {
    bh_free(bh_try_malloc(LARGE_REQUEST));
}

static size_t slices_of(size_t grown) {
    size_t n = grown / SLICE_BYTES + 1;
    return n < SLICES_MAX ? n : SLICES_MAX;
}

bool bh_memory_step(struct bh_memory *m, lua_State *L) {
    size_t grown = m->grown;
    bool ended = false;
    if (grown >= BURST)
        push_fence(L);
    m->grown = 0;
    if (m->cycles == 0)
        ended = collect_slice(L, grown);
    for (size_t n = slices_of(grown); n > 0 && m->cycles > 0; n--) {
        if (collect_slice(L, 0) && --m->cycles == 0)
            ended = true;
        join_free_blocks();
    }
    if (ended)
        m->cycle = m->used * 2;
    return m->cycles > 0;
}
