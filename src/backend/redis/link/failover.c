/* failover.c - one watch over the Sentinels for all links of a broker, and their locators. */
#include "link/failover.h"

#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "link/metrics.h"

#include <stdio.h>

struct locator {
    struct bh_redis_located located;
    struct bh_redis_failover *failover;
    struct bh_redis_sentinel sentinel;
    struct bh_redis_master master;
    bool master_hint; /* master has been noted, and is the next answer */
};

static struct locator *of(struct bh_redis_locator *l) {
    return BH_CONTAINER_OF(l, struct locator, located.base);
}

static void set_master(struct bh_redis_master *m, const char *host, uint16_t port) {
    snprintf(m->host, sizeof m->host, "%s", host);
    m->port = port;
}

/* --- the locator of a link --- */

static void on_found(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    struct locator *l = BH_CONTAINER_OF(s, struct locator, sentinel);
    set_master(&l->master, host, port);
    bh_redis_link_found(l->located.link, l->master.host, port);
}

static void ask(struct bh_redis_locator *base, struct bh_redis_link *link) {
    struct locator *l = of(base);
    bool hint = l->master_hint;
    l->located.link = link;
    l->master_hint = false;
    if (hint)
        bh_redis_link_found(link, l->master.host, l->master.port);
    else
        bh_redis_sentinel_ask(&l->sentinel, link, on_found);
}

static void stop(struct bh_redis_locator *base) {
    bh_redis_sentinel_stop(&of(base)->sentinel);
}

static void note(struct bh_redis_locator *base, const char *host, uint16_t port) {
    set_master(&of(base)->master, host, port);
    of(base)->master_hint = true;
}

static void on_news(struct bh_redis_located *located) {
    struct bh_redis_failover *f = of(&located->base)->failover;
    pthread_mutex_lock(&f->locators.lock);
    struct bh_redis_master master = f->master;
    pthread_mutex_unlock(&f->locators.lock);
    bh_redis_link_move(located->link, master.host, master.port);
}

static const struct bh_redis_locator_vt locator_vt = {ask, stop, note, bh_redis_located_free};

struct bh_redis_locator *bh_redis_failover_locator(struct bh_redis_failover *f,
                                                   struct bh_loop *loop) {
    if (!f->config->sentinels)
        return NULL;
    struct locator *l = bh_calloc(1, sizeof *l);
    l->located.base.vt = &locator_vt;
    l->located.on_news = on_news;
    l->failover = f;
    bh_redis_sentinel_init(&l->sentinel, f->config);
    bh_redis_located_init(&l->located, &f->locators, loop);
    return &l->located.base;
}

/* --- the watch --- */

static void on_master(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    struct bh_redis_failover *f = BH_CONTAINER_OF(s, struct bh_redis_failover, watch);
    if (f->master.port != port || strcmp(f->master.host, host) != 0) {
        bh_info("master announced by Sentinel", bh_kv_str("master", f->config->master),
                bh_kv_str("host", host), bh_kv_int("port", port));
        if (f->master.port)
            bh_metric_inc(&bh_redis_metrics[BH_REDIS_FAILOVERS]);
        pthread_mutex_lock(&f->locators.lock);
        set_master(&f->master, host, port);
        pthread_mutex_unlock(&f->locators.lock);
    }
    bh_redis_locators_tell(&f->locators);
}

/* --- life --- */

void bh_redis_failover_init(struct bh_redis_failover *f, const struct bh_redis_config *config) {
    *f = (struct bh_redis_failover){.config = config};
    bh_redis_locators_init(&f->locators);
}

void bh_redis_failover_start(struct bh_redis_failover *f, struct bh_loop *bus) {
    if (!f->config->sentinels)
        return;
    bh_redis_sentinel_init(&f->watch, f->config);
    bh_redis_sentinel_watch(&f->watch, bus, on_master);
}

void bh_redis_failover_stop(struct bh_redis_failover *f) {
    bh_redis_sentinel_stop(&f->watch);
}

void bh_redis_failover_deinit(struct bh_redis_failover *f) {
    bh_redis_locators_deinit(&f->locators);
}
