/* sentinel.c - a conversation with Redis Sentinels about where the master is.
 *
 * A Sentinel speaks the protocol of Redis, so the conversation runs over a link, which connects,
 * authenticates, and has deadlines and a back-off. Its configuration names the current Sentinel.
 * Whenever an attempt fails or the link is lost, the host in that configuration is replaced by the
 * next one of the list before the link tries again: the first round through the list is quick,
 * later rounds slow down.
 *
 * `ask` sends SENTINEL get-master-addr-by-name and closes after the answer. `watch` sends SUBSCRIBE
 * behind it and stays: the Sentinel executes the two in order, so no failover falls between them. A
 * subscriber's link has no deadline of its own, so a watch sends PINGs, and drops a Sentinel that
 * does not answer.
 *
 * A Sentinel may be wrong about the master. Redis itself confirms it with ROLE (handshake.c). */
#include "link/sentinel.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/io/addr.h"
#include "bellhop/io/tls.h"

#include <stdio.h>

static unsigned count_of(const char *list) {
    unsigned count = 1;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

static void choose_next(struct bh_redis_sentinel *s) {
    struct bh_slice rest = bh_slice_cstr(s->given->sentinels), one, host;
    s->current = (s->current + 1) % count_of(s->given->sentinels);
    for (unsigned i = 0; i <= s->current; i++)
        bh_slice_split(&rest, ',', &one);
    if (bh_addr_split(one, &host, &s->config.port) == 0)
        snprintf(s->host, sizeof s->host, "%.*s", BH_SLICE_ARG(host));
}

/* --- its answers --- */

static void report(struct bh_redis_sentinel *s, struct bh_slice host, struct bh_slice port) {
    char text[BH_REDIS_HOST_MAX + 1];
    uint64_t number;
    if (host.n == 0 || host.n > BH_REDIS_HOST_MAX || memchr(host.p, '\0', host.n) ||
        bh_slice_u64(port, UINT16_MAX, &number) != 0 || number == 0) {
        bh_redis_link_drop(&s->link, BH_EPROTO,
                           "protocol error from Sentinel: invalid address of the master");
        return;
    }
    snprintf(text, sizeof text, "%.*s", BH_SLICE_ARG(host));
    if (s->owner)
        bh_redis_link_stop(&s->link);
    else
        bh_redis_link_settle(&s->link);
    s->on_master(s, text, (uint16_t)number);
}

static void on_address(const struct bh_redis_completion *c, int error,
                       const struct bh_reply *reply) {
    struct bh_redis_sentinel *s = c->ud;
    if (error)
        return;
    const struct bh_reply *e = reply->elements;
    if (reply->type == BH_REPLY_ERROR) {
        BH_LOG_LIMITED(BH_LOG_ERROR, "command rejected by Sentinel", bh_kv_str("sentinel", s->host),
                       bh_kv_slice("answer", reply->str),
                       bh_kv_str("hint", "its user needs +sentinel|get-master-addr-by-name, "
                                         "+subscribe, +ping and the channel +switch-master"));
        bh_redis_link_drop(&s->link, BH_EDENIED, "get-master-addr-by-name rejected by Sentinel");
    } else if (reply->type == BH_REPLY_NIL) {
        bh_redis_link_drop(&s->link, BH_ENOTFOUND, "Sentinel does not know a master of this name");
    } else if (reply->type == BH_REPLY_ARRAY && reply->count == 2 && e[0].type == BH_REPLY_STRING &&
               e[1].type == BH_REPLY_STRING) {
        report(s, e[0].str, e[1].str);
    } else {
        bh_redis_link_drop(&s->link, BH_EPROTO, "protocol error from Sentinel");
    }
}

/* "<master> <old host> <old port> <new host> <new port>" */
static void on_switch(struct bh_redis_sentinel *s, struct bh_slice text) {
    struct bh_slice word[5];
    size_t count = 0;
    while (count < 5 && bh_slice_split(&text, ' ', &word[count]))
        count++;
    if (count == 5 && bh_slice_eq(word[0], bh_slice_cstr(s->given->master)))
        report(s, word[3], word[4]);
}

static void on_push(struct bh_redis_link *link, const struct bh_reply *reply) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    const struct bh_reply *e = reply->elements;
    s->heard = true;
    if (reply->type == BH_REPLY_ERROR)
        bh_redis_link_drop(link, BH_EDENIED, "subscription rejected by Sentinel");
    else if (reply->type == BH_REPLY_ARRAY && reply->count == 3 && e[0].type == BH_REPLY_STRING &&
             e[2].type == BH_REPLY_STRING && bh_slice_eq(e[0].str, BH_SLICE("message")))
        on_switch(s, e[2].str);
}

/* --- its commands --- */

static void ask(struct bh_redis_sentinel *s) {
    struct bh_slice argv[] = {BH_SLICE("SENTINEL"), BH_SLICE("get-master-addr-by-name"),
                              bh_slice_cstr(s->given->master)};
    struct bh_redis_completion c = {.fire = on_address, .ud = s};
    bh_redis_link_send(&s->link, 3, argv, &c);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(t, struct bh_redis_sentinel, timer);
    if (!s->heard) {
        bh_redis_link_drop(&s->link, BH_ETIMEDOUT, "timeout: no answer from Sentinel");
        return;
    }
    s->heard = false;
    bh_redis_link_send(&s->link, 1, (struct bh_slice[]){BH_SLICE("PING")}, NULL);
    bh_timer_set(&s->timer, s->given->command_timeout_ms);
}

/* --- the link --- */

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    struct bh_slice argv[] = {BH_SLICE("SUBSCRIBE"), BH_SLICE("+switch-master")};
    ask(s);
    if (s->owner)
        return;
    bh_redis_link_send(&s->link, 2, argv, NULL);
    s->heard = false;
    bh_timer_set(&s->timer, s->given->command_timeout_ms);
}

static void on_failed(struct bh_redis_link *link) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    bh_timer_cancel(&s->timer);
    if (s->owner) /* readiness shows it */
        atomic_store(&s->owner->down_reason, atomic_load(&link->down_reason));
    choose_next(s);
}

static const struct bh_redis_link_callbacks ask_callbacks = {
    .on_up = on_up, .on_down = on_failed, .on_failed = on_failed, .quiet = true};
static const struct bh_redis_link_callbacks watch_callbacks = {
    .on_up = on_up, .on_down = on_failed, .on_push = on_push, .on_failed = on_failed};

/* --- life --- */

void bh_redis_sentinel_init(struct bh_redis_sentinel *s, const struct bh_redis_config *config) {
    uint64_t timeout = config->connect_timeout_ms;
    *s = (struct bh_redis_sentinel){.given = config, .config = *config};
    s->current = bh_random_below(count_of(config->sentinels)); /* spreads instances over them */
    s->config.host = s->host;
    s->config.user = config->sentinel_user;
    s->config.password = config->sentinel_password;
    s->config.sentinels = s->config.master = NULL;
    s->config.database = 0;
    s->config.connect_timeout_ms =
        timeout < BH_REDIS_SENTINEL_TIMEOUT_MS ? timeout : BH_REDIS_SENTINEL_TIMEOUT_MS;
    choose_next(s);
}

static void start(struct bh_redis_sentinel *s, struct bh_loop *loop, const char *name,
                  const struct bh_redis_link_callbacks *callbacks, bh_redis_sentinel_cb on_master) {
    s->on_master = on_master;
    bh_timer_init(&s->timer, loop, on_timer);
    bh_redis_link_start(&s->link, loop, &s->config, name, callbacks, NULL);
}

void bh_redis_sentinel_ask(struct bh_redis_sentinel *s, struct bh_redis_link *owner,
                           bh_redis_sentinel_cb on_master) {
    s->owner = owner;
    start(s, owner->loop, "sentinel", &ask_callbacks, on_master);
    s->link.tls = owner->tls ? bh_tls_connector_ref(owner->tls) : NULL; /* used in a later tick */
}

void bh_redis_sentinel_watch(struct bh_redis_sentinel *s, struct bh_loop *loop,
                             bh_redis_sentinel_cb on_master) {
    start(s, loop, "sentinel-watch", &watch_callbacks, on_master);
}

void bh_redis_sentinel_stop(struct bh_redis_sentinel *s) {
    if (s->link.state == BH_REDIS_IDLE)
        return;
    bh_timer_cancel(&s->timer);
    bh_redis_link_stop(&s->link);
}
