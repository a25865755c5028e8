/* limits.h - CPU and memory limits of scripts.
 *
 * struct bh_limits belongs to the thread that enters Lua. A timer on that thread's CPU time sends
 * it a signal. When the handler finds that the same entry has run for longer than its limit, it
 * sets a hook on every coroutine of the resume chain, which stops the script at its next
 * instruction, again and again until the entry is left: neither pcall nor coroutine.wrap can
 * continue. A script that stays within its limit costs nothing.
 *
 * An entry may be brief: it has a lower limit of its own, also inside another entry, which goes on
 * when the brief one is stopped. Time is measured from the first tick that finds the entry running,
 * so an entry always gets its limit, and at most one tick more.
 *
 * struct bh_memory belongs to a Lua state. Above a threshold the next instruction runs a full
 * collection; when the state is still near its limit after it, the script gets an error. Large
 * blocks beyond the limit, and any block larger than a quarter of it, are refused at once. Between
 * entries, bh_memory_step collects. */
#ifndef BELLHOP_SCRIPT_LIMITS_H
#define BELLHOP_SCRIPT_LIMITS_H

#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* What is limited, and what to do about it; constants. */
struct bh_limit_text {
    const char *what, *hint;
};

/* A coroutine that runs, and the one that resumed it. */
struct bh_level {
    lua_State *L;
    struct bh_level *outer;
    struct bh_watch *watch; /* the entry's own limit; NULL: it shares the one around it */
};

/* One limit, and the entry that runs under it now. */
struct bh_watch {
    struct bh_level *volatile level; /* NULL: none */
    volatile sig_atomic_t entries;   /* counts them; may wrap */
    volatile sig_atomic_t tripped;
    volatile sig_atomic_t limit_ms; /* 0: no limit */
    sig_atomic_t seen;              /* the handler's: the entry at the last tick */
    int64_t since_us;               /* and the thread's CPU time when it was first seen */
    struct bh_limit_text text;
};

struct bh_limits {
    struct bh_level *volatile level; /* the innermost; NULL: not in Lua */
    struct bh_watch whole;           /* of the outermost entry, unless it is brief */
    struct bh_watch brief;           /* of the outermost brief entry */
    timer_t timer, fine_timer;
    bool timed, is_fine; /* is_fine: the fine timer runs; the handler's */
};

/* For the calling thread. brief NULL: without brief entries. When the system
 * has no such timer, logs a warning: no limit then. */
void bh_limits_start(struct bh_limits *l, int cpu_ms, const struct bh_limit_text *whole,
                     int brief_ms, const struct bh_limit_text *brief);
/* On the same thread. */
void bh_limits_stop(struct bh_limits *l);

/* Around each call that runs Lua; level is on the caller's stack. BRIEF only if brief entries have
 * a limit. `leave` returns true when the entry has a limit of its own and reached it. */
enum {
    BH_ENTER_AGAIN = 1, /* continues with the time that the previous entry has left */
    BH_ENTER_BRIEF = 2,
};
void bh_limits_enter(struct bh_limits *l, struct bh_level *level, lua_State *L, unsigned how);
bool bh_limits_leave(struct bh_limits *l, struct bh_level *level);
/* Whether what runs now has reached a limit. */
bool bh_limits_over(const struct bh_limits *l);

/* The limits that the state runs under now; its allocator is bh_memory_allocate. */
struct bh_limits *bh_limits_of(lua_State *L);

#define BH_LIMITS_TEXT_MAX 192
/* The error message for what has reached the limit. */
void bh_limits_text(const struct bh_watch *w, char text[BH_LIMITS_TEXT_MAX]);
/* The one that was reached, while bh_limits_over. */
const struct bh_watch *bh_limits_reached_watch(const struct bh_limits *l);

/* For loops in C, which execute no bytecode: whether the limit has been reached. */
bool bh_limits_reached(lua_State *L);
/* Raises a Lua error when it has. Call it every few thousand steps. */
void bh_limits_check(lua_State *L);
/* For loops in C that allocate many small objects: collects garbage when the state is near its
 * limit, and raises a Lua error when it stays there. Everything must be on the stack. */
void bh_memory_check(lua_State *L);

struct bh_memory {
    size_t used, limit, threshold;
    size_t grown;             /* since the last step */
    size_t cycle;             /* no step while less is used: the collector's pause */
    bool wanted;              /* a collection at the next instruction */
    uint8_t cycles;           /* of the collector, to be run in slices after a burst */
    struct bh_limits *limits; /* that the state runs under now */
};

/* limit 0: none. */
void bh_memory_init(struct bh_memory *m, size_t limit, struct bh_limits *limits);
/* The allocator for lua_newstate; ud is the struct. */
void *bh_memory_allocate(void *ud, void *p, size_t old_size, size_t size);
/* The collector is stopped inside hooks; `step` runs it between entries, in proportion to what was
 * allocated, when it is due. After a burst it would stop the worker for long, so it returns true:
 * step again in the next tick. */
void bh_memory_stop_collector(lua_State *L);
/* Between the last entry and the step that is due. */
void bh_memory_left(struct bh_memory *m);
#define BH_MEMORY_STEP ((size_t)32 * 1024)
static inline bool bh_memory_due(const struct bh_memory *m) {
    return m->grown >= BH_MEMORY_STEP && m->used >= m->cycle;
}
bool bh_memory_step(struct bh_memory *m, lua_State *L);

#endif
