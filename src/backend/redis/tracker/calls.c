/* calls.c - calls of track.lua and tenants.lua: their keys and arguments in the scripts' order.
 *
 * Only the names of keys have encoded ids; fields, members and events have the ids as they are. */
#include "tracker/calls.h"

/* What is longer than an id was written by another client, and has no connections. */
static void id_key(struct bh_redis_call *call, const char *space, enum bh_id_kind kind,
                   struct bh_slice id) {
    char encoded[BH_ID_ENCODED_MAX];
    bh_redis_call_key(call, space, id.n > BH_ID_MAX ? id : bh_id_encode(kind, id, encoded));
}

void bh_redis_user_key(struct bh_redis_call *call, struct bh_slice user) {
    id_key(call, "connections:", BH_ID_USER, user);
}

void bh_redis_tenant_key(struct bh_redis_call *call, struct bh_slice tenant) {
    id_key(call, "tenant:", BH_ID_TENANT, tenant);
}

struct bh_redis_call *bh_redis_track_call(const struct bh_redis_registration *r,
                                          struct bh_slice name, const char *mode) {
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_track);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", name);
    bh_redis_call_key(call, "presence", BH_SLICE(""));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "events:", name);
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_key(call, "departed", BH_SLICE(""));
    bh_redis_call_arg(call, name);
    bh_redis_call_arg(call, bh_slice_cstr(mode));
    bh_redis_call_int(call, (int64_t)r->debounce_ms);
    return call;
}

void bh_redis_track_change(struct bh_redis_call *call, struct bh_slice user,
                           struct bh_slice connection, struct bh_slice value,
                           struct bh_slice announced) {
    bh_redis_user_key(call, user);
    bh_redis_call_arg(call, user);
    bh_redis_call_arg(call, connection);
    bh_redis_call_arg(call, value);
    bh_redis_call_arg(call, announced);
}

struct bh_redis_call *bh_redis_tenants_call(const struct bh_redis_registration *r,
                                            struct bh_slice name, const char *mode) {
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_tenants);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "tenants:", name);
    bh_redis_call_arg(call, name);
    bh_redis_call_arg(call, bh_slice_cstr(mode));
    return call;
}

void bh_redis_tenants_count(struct bh_redis_call *call, struct bh_slice tenant,
                            int64_t connections) {
    bh_redis_tenant_key(call, tenant);
    bh_redis_call_arg(call, tenant);
    bh_redis_call_int(call, connections);
}
