/* sentinel.c - asking Redis Sentinels where the master is.
 *
 * A Sentinel speaks Redis' protocol, so the conversation runs over a link, whose configuration
 * names the Sentinel at hand: it connects, authenticates, has deadlines and a back-off. Whenever an
 * attempt fails or the link is lost, the host in that configuration is replaced by the next one of
 * the list before the link tries again; so the first round through the list takes a moment, and
 * later ones slow down.
 *
 * Whoever asks sends SENTINEL get-master-addr-by-name and hangs up. A watcher sends SUBSCRIBE
 * behind it and stays: the two are executed one after the other, so no failover falls between them.
 * A subscriber's link does not look after itself, so the watcher sends PINGs, and leaves a Sentinel
 * that answers none.
 *
 * What a Sentinel says is not the truth, only its opinion; that Redis itself confirms its ROLE
 * makes it one (handshake.c). */
#include "link/sentinel.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"
#include "bellhop/io/tls.h"
#include "link/resp.h"

#include <stdio.h>

static unsigned count_of(const char *list) {
    unsigned count = 1;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

/* The next one of the list, round and round. */
static void turn_to_next(struct bh_redis_sentinel *s) {
    struct bh_slice rest = bh_slice_cstr(s->of->sentinels), one, host;
    s->at = (s->at + 1) % count_of(s->of->sentinels);
    for (unsigned i = 0; i <= s->at; i++)
        bh_slice_split(&rest, ',', &one);
    if (bh_addr_split(one, &host, &s->config.port) == 0)
        snprintf(s->host, sizeof s->host, "%.*s", BH_SLICE_ARG(host));
}

/* --- what it says --- */

static void tell(struct bh_redis_sentinel *s, struct bh_slice host, struct bh_slice port) {
    char text[BH_REDIS_HOST_MAX + 1];
    uint64_t number;
    if (host.n == 0 || host.n > BH_REDIS_HOST_MAX || memchr(host.p, '\0', host.n) ||
        bh_slice_u64(port, UINT16_MAX, &number) != 0 || number == 0) {
        bh_redis_link_drop(&s->link, BH_EPROTO, "a Sentinel names an address that is none");
        return;
    }
    snprintf(text, sizeof text, "%.*s", BH_SLICE_ARG(host));
    if (!s->watching)
        bh_redis_link_stop(&s->link);
    s->on_master(s, text, (uint16_t)number);
}

static void on_address(const struct bh_redis_completion *c, int error,
                       const struct bh_reply *reply) {
    struct bh_redis_sentinel *s = c->ud;
    if (error)
        return;
    const struct bh_reply *e = reply->elements;
    if (reply->type == BH_REPLY_ERROR) {
        BH_LOG_LIMITED(BH_LOG_ERROR, "a Sentinel refuses us", bh_kv_str("sentinel", s->host),
                       bh_kv_slice("answer", reply->str),
                       bh_kv_str("hint", "its user needs +sentinel|get-master-addr-by-name, "
                                         "+subscribe, +ping and the channel +switch-master"));
        bh_redis_link_drop(&s->link, BH_EDENIED, "a Sentinel refuses to tell where Redis is");
    } else if (reply->type == BH_REPLY_NIL) {
        bh_redis_link_drop(&s->link, BH_ENOTFOUND, "a Sentinel knows no master of this name");
    } else if (reply->type == BH_REPLY_ARRAY && reply->count == 2 && e[0].type == BH_REPLY_STRING &&
               e[1].type == BH_REPLY_STRING) {
        tell(s, e[0].str, e[1].str);
    } else {
        bh_redis_link_drop(&s->link, BH_EPROTO, "not what a Sentinel answers");
    }
}

/* "<master> <old host> <old port> <new host> <new port>" */
static void on_switch(struct bh_redis_sentinel *s, struct bh_slice text) {
    struct bh_slice word[5];
    size_t count = 0;
    while (count < 5 && bh_slice_split(&text, ' ', &word[count]))
        count++;
    if (count == 5 && bh_slice_eq(word[0], bh_slice_cstr(s->of->master)))
        tell(s, word[3], word[4]);
}

static void on_push(struct bh_redis_link *link, const struct bh_reply *reply) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    const struct bh_reply *e = reply->elements;
    s->heard = true;
    if (reply->type == BH_REPLY_ERROR)
        bh_redis_link_drop(link, BH_EDENIED, "a Sentinel refuses to tell of failovers");
    else if (reply->type == BH_REPLY_ARRAY && reply->count == 3 && e[0].type == BH_REPLY_STRING &&
             e[2].type == BH_REPLY_STRING && bh_slice_eq(e[0].str, BH_SLICE("message")))
        on_switch(s, e[2].str);
}

/* --- what we say --- */

static void ask(struct bh_redis_sentinel *s) {
    static const struct bh_slice head =
        BH_SLICE("*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n");
    struct bh_slice name = bh_slice_cstr(s->of->master);
    const char *why;
    char *p = bh_redis_link_begin(&s->link, head.n + BH_RESP_BULK_MAX(name.n), &why);
    if (p)
        bh_redis_link_commit(&s->link, bh_resp_bulk(bh_resp_bytes(p, head), name),
                             &(struct bh_redis_completion){.fire = on_address, .ud = s});
}

static void say(struct bh_redis_sentinel *s, struct bh_slice command) {
    const char *why;
    char *p = bh_redis_link_begin(&s->link, command.n, &why);
    if (p)
        bh_redis_link_commit(&s->link, bh_resp_bytes(p, command), NULL);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(t, struct bh_redis_sentinel, timer);
    if (!s->heard) {
        bh_redis_link_drop(&s->link, BH_ETIMEDOUT, "a Sentinel does not answer");
        return;
    }
    s->heard = false;
    say(s, BH_SLICE("*1\r\n$4\r\nPING\r\n"));
    bh_timer_set(&s->timer, s->of->command_timeout_ms);
}

/* --- the link --- */

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    ask(s);
    if (!s->watching)
        return;
    say(s, BH_SLICE("*2\r\n$9\r\nSUBSCRIBE\r\n$14\r\n+switch-master\r\n"));
    s->heard = false;
    bh_timer_set(&s->timer, s->of->command_timeout_ms);
}

static void on_failed(struct bh_redis_link *link) {
    struct bh_redis_sentinel *s = BH_CONTAINER_OF(link, struct bh_redis_sentinel, link);
    bh_timer_cancel(&s->timer);
    if (s->asker) /* for whoever looks at the readiness */
        atomic_store(&s->asker->trouble, atomic_load(&link->trouble));
    turn_to_next(s);
}

static const struct bh_redis_link_callbacks ask_callbacks = {
    .on_up = on_up, .on_down = on_failed, .on_failed = on_failed, .brief = true};
static const struct bh_redis_link_callbacks watch_callbacks = {
    .on_up = on_up, .on_down = on_failed, .on_push = on_push, .on_failed = on_failed};

/* --- life --- */

static void on_reap(struct bh_defer *d) {
    bh_free(BH_CONTAINER_OF(d, struct bh_redis_sentinel, reap));
}

void bh_redis_sentinel_init(struct bh_redis_sentinel *s, const struct bh_redis_config *config,
                            struct bh_redis_link *asker) {
    uint64_t timeout = config->connect_timeout_ms;
    *s = (struct bh_redis_sentinel){.of = config, .config = *config, .asker = asker};
    bh_defer_init(&s->reap, on_reap);
    s->at = bh_random_below(count_of(config->sentinels)); /* not all of us to the first one */
    s->config.host = s->host;
    s->config.user = config->sentinel_user;
    s->config.password = config->sentinel_password;
    s->config.sentinels = s->config.master = NULL;
    s->config.database = 0;
    s->config.connect_timeout_ms =
        timeout < BH_REDIS_SENTINEL_TIMEOUT_MS ? timeout : BH_REDIS_SENTINEL_TIMEOUT_MS;
    turn_to_next(s);
}

static void start(struct bh_redis_sentinel *s, struct bh_loop *loop,
                  const struct bh_redis_link_callbacks *callbacks, bh_redis_sentinel_cb on_master) {
    s->on_master = on_master;
    bh_timer_init(&s->timer, loop, on_timer);
    bh_redis_link_start(&s->link, loop, &s->config, s->watching ? "sentinel-watch" : "sentinel",
                        callbacks);
}

void bh_redis_sentinel_ask(struct bh_redis_sentinel *s, struct bh_loop *loop,
                           struct bh_tls_connector *tls, bh_redis_sentinel_cb on_master) {
    s->watching = false;
    start(s, loop, &ask_callbacks, on_master);
    s->link.tls = tls ? bh_tls_connector_ref(tls) : NULL; /* needed in a later tick at first */
}

void bh_redis_sentinel_watch(struct bh_redis_sentinel *s, struct bh_loop *loop,
                             bh_redis_sentinel_cb on_master) {
    s->watching = true;
    start(s, loop, &watch_callbacks, on_master);
}

void bh_redis_sentinel_stop(struct bh_redis_sentinel *s) {
    if (s->link.state == BH_REDIS_IDLE)
        return;
    bh_timer_cancel(&s->timer);
    bh_redis_link_stop(&s->link);
}

void bh_redis_sentinel_free(struct bh_redis_sentinel *s, struct bh_loop *loop) {
    bh_redis_sentinel_stop(s);
    bh_defer(loop, BH_PHASE_REAP, &s->reap);
}

void bh_redis_sentinel_note(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    snprintf(s->master_host, sizeof s->master_host, "%s", host);
    s->master_port = port;
}
