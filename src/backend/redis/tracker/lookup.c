/* lookup.c - who is online, on which connections: one call of lookup.lua.
 *
 * The script knows leases and duplicate entries; its reply is passed on without a copy, for the
 * time of the callback. */
#include "tracker/lookup.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "tracker/calls.h"

#define HEAD          2 /* elements of lookup.lua's reply before those of the names */
#define INFO_ELEMENTS 3 /* instance, connection, "<opened_at> <tenant>" */

static bool parse_value(struct bh_slice value, struct bh_connection_info *out) {
    struct bh_slice opened;
    uint64_t ms;
    if (!bh_slice_split(&value, ' ', &opened) || bh_slice_u64(opened, INT64_MAX, &ms) != 0)
        return false;
    out->opened_at = (int64_t)ms;
    out->tenant = value;
    return true;
}

/* A member that bellhop has not written is skipped. */
static bool parse_infos(const struct bh_reply *r, struct bh_presence *out,
                        struct bh_connection_info *infos) {
    if (r->type != BH_REPLY_ARRAY || r->count % INFO_ELEMENTS != 0 ||
        !bh_redis_all_strings(r->elements, r->count))
        return false;
    out->connections = infos;
    for (const struct bh_reply *e = r->elements; e < r->elements + r->count; e += INFO_ELEMENTS) {
        struct bh_connection_info *info = &infos[out->count];
        info->instance = e[0].str;
        if (bh_connection_number(e[1].str, &info->number) == 0 && parse_value(e[2].str, info))
            out->count++;
    }
    return true;
}

static bool parse_count(const struct bh_reply *r, struct bh_presence *out) {
    if (!bh_redis_is_int(r) || r->integer < 0)
        return false;
    out->count = (size_t)r->integer;
    return true;
}

static size_t infos_in(const struct bh_reply *r) {
    size_t n = 0;
    for (size_t i = HEAD; i < r->count; i++)
        n += r->elements[i].count / INFO_ELEMENTS;
    return n;
}

/* 0 with all of out filled in, or BH_EIO. infos has room for all that r holds. */
static int parse(const struct bh_redis_question *q, const struct bh_reply *r,
                 struct bh_presence *out, struct bh_connection_info *infos) {
    for (size_t i = 0; i < q->count; i++) {
        const struct bh_reply *one = &r->elements[HEAD + i];
        bool ok = q->what == BH_LOOKUP_CONNECTIONS ? parse_infos(one, &out[i], infos)
                                                   : parse_count(one, &out[i]);
        if (!ok)
            return BH_EIO;
        out[i].uncertain = r->elements[1].integer == 0;
        if (q->what == BH_LOOKUP_CONNECTIONS)
            infos += out[i].count;
    }
    return 0;
}

static int check(const struct bh_redis_question *q, int error, const struct bh_reply *r) {
    if (error)
        return error;
    if (r->type == BH_REPLY_ERROR)
        bh_warn_limited("lookup rejected by Redis", bh_kv_slice("reason", r->str));
    bool ok = r->type == BH_REPLY_ARRAY && r->count == q->count + HEAD &&
              bh_redis_is_int(&r->elements[0]) && bh_redis_is_int(&r->elements[1]);
    return ok ? 0 : BH_EIO;
}

static void on_answer(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_question *q = ud;
    error = check(q, error, r);
    if (error) {
        q->done(q->ud, q->handle, error, NULL, 0, 0);
        bh_free(q);
        return;
    }
    struct bh_presence *found = bh_calloc(q->count + 1, sizeof *found);
    struct bh_connection_info *infos = bh_calloc(infos_in(r) + 1, sizeof *infos);
    error = parse(q, r, found, infos);
    if (error)
        q->done(q->ud, q->handle, error, NULL, 0, 0);
    else
        q->done(q->ud, q->handle, 0, found, q->count, r->elements[0].integer);
    bh_free(infos);
    bh_free(found);
    bh_free(q);
}

void bh_redis_lookup(const struct bh_redis_registration *r, struct bh_broker *broker,
                     unsigned worker, const struct bh_redis_question *asked) {
    static const char *const words[] = {[BH_LOOKUP_ONLINE] = "online",
                                        [BH_LOOKUP_CONNECTIONS] = "connections",
                                        [BH_LOOKUP_TENANTS] = "tenants"};
    struct bh_redis_question *q = bh_malloc(sizeof *q);
    *q = *asked;
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_lookup);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    void (*add_key)(struct bh_redis_call *, struct bh_slice) =
        q->what == BH_LOOKUP_TENANTS ? bh_redis_tenant_key : bh_redis_user_key;
    for (size_t i = 0; i < q->count; i++)
        add_key(call, q->names[i]);
    bh_redis_call_arg(call, bh_slice_cstr(words[q->what]));
    bh_redis_call_int(call, (int64_t)bh_redis_gap_ms(r));
    bh_redis_call_arg(call, bh_slice_cstr(r->config.instance));
    bh_redis_call_arg(call, q->complete ? BH_SLICE("1") : BH_SLICE(""));
    bh_redis_call_int(call, (int64_t)q->total);
    bh_redis_call_route(call, broker, worker, on_answer, q, 0);
}
