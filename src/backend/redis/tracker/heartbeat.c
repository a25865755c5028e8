/* heartbeat.c - calls of heartbeat.lua and what they return. */
#include "tracker/heartbeat.h"

#define HEAD 6 /* elements of the reply before the lists */

/* An earlier registration of this process; an empty name is none. */
static void add_earlier(struct bh_redis_call *call, const struct bh_tracker_name *n, bool ended) {
    if (!n->len)
        return;
    bh_redis_call_key(call, "events:", bh_tracker_name(n));
    bh_redis_call_arg(call, bh_tracker_name(n));
    bh_redis_call_arg(call, ended ? BH_SLICE("end") : BH_SLICE("keep"));
}

/* A lease that nothing needs any more is ended here: a complete registration ends its predecessor,
 * and the next attempt ends the one that was abandoned. */
struct bh_redis_call *bh_redis_heartbeat_call(const struct bh_redis_registration *r,
                                              const char *mode, int64_t living) {
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_heartbeat);
    const struct bh_tracker_name *last = r->complete ? &r->name : &r->predecessor;
    bool ends = r->complete || strcmp(mode, "end") == 0;
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", bh_tracker_name(&r->name));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "reaped", BH_SLICE(""));
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_key(call, "events:", bh_tracker_name(&r->name));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_key(call, "restoring", BH_SLICE(""));
    bh_redis_call_key(call, "departed", BH_SLICE(""));
    bh_redis_call_arg(call, bh_slice_cstr(mode));
    bh_redis_call_arg(call, bh_tracker_name(&r->name));
    bh_redis_call_arg(call, r->complete ? BH_SLICE("1") : BH_SLICE(""));
    bh_redis_call_int(call, (int64_t)r->lease_ms);
    bh_redis_call_int(call, (int64_t)bh_redis_gap_ms(r));
    bh_redis_call_int(call, (int64_t)bh_redis_hold_back_ms(r));
    bh_redis_call_arg(call, bh_tracker_name(last));
    bh_redis_call_int(call, last->ends);
    bh_redis_call_int(call, r->ended_at);
    bh_redis_call_int(call, r->epoch);
    bh_redis_call_int(call, living);
    add_earlier(call, &r->predecessor, ends);
    add_earlier(call, &r->abandoned, true);
    return call;
}

bool bh_redis_heartbeat_parse(const struct bh_reply *reply, struct bh_redis_heartbeat *out) {
    if (reply->type != BH_REPLY_ARRAY || reply->count < HEAD + 1)
        return false;
    const struct bh_reply *e = reply->elements;
    size_t left = reply->count - HEAD - 1;
    if (!bh_redis_is_int(&e[0]) || !bh_redis_is_int(&e[1]) || !bh_redis_is_int(&e[2]) ||
        !bh_redis_is_count(&e[3], BH_PREVIOUS_LATE) || !bh_redis_is_int(&e[4]) ||
        !bh_redis_is_count(&e[5], left))
        return false;
    size_t dead_count = (size_t)e[5].integer;
    const struct bh_reply *count = &e[HEAD + dead_count];
    if (!bh_redis_is_count(count, left - dead_count))
        return false;
    *out = (struct bh_redis_heartbeat){.ends = e[0].integer,
                                       .held = e[1].integer,
                                       .epoch = e[2].integer,
                                       .previous = (enum bh_tracker_previous)e[3].integer,
                                       .living = e[4].integer,
                                       .dead = e + HEAD,
                                       .dead_count = dead_count,
                                       .events = count + 1,
                                       .event_count = (size_t)count->integer};
    out->due = out->events + out->event_count;
    out->due_count = left - dead_count - out->event_count;
    return bh_redis_all_strings(out->dead, dead_count) &&
           bh_redis_all_strings(out->events, left - dead_count);
}
