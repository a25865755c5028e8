/* audit.c - whether Redis still has the connections that it has confirmed.
 *
 * Batches and heartbeats compare how many connections a registration holds, which shows when all of
 * it is lost. A single user's key can vanish alone: Redis evicts it, or an operator deletes it. So
 * each heartbeat reads one page of the connections and checks the page before it against the keys
 * of their users. If one is missing, the registration ends, and the next one restores all. */
#include "tracker/audit.h"

#include "tracker/calls.h"

#include <stdio.h>

#define PAGE 500 /* of all parts */

/* The entries of a page are "<length byte><connection><length byte><user>", as read. */
static struct bh_slice next_entry(const char **p) {
    struct bh_slice s = bh_slice(*p + 1, (unsigned char)**p);
    *p += 1 + s.n;
    return s;
}

static void keep(struct bh_redis_audit *audit, const struct bh_reply *entries, size_t count) {
    audit->page.len = 0;
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (entries[i].str.n > UINT8_MAX || entries[i + 1].str.n > UINT8_MAX)
            continue; /* not written by us */
        for (size_t j = i; j < i + 2; j++) {
            unsigned char n = (unsigned char)entries[j].str.n;
            bh_bytes_add(&audit->page, bh_slice(&n, 1));
            bh_bytes_add(&audit->page, entries[j].str);
        }
    }
}

static void on_page(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_audit *audit = ud;
    struct bh_redis_registration *r = audit->registration;
    if (handle != r->number)
        return;
    audit->in_flight = false;
    if (!bh_redis_check_reply("audit", error, reply))
        return;
    const struct bh_reply *e = reply->elements;
    if (reply->count < 2 || !bh_redis_is_int(&e[0]) ||
        !bh_redis_all_strings(e + 1, reply->count - 1))
        return;
    if (e[0].integer > 0) {
        r->on_lost(r, "keys of users are missing; Redis must not evict them");
        return;
    }
    snprintf(audit->cursor, sizeof audit->cursor, "%.*s", BH_SLICE_ARG(e[1].str));
    keep(audit, e + 2, reply->count - 2);
}

void bh_redis_audit_step(struct bh_redis_audit *audit) {
    struct bh_redis_registration *r = audit->registration;
    if (audit->in_flight)
        return;
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_audit);
    bh_redis_call_key(call, "instance:", bh_tracker_name(&r->name));
    bh_redis_call_arg(call, bh_tracker_name(&r->name));
    bh_redis_call_arg(call, bh_slice_cstr(*audit->cursor ? audit->cursor : "0"));
    bh_redis_call_int(call, PAGE / r->parts);
    const char *p = audit->page.p, *end = p + audit->page.len;
    while (p < end) {
        struct bh_slice connection = next_entry(&p), user = next_entry(&p);
        bh_redis_user_key(call, user);
        bh_redis_call_arg(call, connection);
        bh_redis_call_arg(call, user);
    }
    audit->in_flight = true;
    bh_redis_registration_send(r, call, on_page, audit);
}

void bh_redis_audit_clear(struct bh_redis_audit *audit) {
    bh_bytes_free(&audit->page);
    audit->cursor[0] = '\0';
    audit->in_flight = false;
}
