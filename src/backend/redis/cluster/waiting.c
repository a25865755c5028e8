/* waiting.c - the queues of the slots that are held.
 *
 * The table of slots is large, and there only while a slot is held. Deadlines are looked at from
 * the head: one that was routed again is not the oldest where it stands, and waits no longer than
 * those before it. */
#include "cluster/waiting.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

static struct bh_redis_routed *routed_of(struct bh_list *node) {
    return BH_CONTAINER_OF(node, struct bh_redis_routed, node);
}

void bh_redis_waiting_init(struct bh_redis_waiting *w) {
    *w = (struct bh_redis_waiting){.slots = NULL};
    bh_list_init(&w->list);
}

struct bh_redis_held *bh_redis_waiting_hold(struct bh_redis_waiting *w, unsigned slot,
                                            const char *why) {
    struct bh_redis_held *held = bh_redis_waiting_held(w, slot);
    if (!held) {
        if (!w->slots)
            w->slots = bh_calloc(BH_REDIS_SLOTS, sizeof *w->slots);
        held = w->slots[slot] = bh_calloc(1, sizeof *held);
        held->slot = (uint16_t)slot;
        held->ignored = w->barrier;
        bh_list_init(&held->back);
        bh_list_init(&held->fresh);
        bh_list_init(&held->node);
        bh_list_append(&w->list, &held->node);
    }
    held->why = why;
    return held;
}

void bh_redis_waiting_tidy(struct bh_redis_waiting *w, struct bh_redis_held *held) {
    if (held->count || held->barriers)
        return;
    w->slots[held->slot] = NULL;
    bh_list_unlink(&held->node);
    bh_free(held);
    if (!bh_list_empty(&w->list))
        return;
    bh_free(w->slots);
    w->slots = NULL;
}

void bh_redis_waiting_add(struct bh_redis_waiting *w, struct bh_redis_held *held,
                          struct bh_redis_routed *one, bool back, uint64_t now_ms) {
    if (now_ms >= one->until_ms) {
        one->vt->fail(one, BH_EUNAVAIL, held->why);
        return;
    }
    if (w->count >= BH_REDIS_PENDING_MAX || one->bytes > BH_REDIS_OUT_MAX - w->bytes) {
        one->vt->fail(one, BH_EUNAVAIL, "the queue to Redis is full");
        return;
    }
    bh_list_init(&one->node);
    bh_list_append(back ? &held->back : &held->fresh, &one->node);
    held->count++;
    w->count++;
    w->bytes += one->bytes;
}

static struct bh_redis_routed *head_of(const struct bh_redis_held *held) {
    const struct bh_list *list = bh_list_empty(&held->back) ? &held->fresh : &held->back;
    return held->count ? routed_of(list->next) : NULL;
}

static void unlink_one(struct bh_redis_waiting *w, struct bh_redis_held *held,
                       struct bh_redis_routed *one) {
    bh_list_unlink(&one->node);
    held->count--;
    w->count--;
    w->bytes -= one->bytes;
}

struct bh_redis_routed *bh_redis_waiting_take(struct bh_redis_waiting *w,
                                              struct bh_redis_held *held) {
    struct bh_redis_routed *one = head_of(held);
    if (one)
        unlink_one(w, held, one);
    return one;
}

static void expire(struct bh_redis_waiting *w, struct bh_redis_held *held, struct bh_list *list,
                   uint64_t now_ms) {
    while (!bh_list_empty(list) && routed_of(list->next)->until_ms <= now_ms) {
        struct bh_redis_routed *one = routed_of(list->next);
        unlink_one(w, held, one);
        one->vt->fail(one, BH_EUNAVAIL, held->why);
    }
}

void bh_redis_waiting_expire(struct bh_redis_waiting *w, struct bh_redis_held *held,
                             uint64_t now_ms) {
    expire(w, held, &held->back, now_ms);
    expire(w, held, &held->fresh, now_ms);
}

void bh_redis_waiting_fail(struct bh_redis_waiting *w, const char *why) {
    while (!bh_list_empty(&w->list)) {
        struct bh_redis_held *held = BH_CONTAINER_OF(w->list.next, struct bh_redis_held, node);
        struct bh_redis_routed *one;
        held->barriers = 0;
        while ((one = bh_redis_waiting_take(w, held)))
            one->vt->fail(one, BH_EUNAVAIL, why);
        bh_redis_waiting_tidy(w, held);
    }
}

void bh_redis_waiting_bar(struct bh_redis_held *held, uint64_t until_ms) {
    held->barriers++;
    held->barriers_until_ms = until_ms;
}

struct bh_redis_held *bh_redis_waiting_lift(struct bh_redis_waiting *w, unsigned slot,
                                            uint64_t number) {
    struct bh_redis_held *held = bh_redis_waiting_held(w, slot);
    if (!held || held->barriers == 0 || number <= held->ignored)
        return NULL;
    return --held->barriers == 0 ? held : NULL;
}

bool bh_redis_waiting_may_send(const struct bh_redis_waiting *w, struct bh_redis_held *held,
                               uint64_t now_ms) {
    if (held->barriers && now_ms >= held->barriers_until_ms) {
        held->barriers = 0;
        held->ignored = w->barrier;
    }
    return held->barriers == 0 && now_ms >= held->pause_until_ms;
}
