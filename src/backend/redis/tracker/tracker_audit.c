/* tracker_audit.c - whether Redis still has what it has confirmed.
 *
 * Batches and heartbeats compare how many connections a registration holds, which tells when it was
 * lost as a whole. A single user's key may go by itself: a Redis that evicts, a hand that deletes.
 * So each heartbeat reads one page of the connections and checks the page before against the keys
 * of their users. If one is missing, the registration ends, and the next one tells of all again. */
#include "tracker/tracker.h"

#include <stdio.h>

#define PAGE 500

/* The entries of a page are "<length byte><connection><length byte><user>", as read. */
static struct bh_slice take(const char **p) {
    struct bh_slice s = bh_slice(*p + 1, (unsigned char)**p);
    *p += 1 + s.n;
    return s;
}

static void keep(struct bh_redis_tracker *t, const struct bh_reply *entries, size_t count) {
    t->audit.page.len = 0;
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (entries[i].str.n > UINT8_MAX || entries[i + 1].str.n > UINT8_MAX)
            continue; /* not written by us */
        for (size_t j = i; j < i + 2; j++) {
            unsigned char n = (unsigned char)entries[j].str.n;
            bh_bytes_add(&t->audit.page, bh_slice(&n, 1));
            bh_bytes_add(&t->audit.page, entries[j].str);
        }
    }
}

static void on_page(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (handle != t->registration)
        return;
    t->audit.asks = false;
    if (!bh_redis_tracker_hears("audit", error, r))
        return;
    const struct bh_reply *e = r->elements;
    if (r->count < 2 || !bh_redis_is_int(&e[0]) || !bh_redis_all_strings(e + 1, r->count - 1))
        return;
    if (e[0].integer > 0) {
        bh_redis_tracker_lost(t, "keys of users have been removed; Redis must not evict them");
        return;
    }
    snprintf(t->audit.cursor, sizeof t->audit.cursor, "%.*s", BH_SLICE_ARG(e[1].str));
    keep(t, e + 2, r->count - 2);
}

void bh_redis_audit(struct bh_redis_tracker *t) {
    if (t->audit.asks)
        return;
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_audit, t->prefix);
    bh_redis_call_key(call, "instance:", bh_tracker_name(&t->name));
    bh_redis_call_arg(call, bh_tracker_name(&t->name));
    bh_redis_call_arg(call, bh_slice_cstr(*t->audit.cursor ? t->audit.cursor : "0"));
    bh_redis_call_int(call, PAGE);
    const char *p = t->audit.page.p, *end = p + t->audit.page.len;
    while (p < end) {
        struct bh_slice connection = take(&p), user = take(&p);
        bh_redis_call_key(call, "connections:", user);
        bh_redis_call_arg(call, connection);
        bh_redis_call_arg(call, user);
    }
    t->audit.asks = true;
    bh_redis_call_send(call, &t->link, on_page, t, t->registration);
}

void bh_redis_audit_clear(struct bh_redis_tracker *t) {
    bh_bytes_free(&t->audit.page);
    t->audit.cursor[0] = '\0';
    t->audit.asks = false;
}
