/* server.c - one Redis of the history, as the bus sees it.
 *
 * The checks follow each other on the link and need no answer to go on, so a read that is sent
 * meanwhile does not wait for them: it repairs what it meets (functions.h). */
#include "history/server.h"

#include "bellhop/base/log.h"
#include "broker/broker.h"
#include "history/scripts.h"
#include "link/errors.h"

/* --- the version of the library --- */

static void note_dialect(struct bh_redis_history_server *s, bool old) {
    atomic_store(&s->functions.old, old);
    if (s->is_known && s->was_old == old)
        return;
    s->is_known = true;
    s->was_old = old;
    bh_info("history in Redis",
            bh_kv_str("by", old ? "scripts (Redis before 7)" : "the function library bellhop"));
}

static bool is_error(const struct bh_reply *r, const char *starts) {
    return r->type == BH_REPLY_ERROR && bh_slice_starts(r->str, bh_slice_cstr(starts));
}

static void on_version(struct bh_redis_function_call *call, int error,
                       const struct bh_reply *reply) {
    struct bh_redis_history_server *s =
        BH_CONTAINER_OF(call, struct bh_redis_history_server, version);
    bh_redis_function_close(call);
    s->version_open = false;
    if (error)
        return;
    if (reply->type == BH_REPLY_INTEGER) {
        note_dialect(s, false);
        if (reply->integer < bh_redis_history_version)
            bh_redis_functions_load(&s->calls, &s->link, true);
    } else if (is_error(reply, "ERR Function not found")) {
        note_dialect(s, false);
        bh_redis_functions_load(&s->calls, &s->link, false);
    } else if (is_error(reply, "ERR unknown command")) {
        note_dialect(s, true);
    } else if (is_error(reply, "NOPERM")) {
        bh_redis_functions_refuse(&s->functions, reply->str);
    }
}

static const struct bh_redis_function_vt version_vt = {
    .function = BH_REDIS_FUNCTION_VERSION,
    .done = on_version,
};

static void ask_version(struct bh_redis_history_server *s) {
    if (s->version_open || bh_redis_functions_loading(&s->calls, &s->link))
        return;
    bh_redis_function_open(&s->version, &s->calls, &version_vt, NULL);
    s->version_open = bh_redis_function_send(&s->version, &s->link) == NULL;
    if (!s->version_open)
        bh_redis_function_close(&s->version);
}

/* --- rights --- */

static void note_missing(struct bh_redis_history_server *s, const struct bh_reply *commands) {
    struct bh_bytes text = {0};
    bh_bytes_adds(&text, "these commands are refused:");
    for (size_t i = 0; i < commands->count; i++)
        bh_bytes_addf(&text, " %.*s", BH_SLICE_ARG(commands->elements[i].str));
    bh_redis_functions_refuse(&s->functions, bh_bytes_slice(&text));
    bh_bytes_free(&text);
}

static void on_check(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct bh_redis_history_server *s =
        BH_CONTAINER_OF(call, struct bh_redis_history_server, check);
    bh_redis_function_close(call);
    s->check_open = false;
    if (error)
        return;
    if (is_error(reply, "NOPERM")) {
        bh_redis_functions_refuse(&s->functions, reply->str);
    } else if (reply->type == BH_REPLY_ARRAY && reply->count > 0) {
        note_missing(s, reply);
    } else if (reply->type == BH_REPLY_ARRAY && atomic_exchange(&s->functions.refused, NULL)) {
        bh_info("history accepted by Redis");
    }
}

static char *write_check(const struct bh_redis_function_call *call, char *p) {
    return bh_resp_bytes(p, BH_SLICE("$7\r\nPUBLISH\r\n"));
}

static size_t check_bound(const struct bh_redis_function_call *call) {
    return BH_RESP_BULK_MAX(sizeof "PUBLISH");
}

static const struct bh_redis_function_vt check_vt = {
    .function = BH_REDIS_FUNCTION_CHECK,
    .args = 1,
    .bound = check_bound,
    .write = write_check,
    .done = on_check,
};

static void ask_rights(struct bh_redis_history_server *s) {
    if (s->check_open)
        return;
    bh_redis_function_open(&s->check, &s->calls, &check_vt, &s->all);
    s->check_open = bh_redis_function_send(&s->check, &s->link) == NULL;
    if (!s->check_open)
        bh_redis_function_close(&s->check);
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

static void on_memory(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    struct bh_redis_history_server *s = c->ud;
    if (error || reply->type != BH_REPLY_STRING)
        return;
    struct bh_slice policy = info_value(reply->str, "maxmemory_policy");
    bool evicts = !bh_slice_eq(info_value(reply->str, "maxmemory"), BH_SLICE("0")) && policy.n &&
                  !bh_slice_eq(policy, BH_SLICE("noeviction"));
    if (evicts && !s->evicts)
        bh_warn("Redis evicts histories when its memory is full: clients are told gaps then",
                bh_kv_slice("maxmemory_policy", policy),
                bh_kv_str("hint", "maxmemory-policy noeviction in Redis"));
    s->evicts = evicts;
}

static void ask_memory(struct bh_redis_history_server *s) {
    const struct bh_slice argv[] = {BH_SLICE("INFO"), BH_SLICE("memory")};
    struct bh_redis_completion c = {.fire = on_memory, .ud = s};
    bh_redis_link_send(&s->link, 2, argv, &c);
}

/* --- the link --- */

static struct bh_redis_history_server *server_of(struct bh_redis_link *link) {
    return BH_CONTAINER_OF(link, struct bh_redis_history_server, link);
}

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_history_server *s = server_of(link);
    ask_version(s);
    ask_rights(s);
    ask_memory(s);
}

/* Reads that were open have been completed by the link. */
static void on_down(struct bh_redis_link *link) {}

/* Somebody may have flushed the functions, put older ones there, or given the missing right. */
static void on_interval(struct bh_redis_link *link) {
    struct bh_redis_history_server *s = server_of(link);
    if (!atomic_load(&s->functions.old))
        ask_version(s);
    if (atomic_load(&s->functions.refused))
        ask_rights(s);
}

static const struct bh_redis_link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_check = on_interval};

void bh_redis_history_server_init(struct bh_redis_history_server *s, struct bh_broker *node,
                                  const struct bh_history_config *config) {
    s->node = node;
    bh_redis_functions_init(&s->functions, bh_redis_node_config(node), config);
    bh_redis_calls_init(&s->calls, &s->functions);
    bh_topic_make(BH_TOPIC_ALL, BH_SLICE(""), &s->all, NULL);
}

void bh_redis_history_server_deinit(struct bh_redis_history_server *s) {
    bh_redis_functions_deinit(&s->functions);
}

void bh_redis_history_server_start(struct bh_redis_history_server *s, struct bh_loop *bus) {
    bh_redis_link_start(&s->link, bus, bh_redis_node_config(s->node), "history", &callbacks,
                        bh_redis_node_locator(s->node, bus));
}

void bh_redis_history_server_stop(struct bh_redis_history_server *s) {
    s->calls.stopped = true;
    bh_redis_link_stop(&s->link);
}
