/* tracker.c - the tracker of an instance that is alone: its hubs know everything, so it keeps
 * nothing. Thread: the worker's that asks. */
#include "bellhop/backend/memory.h"

#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"

static void lookup(struct bh_tracker *t, struct bh_worker *worker, const struct bh_slice *users,
                   size_t count, bool with_connections, bh_tracker_cb done, void *ud,
                   bh_handle handle) {
    bh_node_lookup_local(worker, users, count, with_connections, done, ud, handle);
}

static void free_tracker(struct bh_tracker *t) {
    bh_free(t);
}

static const struct bh_tracker_vt vt = {.lookup = lookup, .free = free_tracker};

struct bh_tracker *bh_memory_tracker_new(void) {
    struct bh_tracker *t = bh_calloc(1, sizeof *t);
    t->vt = &vt;
    return t;
}
