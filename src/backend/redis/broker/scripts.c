/* scripts.c - calls of scripts.
 *
 * Keys and arguments are stored as they are sent, in a buffer each, because they are added side by
 * side and sent one after the other. They live until the reply, for the one repetition. */
#include "broker/scripts.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "link/resp.h"

#include <stdio.h>

struct bh_redis_call {
    const struct bh_redis_script *script;
    struct bh_slice prefix;
    struct bh_bytes keys, args;
    size_t key_count, arg_count;
    struct bh_redis_link *link; /* NULL: it is routed */
    struct bh_broker *broker;
    unsigned worker;
    struct bh_redis_routed routed;
    bool repeated, kept;
    bh_reply_cb done;
    void *ud;
    bh_handle handle;
};

struct bh_redis_call *bh_redis_call_new(const struct bh_redis_script *script,
                                        struct bh_slice prefix) {
    struct bh_redis_call *call = bh_calloc(1, sizeof *call);
    call->script = script;
    call->prefix = prefix;
    return call;
}

void bh_redis_call_key(struct bh_redis_call *call, const char *kind, struct bh_slice name) {
    struct bh_slice middle = bh_slice_cstr(kind);
    size_t n = call->prefix.n + middle.n + name.n;
    bh_bytes_reserve(&call->keys, BH_RESP_BULK_MAX(n));
    char *p = bh_resp_head(call->keys.p + call->keys.len, '$', n);
    p = bh_resp_bytes(p, call->prefix);
    p = bh_resp_bytes(p, middle);
    p = bh_resp_end(bh_resp_bytes(p, name));
    call->keys.len = (size_t)(p - call->keys.p);
    call->key_count++;
}

void bh_redis_call_arg(struct bh_redis_call *call, struct bh_slice arg) {
    bh_bytes_reserve(&call->args, BH_RESP_BULK_MAX(arg.n));
    char *p = bh_resp_bulk(call->args.p + call->args.len, arg);
    call->args.len = (size_t)(p - call->args.p);
    call->arg_count++;
}

void bh_redis_call_int(struct bh_redis_call *call, int64_t arg) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)arg);
    bh_redis_call_arg(call, bh_slice(digits, (size_t)n));
}

static void complete(struct bh_redis_call *call, int error, const struct bh_reply *reply) {
    call->done(call->ud, call->handle, error, reply);
    if (!call->kept)
        bh_redis_call_free(call);
}

void bh_redis_call_keep(struct bh_redis_call *call) {
    call->kept = true;
}

void bh_redis_call_free(struct bh_redis_call *call) {
    bh_bytes_free(&call->keys);
    bh_bytes_free(&call->args);
    bh_free(call);
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply);

/* NULL, or why it cannot be sent now. */
static const char *write_as(struct bh_redis_call *call, struct bh_redis_link *link,
                            struct bh_slice command, struct bh_slice script) {
    const char *why;
    size_t bound = 2 * BH_RESP_HEAD_MAX + BH_RESP_BULK_MAX(command.n) + BH_RESP_BULK_MAX(script.n) +
                   BH_RESP_BULK_MAX(20) + call->keys.len + call->args.len;
    char digits[24], *p = bh_redis_link_begin(link, bound, &why);
    if (!p)
        return why;
    int n = snprintf(digits, sizeof digits, "%zu", call->key_count);
    p = bh_resp_head(p, '*', 3 + call->key_count + call->arg_count);
    p = bh_resp_bulk(p, command);
    p = bh_resp_bulk(p, script);
    p = bh_resp_bulk(p, bh_slice(digits, (size_t)n));
    p = bh_resp_bytes(p, bh_bytes_slice(&call->keys));
    p = bh_resp_bytes(p, bh_bytes_slice(&call->args));
    struct bh_redis_completion c = {.fire = on_reply, .ud = call};
    bh_redis_link_commit(link, p, &c);
    return NULL;
}

static const char *write_call(struct bh_redis_call *call, struct bh_redis_link *link) {
    return call->repeated
               ? write_as(call, link, BH_SLICE("EVAL"), call->script->body)
               : write_as(call, link, BH_SLICE("EVALSHA"), bh_slice_cstr(call->script->sha));
}

static struct bh_redis_call *of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct bh_redis_call, routed);
}

static const char *send_routed(struct bh_redis_routed *r, struct bh_redis_link *link) {
    return write_call(of(r), link);
}

static void on_unsent(struct bh_redis_routed *r, int error, const char *why) {
    complete(of(r), error, NULL);
}

static const struct bh_redis_routed_vt routed_vt = {.send = send_routed, .fail = on_unsent};

static void send_call(struct bh_redis_call *call) {
    if (!call->link)
        bh_redis_route(call->broker, call->worker, &call->routed, call->prefix);
    else if (write_call(call, call->link))
        complete(call, BH_EUNAVAIL, NULL);
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_call *call = c->ud;
    bool rejected = !error && reply->type == BH_REPLY_ERROR;
    if (rejected && !call->repeated && bh_slice_starts(reply->str, BH_SLICE("NOSCRIPT"))) {
        call->repeated = true;
        send_call(call);
    } else if (!rejected || call->link ||
               !bh_redis_reroute(call->broker, call->worker, &call->routed, reply)) {
        complete(call, error, reply);
    }
}

static void begin(struct bh_redis_call *call, bh_reply_cb done, void *ud, bh_handle handle) {
    call->done = done;
    call->ud = ud;
    call->handle = handle;
    call->repeated = call->kept = false;
    send_call(call);
}

void bh_redis_call_route(struct bh_redis_call *call, struct bh_broker *broker, unsigned worker,
                         bh_reply_cb done, void *ud, bh_handle handle) {
    call->link = NULL;
    call->broker = broker;
    call->worker = worker;
    call->routed = (struct bh_redis_routed){.vt = &routed_vt,
                                            .bytes = (uint32_t)(call->keys.len + call->args.len)};
    begin(call, done, ud, handle);
}

void bh_redis_call_send(struct bh_redis_call *call, struct bh_redis_link *link, bh_reply_cb done,
                        void *ud, bh_handle handle) {
    call->link = link;
    begin(call, done, ud, handle);
}
