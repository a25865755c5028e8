/* local_tracker.c - see the header. */
#include "local_tracker.h"

static struct local_tracker *local_tracker_of(struct bh_tracker *t) {
    return BH_CONTAINER_OF(t, struct local_tracker, base);
}

static int local_tracker_start(struct bh_tracker *t, struct bh_loop *bus,
                               const struct bh_tracker_sink *sink) {
    local_tracker_of(t)->sink = *sink;
    return 0;
}

static void local_tracker_changed(struct bh_tracker *t, const struct bh_track *changes,
                                  size_t count) {
    for (size_t i = 0; i < count; i++) {
        local_tracker_of(t)->again += changes[i].again;
        *(changes[i].here ? &local_tracker_of(t)->came : &local_tracker_of(t)->went) += 1;
    }
}

static void local_tracker_restored(struct bh_tracker *t) {
    local_tracker_of(t)->restored++;
}

static void local_tracker_stop(struct bh_tracker *t) {}

static void local_tracker_lookup(struct bh_tracker *t, struct bh_worker *w, enum bh_lookup what,
                                 const struct bh_slice *names, size_t count, bh_tracker_cb done,
                                 void *ud, bh_handle handle) {
    bh_node_lookup_local(w, what, names, count, done, ud, handle);
}

static void local_tracker_free(struct bh_tracker *t) {}

const struct bh_tracker_vt local_tracker_vt = {
    .start = local_tracker_start,
    .changed = local_tracker_changed,
    .restored = local_tracker_restored,
    .stop = local_tracker_stop,
    .lookup = local_tracker_lookup,
    .free = local_tracker_free,
};
