/* namesakes.c - other registrations under the id of this instance.
 *
 * An instance that was killed and restarted finds the lease of its predecessor, which nobody renews
 * any more. Waiting for its end would count dead connections for the whole lease, so it is ended
 * here, and the registration is reaped like any other. A lease that is renewed belongs to another
 * host, which was given the same id by mistake: that is logged, and nothing is ended. Which of the
 * two it is shows within two heartbeats after the registration is complete; from then on Redis is
 * not asked again. */
#include "tracker/namesakes.h"

#include "bellhop/base/log.h"

#define HEAD 2 /* elements of the reply before the lists */

static struct bh_redis_namesake *find(struct bh_redis_namesakes *n, struct bh_slice name) {
    for (size_t i = 0; i < n->count; i++)
        if (bh_slice_eq(bh_tracker_name(&n->seen[i].name), name))
            return &n->seen[i];
    return NULL;
}

/* --- the call --- */

static void leave_out(struct bh_redis_call *call, const struct bh_redis_namesakes *n) {
    const struct bh_redis_registration *r = n->registration;
    const struct bh_tracker_name *own[] = {&r->name, &r->predecessor, &r->abandoned};
    int64_t count = 3;
    for (size_t i = 0; i < n->count; i++)
        count += n->seen[i].renews;
    bh_redis_call_int(call, count);
    for (size_t i = 0; i < 3; i++)
        bh_redis_call_arg(call, bh_tracker_name(own[i]));
    for (size_t i = 0; i < n->count; i++)
        if (n->seen[i].renews)
            bh_redis_call_arg(call, bh_tracker_name(&n->seen[i].name));
}

static void add_undecided(struct bh_redis_call *call, const struct bh_redis_namesakes *n) {
    for (size_t i = 0; i < n->count; i++) {
        const struct bh_redis_namesake *one = &n->seen[i];
        if (one->renews)
            continue;
        bh_redis_call_arg(call, bh_tracker_name(&one->name));
        bh_redis_call_int(call, one->ends);
        bh_redis_call_int(call, one->since);
    }
}

/* --- the reply --- */

static void add(struct bh_redis_namesakes *n, struct bh_slice name, int64_t ends, int64_t now) {
    if (n->count == BH_REDIS_NAMESAKES_MAX || name.n > BH_TRACKER_NAME_MAX)
        return;
    struct bh_redis_namesake *one = &n->seen[n->count++];
    *one = (struct bh_redis_namesake){.ends = ends, .since = now};
    one->name.len = name.n;
    memcpy(one->name.text, name.p, name.n);
}

static void on_living(struct bh_redis_namesakes *n, struct bh_slice name, int64_t ends,
                      int64_t now) {
    struct bh_redis_namesake *one = find(n, name);
    n->done = false;
    if (!one) {
        add(n, name, ends, now);
    } else if (one->ends != ends) {
        one->renews = true;
        bh_warn_limited(
            "another instance runs under the same name: give each its own server.instance",
            bh_kv_slice("name", bh_tracker_name(&n->registration->name)),
            bh_kv_slice("other", name));
    }
}

/* Those that live are pairs: name, end of the lease. */
static bool is_well_formed(const struct bh_reply *reply) {
    const struct bh_reply *e = reply->elements;
    if (reply->count < HEAD || !bh_redis_is_int(&e[0]) ||
        !bh_redis_is_count(&e[1], reply->count - HEAD))
        return false;
    size_t first = HEAD + (size_t)e[1].integer;
    if ((reply->count - first) % 2 != 0 || !bh_redis_all_strings(e + HEAD, first - HEAD))
        return false;
    for (size_t i = first; i < reply->count; i += 2)
        if (!bh_redis_all_strings(&e[i], 1) || !bh_redis_is_int(&e[i + 1]))
            return false;
    return true;
}

static void on_reply(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_namesakes *n = ud;
    if (handle != n->registration->number)
        return;
    n->in_flight = false;
    if (!bh_redis_check_reply("namesakes", error, reply) || !is_well_formed(reply))
        return;
    const struct bh_reply *e = reply->elements;
    size_t first = HEAD + (size_t)e[1].integer;
    for (size_t i = HEAD; i < first; i++)
        bh_info("ended the lease of an earlier process of this instance",
                bh_kv_slice("name", e[i].str));
    n->done = true;
    for (size_t i = first; i < reply->count; i += 2)
        on_living(n, e[i].str, e[i + 1].integer, e[0].integer);
}

void bh_redis_namesakes_step(struct bh_redis_namesakes *n) {
    struct bh_redis_registration *r = n->registration;
    if (n->done || n->in_flight)
        return;
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_namesakes);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "restoring", BH_SLICE(""));
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_arg(call, bh_slice_cstr(r->config.instance));
    bh_redis_call_int(call, (int64_t)bh_redis_gap_ms(r));
    leave_out(call, n);
    add_undecided(call, n);
    n->in_flight = true;
    bh_redis_registration_send(r, call, on_reply, n);
}

void bh_redis_namesakes_clear(struct bh_redis_namesakes *n) {
    n->count = 0;
    n->in_flight = n->done = false;
}
