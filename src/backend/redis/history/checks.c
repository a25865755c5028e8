/* checks.c - one Redis of the history, as the bus sees it.
 *
 * The checks follow each other on the link and need no answer to go on, so a read that is sent
 * meanwhile does not wait for them: it repairs what it meets (functions.h).
 *
 * In a cluster nothing here has a key, which another master might have: the names of those that are
 * asked about are arguments there. */
#include "history/checks.h"

#include "bellhop/base/log.h"
#include "history/scripts.h"
#include "link/errors.h"

/* --- the state --- */

static void refuse_server(struct bh_redis_checks *c, struct bh_slice answer) {
    bh_redis_functions_refuse(&c->shared->functions, answer);
    c->shared->refusing += !c->refuses;
    c->refuses = true;
}

static void accept_server(struct bh_redis_checks *c) {
    c->shared->refusing -= c->refuses;
    c->refuses = false;
    if (c->shared->refusing == 0 && atomic_exchange(&c->shared->functions.refused, NULL))
        bh_info("history accepted by Redis");
}

/* --- the version of the library --- */

static void note_dialect(struct bh_redis_checks *c, bool old) {
    atomic_store(&c->shared->functions.old, old);
    if (c->shared->is_known && c->shared->was_old == old)
        return;
    c->shared->is_known = true;
    c->shared->was_old = old;
    bh_info("history in Redis",
            bh_kv_str("by", old ? "scripts (Redis before 7)" : "the function library bellhop"));
}

static bool is_error(const struct bh_reply *r, const char *starts) {
    return r->type == BH_REPLY_ERROR && bh_slice_starts(r->str, bh_slice_cstr(starts));
}

static void on_version(struct bh_redis_function_call *call, int error,
                       const struct bh_reply *reply) {
    struct bh_redis_checks *c = BH_CONTAINER_OF(call, struct bh_redis_checks, version);
    bh_redis_function_close(call);
    c->version_open = false;
    if (error)
        return;
    if (reply->type == BH_REPLY_INTEGER) {
        note_dialect(c, false);
        if (reply->integer < bh_redis_history_version)
            bh_redis_functions_load(&c->shared->calls, c->link, true);
    } else if (is_error(reply, "ERR Function not found")) {
        note_dialect(c, false);
        bh_redis_functions_load(&c->shared->calls, c->link, false);
    } else if (is_error(reply, "ERR unknown command")) {
        note_dialect(c, true);
    } else if (is_error(reply, "NOPERM")) {
        refuse_server(c, reply->str);
    }
}

static const struct bh_redis_function_vt version_vt = {
    .function = BH_REDIS_FUNCTION_VERSION,
    .done = on_version,
};

static void ask_version(struct bh_redis_checks *c) {
    if (c->version_open || bh_redis_functions_loading(&c->shared->calls, c->link))
        return;
    bh_redis_function_open(&c->version, &c->shared->calls, &version_vt, NULL);
    c->version_open = bh_redis_function_send(&c->version, c->link) == NULL;
    if (!c->version_open)
        bh_redis_function_close(&c->version);
}

/* --- rights --- */

static void note_missing(struct bh_redis_checks *c, const struct bh_reply *commands) {
    struct bh_bytes text = {0};
    bh_bytes_adds(&text, "these commands are refused:");
    for (size_t i = 0; i < commands->count; i++)
        bh_bytes_addf(&text, " %.*s", BH_SLICE_ARG(commands->elements[i].str));
    refuse_server(c, bh_bytes_slice(&text));
    bh_bytes_free(&text);
}

static void on_rights(struct bh_redis_function_call *call, int error,
                      const struct bh_reply *reply) {
    struct bh_redis_checks *c = BH_CONTAINER_OF(call, struct bh_redis_checks, rights);
    bh_redis_function_close(call);
    c->rights_open = false;
    if (error)
        return;
    if (is_error(reply, "NOPERM"))
        refuse_server(c, reply->str);
    else if (reply->type == BH_REPLY_ARRAY && reply->count > 0)
        note_missing(c, reply);
    else if (reply->type == BH_REPLY_ARRAY)
        accept_server(c);
}

static size_t rights_bound(const struct bh_redis_function_call *call) {
    return BH_REDIS_PUBLISH_MAX + BH_REDIS_KEYS_MAX;
}

static char *write_rights(const struct bh_redis_function_call *call, char *p) {
    return bh_redis_write_publish(p, call->calls->functions);
}

static char *write_rights_of_keys(const struct bh_redis_function_call *call, char *p) {
    const struct bh_redis_checks *c = BH_CONTAINER_OF(call, struct bh_redis_checks, rights);
    p = write_rights(call, p);
    return bh_redis_write_keys(p, call->calls->functions, &c->shared->all);
}

static const struct bh_redis_function_vt rights_vt = {
    .function = BH_REDIS_FUNCTION_CHECK,
    .args = 1,
    .bound = rights_bound,
    .write = write_rights,
    .done = on_rights,
};

static const struct bh_redis_function_vt keyless_rights_vt = {
    .function = BH_REDIS_FUNCTION_CHECK,
    .args = 3,
    .bound = rights_bound,
    .write = write_rights_of_keys,
    .done = on_rights,
};

static void ask_rights(struct bh_redis_checks *c) {
    bool cluster = c->shared->functions.cluster;
    if (c->rights_open)
        return;
    bh_redis_function_open(&c->rights, &c->shared->calls, cluster ? &keyless_rights_vt : &rights_vt,
                           cluster ? NULL : &c->shared->all);
    c->rights_open = bh_redis_function_send(&c->rights, c->link) == NULL;
    if (!c->rights_open)
        bh_redis_function_close(&c->rights);
}

/* --- eviction --- */

/* The value of `name:` in an INFO. */
static struct bh_slice info_value(struct bh_slice info, const char *name) {
    struct bh_slice line;
    while (bh_slice_split(&info, '\n', &line)) {
        struct bh_slice key;
        if (bh_slice_split(&line, ':', &key) && line.p && bh_slice_eq(key, bh_slice_cstr(name)))
            return line.n && line.p[line.n - 1] == '\r' ? bh_slice(line.p, line.n - 1) : line;
    }
    return BH_SLICE("");
}

static void on_memory(const struct bh_redis_completion *done, int error,
                      const struct bh_reply *reply) {
    struct bh_redis_checks *c = done->ud;
    if (error || reply->type != BH_REPLY_STRING)
        return;
    struct bh_slice policy = info_value(reply->str, "maxmemory_policy");
    bool evicts = !bh_slice_eq(info_value(reply->str, "maxmemory"), BH_SLICE("0")) && policy.n &&
                  !bh_slice_eq(policy, BH_SLICE("noeviction"));
    if (evicts && !c->evicts)
        bh_warn("Redis evicts histories when its memory is full: clients are told gaps then",
                bh_kv_slice("maxmemory_policy", policy),
                bh_kv_str("hint", "maxmemory-policy noeviction in Redis"));
    c->evicts = evicts;
}

static void ask_memory(struct bh_redis_checks *c) {
    const struct bh_slice argv[] = {BH_SLICE("INFO"), BH_SLICE("memory")};
    struct bh_redis_completion done = {.fire = on_memory, .ud = c};
    bh_redis_link_send(c->link, 2, argv, &done);
}

/* --- life --- */

void bh_redis_checks_init(struct bh_redis_checks *c, struct bh_redis_checked *shared,
                          struct bh_redis_link *link) {
    *c = (struct bh_redis_checks){.shared = shared, .link = link};
}

void bh_redis_checks_begin(struct bh_redis_checks *c) {
    ask_version(c);
    ask_rights(c);
    ask_memory(c);
}

void bh_redis_checks_again(struct bh_redis_checks *c) {
    if (!atomic_load(&c->shared->functions.old))
        ask_version(c);
    if (atomic_load(&c->shared->functions.refused))
        ask_rights(c);
}

void bh_redis_checks_end(struct bh_redis_checks *c) {
    accept_server(c);
}
