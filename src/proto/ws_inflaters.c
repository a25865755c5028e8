/* ws_inflaters.c - who may inflate a long message now.
 *
 * The spare inflater is the one that was used last, so what it needs is in the cache. Those of long
 * messages are freed with them: only one stays when there is nothing to do.
 *
 * A place that becomes free passes to the first in line at once, before anybody else can take it.
 * Thread: the owner's. */
#include "bellhop/proto/ws_inflaters.h"

#define WINDOW_BITS 15 /* the largest: it serves all clients */

void bh_inflaters_init(struct bh_inflaters *all, void (*wake)(struct bh_ws_reader *r)) {
    *all = (struct bh_inflaters){.wake = wake};
    bh_list_init(&all->line);
}

void bh_inflaters_deinit(struct bh_inflaters *all) {
    bh_inflater_free(all->spare);
    all->spare = NULL;
}

struct bh_inflater *bh_inflaters_borrow(struct bh_inflaters *all) {
    struct bh_inflater *i = all->spare;
    all->spare = NULL;
    return i ? i : bh_inflater_new(WINDOW_BITS, false);
}

void bh_inflaters_give_back(struct bh_inflaters *all, struct bh_inflater *i) {
    if (all->spare)
        bh_inflater_free(i);
    else
        all->spare = i;
}

static void seat(struct bh_inflaters *all, struct bh_inflate_place *place) {
    place->state = BH_INFLATER_HELD;
    all->held++;
}

bool bh_inflaters_hold(struct bh_inflaters *all, struct bh_inflate_place *place) {
    if (place->state != BH_INFLATER_NONE)
        return place->state == BH_INFLATER_HELD;
    if (all->held < BH_INFLATERS_PLACES) {
        seat(all, place);
        return true;
    }
    place->state = BH_INFLATER_WAITS;
    bh_list_append(&all->line, &place->node);
    return false;
}

static void seat_next(struct bh_inflaters *all) {
    struct bh_list *node = bh_list_shift(&all->line);
    if (!node)
        return;
    struct bh_inflate_place *place = BH_CONTAINER_OF(node, struct bh_inflate_place, node);
    seat(all, place);
    all->wake(place->reader);
}

void bh_inflaters_leave(struct bh_inflaters *all, struct bh_inflate_place *place) {
    bool held = place->state == BH_INFLATER_HELD;
    if (place->state == BH_INFLATER_WAITS)
        bh_list_unlink(&place->node);
    place->state = BH_INFLATER_NONE;
    if (!held)
        return;
    all->held--;
    seat_next(all);
}
