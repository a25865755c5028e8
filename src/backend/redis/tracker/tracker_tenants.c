/* tracker_tenants.c - how many connections each tenant has on this instance.
 *
 * The counts are absolute and are written now and then, those that have changed: a busy tenant
 * costs Redis no more than a quiet one. One call is in flight at a time; what changes meanwhile is
 * written again. A tenant without connections is forgotten when Redis has been told so. */
#include "bellhop/base/mem.h"
#include "tracker/tracker.h"

#define PAUSE_MS  200
#define WRITE_MAX 500

struct tenant {
    struct bh_list node; /* in dirty or writing */
    int64_t count;
    bool in_flight, again;
    uint8_t len;
    char name[];
};

static struct bh_slice name_of(const void *value) {
    const struct tenant *n = value;
    return bh_slice(n->name, n->len);
}

static void forget(struct bh_redis_tracker *t, struct tenant *n) {
    bh_list_unlink(&n->node);
    bh_map_remove(&t->tenants.map, name_of(n));
    bh_free(n);
}

static void confirmed(struct bh_redis_tracker *t) {
    struct bh_list *node;
    while ((node = bh_list_shift(&t->tenants.writing))) {
        struct tenant *n = BH_CONTAINER_OF(node, struct tenant, node);
        bool again = n->again;
        n->in_flight = n->again = false;
        if (again)
            bh_list_append(&t->tenants.dirty, &n->node);
        else if (n->count == 0)
            forget(t, n);
    }
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (!bh_redis_tracker_accepts(t, handle, "tenants", error, r))
        return;
    if (r->count == 1 && bh_redis_is_int(&r->elements[0]))
        bh_redis_tracker_left_out("tenant:", r->elements[0].integer);
    confirmed(t);
    if (t->state == BH_TRACKER_RESTORING)
        bh_redis_changes_go_on(t);
    else if (!bh_list_empty(&t->tenants.dirty))
        bh_timer_set(&t->tenants.timer, PAUSE_MS);
}

static void write_some(struct bh_redis_tracker *t) {
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_tenants, t->prefix);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "tenants:", bh_tracker_name(&t->name));
    bh_redis_call_arg(call, bh_tracker_name(&t->name));
    bh_redis_call_arg(call, BH_SLICE("live"));
    struct bh_list *node;
    for (int i = 0; i < WRITE_MAX && (node = bh_list_shift(&t->tenants.dirty)); i++) {
        struct tenant *n = BH_CONTAINER_OF(node, struct tenant, node);
        bh_redis_call_key(call, "tenant:", name_of(n));
        bh_redis_call_arg(call, name_of(n));
        bh_redis_call_int(call, n->count);
        n->in_flight = true;
        bh_list_append(&t->tenants.writing, &n->node);
    }
    bh_redis_call_send(call, &t->link, on_written, t, t->registration);
}

static void on_timer(struct bh_timer *timer) {
    write_some(BH_CONTAINER_OF(timer, struct bh_redis_tracker, tenants.timer));
}

void bh_redis_tenants_add(struct bh_redis_tracker *t, struct bh_slice tenant, int n) {
    struct tenant *found = bh_map_get(&t->tenants.map, tenant);
    if (!found) {
        found = bh_calloc(1, sizeof *found + tenant.n);
        bh_list_init(&found->node);
        found->len = (uint8_t)tenant.n;
        memcpy(found->name, tenant.p, tenant.n);
        bh_map_put(&t->tenants.map, found);
    }
    found->count += n;
    if (found->in_flight)
        found->again = true;
    else if (bh_list_empty(&found->node))
        bh_list_append(&t->tenants.dirty, &found->node);
    if (t->state == BH_TRACKER_LIVE && bh_list_empty(&t->tenants.writing) &&
        !bh_timer_pending(&t->tenants.timer))
        bh_timer_set(&t->tenants.timer, PAUSE_MS);
}

bool bh_redis_tenants_write(struct bh_redis_tracker *t) {
    bool idle = bh_list_empty(&t->tenants.writing);
    if (idle && bh_list_empty(&t->tenants.dirty))
        return false;
    if (idle)
        write_some(t);
    return true;
}

void bh_redis_tenants_init(struct bh_redis_tracker *t, struct bh_loop *bus) {
    bh_map_init(&t->tenants.map, name_of);
    bh_list_init(&t->tenants.dirty);
    bh_list_init(&t->tenants.writing);
    bh_timer_init(&t->tenants.timer, bus, on_timer);
}

void bh_redis_tenants_clear(struct bh_redis_tracker *t) {
    size_t cursor = 0;
    void *tenant;
    while ((tenant = bh_map_next(&t->tenants.map, &cursor)))
        bh_free(tenant);
    bh_map_deinit(&t->tenants.map);
    bh_map_init(&t->tenants.map, name_of);
    bh_list_init(&t->tenants.dirty);
    bh_list_init(&t->tenants.writing);
    bh_timer_cancel(&t->tenants.timer);
}
