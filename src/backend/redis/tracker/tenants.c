/* tenants.c - how many connections each tenant has on this instance, written to Redis.
 *
 * The counts are absolute, and those that have changed are written every 200 ms: a busy tenant
 * costs Redis no more than a quiet one. One call is in flight at a time; a count that changes
 * meanwhile is written again. A tenant without connections is freed when Redis has confirmed the
 * zero. */
#include "tracker/tenants.h"

#include "bellhop/base/mem.h"
#include "tracker/calls.h"

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

static void forget(struct bh_redis_tenants *tenants, struct tenant *n) {
    bh_list_unlink(&n->node);
    bh_map_remove(&tenants->map, name_of(n));
    bh_free(n);
}

static void confirmed(struct bh_redis_tenants *tenants) {
    struct bh_list *node;
    while ((node = bh_list_shift(&tenants->writing))) {
        struct tenant *n = BH_CONTAINER_OF(node, struct tenant, node);
        bool again = n->again;
        n->in_flight = n->again = false;
        if (again)
            bh_list_append(&tenants->dirty, &n->node);
        else if (n->count == 0)
            forget(tenants, n);
    }
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tenants *tenants = ud;
    if (!bh_redis_reply_ok(tenants->registration, handle, "tenants", error, r))
        return;
    if (r->count == 1 && bh_redis_is_int(&r->elements[0]))
        bh_redis_count_skipped("tenant:", r->elements[0].integer);
    confirmed(tenants);
    if (tenants->registration->state == BH_TRACKER_RESTORING)
        tenants->on_written(tenants);
    else if (!bh_list_empty(&tenants->dirty))
        bh_timer_set(&tenants->timer, PAUSE_MS);
}

static void write_some(struct bh_redis_tenants *tenants) {
    struct bh_redis_registration *r = tenants->registration;
    struct bh_redis_call *call = bh_redis_tenants_call(r, bh_tracker_name(&r->name), "live");
    struct bh_list *node;
    for (int i = 0; i < WRITE_MAX && (node = bh_list_shift(&tenants->dirty)); i++) {
        struct tenant *n = BH_CONTAINER_OF(node, struct tenant, node);
        bh_redis_tenants_count(call, name_of(n), n->count);
        n->in_flight = true;
        bh_list_append(&tenants->writing, &n->node);
    }
    bh_redis_registration_send(r, call, on_written, tenants);
}

static void on_timer(struct bh_timer *timer) {
    write_some(BH_CONTAINER_OF(timer, struct bh_redis_tenants, timer));
}

static struct tenant *get_tenant(struct bh_redis_tenants *tenants, struct bh_slice name) {
    struct tenant *n = bh_map_get(&tenants->map, name);
    if (n)
        return n;
    n = bh_calloc(1, sizeof *n + name.n);
    bh_list_init(&n->node);
    n->len = (uint8_t)name.n;
    memcpy(n->name, name.p, name.n);
    bh_map_put(&tenants->map, n);
    return n;
}

void bh_redis_tenants_add(struct bh_redis_tenants *tenants, struct bh_slice name, int n) {
    struct tenant *tenant = get_tenant(tenants, name);
    tenant->count += n;
    if (tenant->in_flight)
        tenant->again = true;
    else if (bh_list_empty(&tenant->node))
        bh_list_append(&tenants->dirty, &tenant->node);
    if (tenants->registration->state == BH_TRACKER_LIVE && bh_list_empty(&tenants->writing) &&
        !bh_timer_pending(&tenants->timer))
        bh_timer_set(&tenants->timer, PAUSE_MS);
}

bool bh_redis_tenants_write(struct bh_redis_tenants *tenants) {
    bool idle = bh_list_empty(&tenants->writing);
    if (idle && bh_list_empty(&tenants->dirty))
        return false;
    if (idle)
        write_some(tenants);
    return true;
}

static void init_empty(struct bh_redis_tenants *tenants) {
    bh_map_init(&tenants->map, name_of);
    bh_list_init(&tenants->dirty);
    bh_list_init(&tenants->writing);
}

void bh_redis_tenants_init(struct bh_redis_tenants *tenants, struct bh_redis_registration *r,
                           struct bh_loop *bus, void (*on_done)(struct bh_redis_tenants *)) {
    tenants->registration = r;
    tenants->on_written = on_done;
    init_empty(tenants);
    bh_timer_init(&tenants->timer, bus, on_timer);
}

void bh_redis_tenants_clear(struct bh_redis_tenants *tenants) {
    size_t cursor = 0;
    void *tenant;
    while ((tenant = bh_map_next(&tenants->map, &cursor)))
        bh_free(tenant);
    bh_map_deinit(&tenants->map);
    init_empty(tenants);
    bh_timer_cancel(&tenants->timer);
}
