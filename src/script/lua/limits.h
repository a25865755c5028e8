/* limits.h - how long and how large a script may be.
 *
 * struct bh_limits belongs to the thread that enters Lua. A timer on that thread's CPU time
 * signals it; the handler finds the same entry still under way after `cpu_ms`, and arms a hook that
 * leaves at each instruction, on every coroutine of the resume chain, until the entry is left. So
 * neither pcall nor coroutine.wrap can hold on, and running well costs nothing.
 *
 * struct bh_memory belongs to a Lua state. Above a threshold a collection is made at the next
 * instruction; when that does not bring it below its limit, the script gets an error. Large blocks
 * beyond the limit, and any beyond a quarter of it, are refused at once. Between entries
 * `bh_memory_step` collects. */
#ifndef BELLHOP_SCRIPT_LIMITS_H
#define BELLHOP_SCRIPT_LIMITS_H

#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A coroutine that runs, and who resumed it. */
struct bh_level {
    lua_State *L;
    struct bh_level *outer;
};

struct bh_limits {
    struct bh_level *volatile level; /* the innermost; NULL: not in Lua */
    volatile sig_atomic_t entries;   /* counts the outermost ones; may wrap */
    volatile sig_atomic_t tripped;
    sig_atomic_t seen, ticks; /* the handler's */
    int cpu_ms;               /* 0: without limit */
    const char *what, *hint;  /* constants: whose limit it is, and what to do */
    timer_t timer;
    bool timed;
};

/* For the calling thread. A system without such timers is logged, and has no limit. */
void bh_limits_start(struct bh_limits *l, int cpu_ms, const char *what, const char *hint);
/* On the same thread. */
void bh_limits_stop(struct bh_limits *l);

/* Around whatever runs Lua; level is the caller's, on its stack. `again`: what is left of the time
 * of the entry before it is all that there is. `leave` tells whether the limit was reached in the
 * entry that has just been left, which is the outermost one. */
void bh_limits_enter(struct bh_limits *l, struct bh_level *level, lua_State *L);
void bh_limits_enter_again(struct bh_limits *l, struct bh_level *level, lua_State *L);
bool bh_limits_leave(struct bh_limits *l, struct bh_level *level);

/* Of whoever runs this state at the moment; its allocator is bh_memory_allocate. */
struct bh_limits *bh_limits_of(lua_State *L);

#define BH_LIMITS_TEXT_MAX 192
/* What to tell whoever has reached the limit. */
void bh_limits_text(const struct bh_limits *l, char text[BH_LIMITS_TEXT_MAX]);

/* Raises a Lua error when the limit has been reached. For loops of ours that execute no bytecode:
 * call it every few thousand steps. */
void bh_limits_check(lua_State *L);

struct bh_memory {
    size_t used, limit, threshold;
    size_t grown;             /* since the last step */
    size_t cycle;             /* no step below it: the collector's pause */
    bool wanted;              /* a collection, at the next instruction */
    struct bh_limits *limits; /* of whoever runs the state at the moment */
};

/* limit 0: none. As lua_newstate's allocator, with the struct as ud. */
void bh_memory_init(struct bh_memory *m, size_t limit, struct bh_limits *limits);
void *bh_memory_allocate(void *ud, void *p, size_t old_size, size_t size);
/* The collector stands still inside hooks; `step` does its work between entries, in proportion to
 * what was allocated, when it is due. */
#define BH_MEMORY_STEP ((size_t)32 * 1024)
static inline bool bh_memory_due(const struct bh_memory *m) {
    return m->grown >= BH_MEMORY_STEP && m->used >= m->cycle;
}
void bh_memory_step(struct bh_memory *m, lua_State *L);

#endif
