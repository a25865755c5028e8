/* handover.h - after a reload, connections change from the old state to the new one.
 *
 * A connection changes when the new state first needs it; the others follow in slices of about a
 * millisecond. Part of struct bh_script_worker. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_HANDOVER_H
#define BELLHOP_SCRIPT_HANDOVER_H

#include "bellhop/io/timer.h"

struct bh_lua_conn;
struct bh_script;
struct bh_script_worker;
struct bh_subscriber;

struct bh_handover {
    /* For lua_conn.c, which handover.c is built on; called after a reload only. */
    /* The subscriber's conn belongs to another state: it gets one in `to`, if it needs one. */
    void (*move)(struct bh_subscriber *sub, struct bh_script *to);
    /* The hooks of `older` have finished: its newer conn takes its vars and runs its jobs. */
    void (*adopt)(struct bh_lua_conn *older);

    struct bh_timer timer; /* the next slice */
    uint32_t cursor;
    bool active; /* slices are left */
};

void bh_handover_init(struct bh_script_worker *sw);
void bh_handover_deinit(struct bh_script_worker *sw);
/* worker->hooks is a new state: starts the slices. At the end each idle state's on_idle is called.
 */
void bh_handover_start(struct bh_script_worker *sw);

#endif
