/* functions.c - calls of the functions of the history, in both dialects. */
#include "history/functions.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "history/scripts.h"
#include "link/errors.h"
#include "link/metrics.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    struct bh_slice name;
    const struct bh_redis_script *script; /* NULL: there is none */
} functions[] = {
    [BH_REDIS_FUNCTION_APPEND] = {BH_SLICE("bellhop_append"), &bh_redis_script_history_append},
    [BH_REDIS_FUNCTION_READ] = {BH_SLICE("bellhop_read"), &bh_redis_script_history_read},
    [BH_REDIS_FUNCTION_BEGIN] = {BH_SLICE("bellhop_begin"), &bh_redis_script_history_begin},
    [BH_REDIS_FUNCTION_PAGE] = {BH_SLICE("bellhop_page"), &bh_redis_script_history_page},
    [BH_REDIS_FUNCTION_REMOVE] = {BH_SLICE("bellhop_remove"), &bh_redis_script_history_remove},
    [BH_REDIS_FUNCTION_CHECK] = {BH_SLICE("bellhop_check"), &bh_redis_script_history_check},
    [BH_REDIS_FUNCTION_VERSION] = {BH_SLICE("bellhop_version"), NULL},
};

/* --- the server --- */

/* What ACL SETUSER accepts: Redis before 7 knows no functions. */
static char *rights_text(const struct bh_redis_config *config, bool cluster, bool old, bool waits) {
    const char *prefix = config->channel_prefix;
    struct bh_bytes text = {0};
    bh_bytes_addf(&text,
                  "the Redis user lacks rights that the history needs: ACL SETUSER %s ~{%s* &%s* "
                  "%s +info +time %s +del +pexpire +hget +hmget +hset +hdel +hlen +hscan "
                  "+lindex +llen +lrange +lset +ltrim +rpop +rpush%s",
                  config->user ? config->user : "default", prefix, prefix,
                  cluster ? "+spublish +ssubscribe +sunsubscribe +asking" : "+publish",
                  old ? "+eval +evalsha" : "+fcall +function|load", waits ? " +wait" : "");
    bh_bytes_addc(&text, '\0');
    return text.p;
}

void bh_redis_functions_init(struct bh_redis_functions *f, const struct bh_redis_config *config,
                             const struct bh_history_config *history, bool cluster) {
    bool waits = history->min_replicas > 0;
    f->cluster = cluster;
    f->ids_ms = history->ids_ms;
    f->prefix = bh_slice_cstr(config->channel_prefix);
    f->rights = rights_text(config, cluster, false, waits);
    f->old_rights = rights_text(config, cluster, true, waits);
    atomic_init(&f->old, false);
    atomic_init(&f->refused, NULL);
    atomic_init(&f->clock_ms, bh_clock_wall_ms() - (int64_t)bh_clock_ms());
}

void bh_redis_functions_deinit(struct bh_redis_functions *f) {
    bh_free(f->rights);
    bh_free(f->old_rights);
}

const char *bh_redis_functions_refuse(struct bh_redis_functions *f, struct bh_slice answer) {
    const char *rights = atomic_load(&f->old) ? f->old_rights : f->rights;
    if (!atomic_exchange(&f->refused, rights))
        BH_LOG_LIMITED(BH_LOG_ERROR, "history refused by Redis", bh_kv_slice("answer", answer),
                       bh_kv_str("hint", rights));
    return rights;
}

void bh_redis_functions_note_time(struct bh_redis_functions *f, int64_t redis_ms) {
    atomic_store_explicit(&f->clock_ms, redis_ms - (int64_t)bh_clock_ms(), memory_order_relaxed);
}

int64_t bh_redis_functions_time(const struct bh_redis_functions *f) {
    return (int64_t)bh_clock_ms() + atomic_load_explicit(&f->clock_ms, memory_order_relaxed);
}

/* --- errors --- */

static bool is_missing(struct bh_slice answer) {
    return bh_slice_starts(answer, BH_SLICE("NOSCRIPT")) ||
           bh_slice_starts(answer, BH_SLICE("ERR Function not found"));
}

int bh_redis_functions_error(struct bh_redis_functions *f, struct bh_slice answer,
                             const char **why) {
    struct bh_slice inner = bh_redis_error_inside(answer);
    const struct bh_redis_error *e = bh_redis_classify_error(inner);
    *why = e->why;
    if (bh_slice_starts(inner, BH_SLICE("NOPERM"))) {
        *why = bh_redis_functions_refuse(f, answer);
        return BH_EDENIED;
    }
    if (bh_slice_starts(inner, BH_SLICE("OOM ")))
        return BH_ENOMEM;
    if (e->reconnect || e->transient)
        return BH_EUNAVAIL;
    if (is_missing(inner)) {
        bh_warn_limited("a function of the history is missing in Redis",
                        bh_kv_slice("answer", inner));
        *why = "the functions of the history could not be loaded into Redis; see the log";
        return BH_EUNAVAIL;
    }
    *why = inner.p;
    return bh_slice_starts(inner, BH_SLICE("HISTORYOFFSET")) ? BH_ETOOBIG : BH_EDENIED;
}

/* --- the calls of a thread --- */

void bh_redis_calls_init(struct bh_redis_calls *calls, struct bh_redis_functions *f) {
    *calls = (struct bh_redis_calls){.functions = f};
    bh_list_init(&calls->open);
    bh_list_init(&calls->loads);
}

void bh_redis_calls_set_cluster(struct bh_redis_calls *calls, struct bh_broker *cluster,
                                unsigned worker) {
    calls->broker = cluster;
    calls->worker = worker;
}

void bh_redis_calls_stop(struct bh_redis_calls *calls) {
    struct bh_list *node;
    calls->stopped = true;
    while ((node = bh_list_shift(&calls->open))) {
        struct bh_redis_function_call *call =
            BH_CONTAINER_OF(node, struct bh_redis_function_call, node);
        if (call->vt->abort)
            call->vt->abort(call);
    }
}

void bh_redis_function_open(struct bh_redis_function_call *call, struct bh_redis_calls *calls,
                            const struct bh_redis_function_vt *vt, const struct bh_topic *topic) {
    call->vt = vt;
    call->calls = calls;
    call->topic = topic;
    call->link = NULL;
    call->why = NULL;
    call->routed.vt = NULL; /* the rest, and what is set with each attempt, when it is routed */
    bh_list_init(&call->node);
    bh_list_append(&calls->open, &call->node);
}

void bh_redis_function_close(struct bh_redis_function_call *call) {
    bh_list_unlink(&call->node);
}

/* --- loading --- */

struct load {
    struct bh_list node;
    struct bh_redis_calls *calls;
    const struct bh_redis_link *link;
};

static void end_load(struct load *load) {
    bh_list_unlink(&load->node);
    bh_free(load);
}

bool bh_redis_functions_loading(const struct bh_redis_calls *calls,
                                const struct bh_redis_link *link) {
    for (const struct bh_list *n = calls->loads.next; n != &calls->loads; n = n->next)
        if (BH_CONTAINER_OF(n, const struct load, node)->link == link)
            return true;
    return false;
}

static void on_loaded(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    struct bh_redis_calls *calls = ((struct load *)c->ud)->calls;
    end_load(c->ud);
    if (error)
        return;
    if (reply->type != BH_REPLY_ERROR) {
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_LOADS]);
    } else if (bh_slice_starts(reply->str, BH_SLICE("NOPERM"))) {
        bh_redis_functions_refuse(calls->functions, reply->str);
    } else if (!bh_slice_starts(reply->str, BH_SLICE("ERR Library 'bellhop' already exists"))) {
        bh_warn_limited("functions of the history not loaded into Redis",
                        bh_kv_slice("answer", reply->str));
    }
}

void bh_redis_functions_load(struct bh_redis_calls *calls, struct bh_redis_link *link,
                             bool replace) {
    struct bh_slice argv[4] = {BH_SLICE("FUNCTION"), BH_SLICE("LOAD")};
    size_t argc = 2;
    if (replace)
        argv[argc++] = BH_SLICE("REPLACE");
    argv[argc++] = bh_redis_history_library;
    struct load *load = bh_malloc(sizeof *load);
    *load = (struct load){.calls = calls, .link = link};
    bh_list_init(&load->node);
    bh_list_append(&calls->loads, &load->node);
    struct bh_redis_completion c = {.fire = on_loaded, .ud = load};
    if (!bh_redis_link_send(link, argc, argv, &c))
        end_load(load);
}

/* --- a call --- */

char *bh_redis_write_number(char *p, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    size_t length = sizeof digits - at;
    *p++ = '$';
    if (length > 9)
        *p++ = (char)('0' + length / 10);
    *p++ = (char)('0' + length % 10);
    p = bh_resp_end(p);
    return bh_resp_end(bh_resp_bytes(p, bh_slice(digits + at, length)));
}

static bool is_same(const struct bh_history_rule *a, const struct bh_history_rule *b) {
    return a->size == b->size && a->revision == b->revision && a->ttl_ms == b->ttl_ms &&
           a->position_ttl_ms == b->position_ttl_ms && a->bytes == b->bytes;
}

static void set_rule(struct bh_redis_rule_text *kept, const struct bh_history_rule *rule,
                     uint64_t ids_ms) {
    char text[6 * 21 + 1];
    int n = snprintf(
        text, sizeof text, "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu64,
        rule->size, rule->ttl_ms, rule->position_ttl_ms, rule->bytes, rule->revision, ids_ms);
    kept->n = (size_t)(bh_resp_bulk(kept->bytes, bh_slice(text, (size_t)n)) - kept->bytes);
    kept->rule = *rule;
}

char *bh_redis_write_rule(char *p, const struct bh_history_rule *rule, uint64_t ids_ms,
                          struct bh_redis_rule_text *kept) {
    if (kept->n == 0 || !is_same(rule, &kept->rule))
        set_rule(kept, rule, ids_ms);
    return bh_resp_bytes(p, bh_slice(kept->bytes, kept->n));
}

static char *write_key(char *p, struct bh_slice channel, struct bh_slice suffix) {
    p = bh_resp_head(p, '$', channel.n + 2 + suffix.n);
    *p++ = '{';
    p = bh_resp_bytes(p, channel);
    *p++ = '}';
    return bh_resp_end(bh_resp_bytes(p, suffix));
}

static struct bh_slice channel_of(const struct bh_redis_functions *f, const struct bh_topic *topic,
                                  char text[BH_CHANNEL_MAX + 1]) {
    return bh_slice(text, bh_topic_to_channel(topic, f->prefix, text));
}

char *bh_redis_write_keys(char *p, const struct bh_redis_functions *f,
                          const struct bh_topic *topic) {
    char text[BH_CHANNEL_MAX + 1];
    struct bh_slice channel = channel_of(f, topic, text);
    p = write_key(p, channel, BH_SLICE(":log"));
    return write_key(p, channel, BH_SLICE(":m"));
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply);

static const char *send_as(struct bh_redis_function_call *call, struct bh_slice command,
                           struct bh_slice function) {
    const struct bh_redis_function_vt *vt = call->vt;
    size_t bound = BH_RESP_HEAD_MAX + BH_RESP_BULK_MAX(command.n) + BH_RESP_BULK_MAX(function.n) +
                   BH_RESP_BULK_MAX(1) + BH_REDIS_KEYS_MAX + (vt->bound ? vt->bound(call) : 0);
    const char *why;
    char *p = bh_redis_link_begin(call->link, bound, &why);
    if (!p)
        return why;
    p = bh_resp_head(p, '*', 3 + (call->topic ? 2 : 0) + vt->args);
    p = bh_resp_bulk(p, command);
    p = bh_resp_bulk(p, function);
    p = bh_resp_bytes(p, call->topic ? BH_SLICE("$1\r\n2\r\n") : BH_SLICE("$1\r\n0\r\n"));
    if (call->topic)
        p = bh_redis_write_keys(p, call->calls->functions, call->topic);
    if (vt->write)
        p = vt->write(call, p);
    struct bh_redis_completion c = {.fire = on_reply, .ud = call};
    bh_redis_link_commit(call->link, p, &c);
    return NULL;
}

static const char *send_call(struct bh_redis_function_call *call) {
    const struct bh_redis_script *script = functions[call->vt->function].script;
    if (!atomic_load_explicit(&call->calls->functions->old, memory_order_relaxed) || !script)
        return send_as(call, BH_SLICE("FCALL"), functions[call->vt->function].name);
    return call->loaded ? send_as(call, BH_SLICE("EVAL"), script->body)
                        : send_as(call, BH_SLICE("EVALSHA"), bh_slice_cstr(script->sha));
}

/* Whether it is worth sending again. */
static bool repair(struct bh_redis_function_call *call, struct bh_slice answer) {
    struct bh_redis_calls *calls = call->calls;
    if (calls->stopped || !functions[call->vt->function].script)
        return false;
    if (!call->converted && bh_slice_starts(answer, BH_SLICE("ERR unknown command"))) {
        atomic_store(&calls->functions->old, true);
        return call->converted = true;
    }
    if (call->loaded || !is_missing(answer))
        return false;
    if (!bh_redis_functions_loading(calls, call->link) &&
        !bh_slice_starts(answer, BH_SLICE("NOSCRIPT")))
        bh_redis_functions_load(calls, call->link, false);
    return call->loaded = true;
}

/* --- in a cluster --- */

static struct bh_redis_function_call *call_of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct bh_redis_function_call, routed);
}

static const char *send_routed(struct bh_redis_routed *r, struct bh_redis_link *link) {
    call_of(r)->link = link;
    return send_call(call_of(r));
}

static void on_unsent(struct bh_redis_routed *r, int error, const char *why) {
    call_of(r)->why = why;
    call_of(r)->vt->done(call_of(r), error, NULL);
}

static const struct bh_redis_routed_vt routed_vt = {.send = send_routed, .fail = on_unsent};

static void route(struct bh_redis_function_call *call) {
    char text[BH_CHANNEL_MAX + 1];
    bh_redis_route(call->calls->broker, call->calls->worker, &call->routed,
                   channel_of(call->calls->functions, call->topic, text));
}

void bh_redis_function_route(struct bh_redis_function_call *call) {
    const struct bh_redis_function_vt *vt = call->vt;
    size_t bytes = vt->bound ? vt->bound(call) : 0;
    call->routed = (struct bh_redis_routed){.vt = &routed_vt, .bytes = (uint32_t)bytes};
    call->loaded = call->converted = false;
    route(call);
}

/* --- both ways --- */

static void repeat(struct bh_redis_function_call *call) {
    if (call->routed.vt)
        route(call);
    else if (send_call(call))
        call->vt->done(call, BH_EUNAVAIL, NULL);
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_function_call *call = c->ud;
    if (error || reply->type != BH_REPLY_ERROR) {
        call->vt->done(call, error, reply);
    } else if (repair(call, reply->str)) {
        repeat(call);
    } else if (!call->routed.vt ||
               !bh_redis_reroute(call->calls->broker, call->calls->worker, &call->routed, reply)) {
        call->vt->done(call, 0, reply);
    }
}

const char *bh_redis_function_send(struct bh_redis_function_call *call,
                                   struct bh_redis_link *link) {
    call->link = link;
    call->loaded = call->converted = false;
    return send_call(call);
}

const char *bh_redis_function_ask(struct bh_redis_function_call *call, struct bh_redis_link *link) {
    if (!call->calls->broker)
        return bh_redis_function_send(call, link);
    bh_redis_function_route(call);
    return NULL;
}
