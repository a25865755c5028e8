/* script_worker.h - what the states of one worker share.
 *
 * After a reload two states exist on one worker: the new one serves, the old one finishes its
 * hooks. A handle finds its task whichever state the task belongs to, and hooks of one state may
 * run inside those of the other. Created with the first state of the worker, freed with the last.
 * Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_SCRIPT_WORKER_H
#define BELLHOP_SCRIPT_SCRIPT_WORKER_H

#include "lua/limits.h"
#include "run/handover.h"
#include "run/overruns.h"

#include "bellhop/base/list.h"
#include "bellhop/core/node.h"

struct bh_publish_call;
struct bh_script;
struct bh_task;

struct bh_script_worker {
    struct bh_worker *worker;
    struct bh_list
        states; /* the started ones, oldest first; worker->hooks is the one that serves */
    struct bh_limits limits;
    struct bh_slots slots; /* tickets and waits -> tasks */
    struct bh_handover handover;
    struct bh_task *current;               /* the innermost task that runs now, or NULL */
    struct bh_list joining;                /* tasks that wait in conn:subscribe */
    struct bh_publish_call *publish_calls; /* bh.publish calls on the C stack, innermost first */
    uint64_t publish_serial;
    bh_handle publisher; /* the subscriber whose on_message is publishing now */

    unsigned brief_hooks;        /* one bit each: they have deliver_limit_ms */
    int deliver_limit_ms;        /* of an on_deliver or on_slow; 0: no limit of their own */
    struct bh_overruns overruns; /* of that limit */
    uint64_t strict_until_ms;    /* 0: it is the configured one */
};

/* NULL before the first state has started, and after the last has been freed. */
static inline struct bh_script_worker *bh_script_worker_of(const struct bh_worker *worker) {
    return worker->script;
}

/* cpu_limit_ms: of each hook without a wait; deliver_limit_ms: of the hooks that run for each
 * receiver of a message; 0: none. */
struct bh_script_worker *bh_script_worker_new(struct bh_worker *worker, int cpu_limit_ms,
                                              int deliver_limit_ms);
void bh_script_worker_free(struct bh_script_worker *sw);

/* A hook exceeded deliver_limit_ms. A message may have many receivers, so after the third time
 * within a minute the limit is one millisecond, until there was none for a minute. True when it is
 * the third time within a minute of `own`, too (or NULL). */
bool bh_script_worker_overran(struct bh_script_worker *sw, struct bh_overruns *own);
/* Ends that. To be called when strict_until_ms is not 0, before such a hook. */
void bh_script_worker_relax(struct bh_script_worker *sw);

#endif
