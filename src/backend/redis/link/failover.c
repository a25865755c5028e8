/* failover.c - one watch over the Sentinels for all links of a broker, and their locators.
 *
 * The watch runs on the bus, the links on any thread, so each locator has a mailbox on the loop of
 * its link. A mail names the locator and not the link: a locator outlives its link until the end of
 * the tick, without a link, so that mails still under way find nothing to do. */
#include "link/failover.h"

#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/mailbox.h"
#include "link/metrics.h"

#include <stdio.h>

struct locator {
    struct bh_redis_locator base;
    struct bh_list node; /* in failover->locators */
    struct bh_redis_failover *failover;
    struct bh_redis_link *link; /* NULL: it has not asked yet, or has stopped */
    struct bh_redis_sentinel sentinel;
    struct bh_redis_master master;
    bool master_hint; /* master has been noted, and is the next answer */
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_defer reap;
};

static struct locator *of(struct bh_redis_locator *l) {
    return BH_CONTAINER_OF(l, struct locator, base);
}

static void set_master(struct bh_redis_master *m, const char *host, uint16_t port) {
    snprintf(m->host, sizeof m->host, "%s", host);
    m->port = port;
}

/* --- the locator of a link --- */

static void on_found(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    struct locator *l = BH_CONTAINER_OF(s, struct locator, sentinel);
    set_master(&l->master, host, port);
    bh_redis_link_found(l->link, l->master.host, port);
}

static void ask(struct bh_redis_locator *base, struct bh_redis_link *link) {
    struct locator *l = of(base);
    bool hint = l->master_hint;
    l->link = link;
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

static void on_reap(struct bh_defer *d) {
    struct locator *l = BH_CONTAINER_OF(d, struct locator, reap);
    bh_mailbox_free(l->mailbox);
    bh_free(l);
}

static void free_locator(struct bh_redis_locator *base) {
    struct locator *l = of(base);
    pthread_mutex_lock(&l->failover->lock);
    bh_list_unlink(&l->node);
    pthread_mutex_unlock(&l->failover->lock);
    l->link = NULL;
    bh_defer(l->loop, BH_PHASE_REAP, &l->reap);
}

static const struct bh_redis_locator_vt locator_vt = {ask, stop, note, free_locator};

struct bh_redis_locator *bh_redis_failover_locator(struct bh_redis_failover *f,
                                                   struct bh_loop *loop) {
    if (!f->config->sentinels)
        return NULL;
    struct locator *l = bh_calloc(1, sizeof *l);
    l->base.vt = &locator_vt;
    l->failover = f;
    l->loop = loop;
    l->mailbox = bh_mailbox_new(loop);
    bh_list_init(&l->node);
    bh_defer_init(&l->reap, on_reap);
    bh_redis_sentinel_init(&l->sentinel, f->config);
    pthread_mutex_lock(&f->lock);
    bh_list_append(&f->locators, &l->node);
    pthread_mutex_unlock(&f->lock);
    return &l->base;
}

/* --- the watch --- */

struct news {
    struct bh_mail mail;
    struct locator *locator;
    struct bh_redis_master master;
};

static void on_news(struct bh_mail *mail) {
    struct news *n = BH_CONTAINER_OF(mail, struct news, mail);
    if (n->locator->link)
        bh_redis_link_move(n->locator->link, n->master.host, n->master.port);
    bh_free(n);
}

static void post_news(struct locator *l, const struct bh_redis_master *master) {
    struct news *n = bh_calloc(1, sizeof *n);
    n->mail.fn = on_news;
    n->locator = l;
    n->master = *master;
    if (bh_mailbox_post(l->mailbox, &n->mail) != 0)
        bh_free(n);
}

static void on_master(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    struct bh_redis_failover *f = BH_CONTAINER_OF(s, struct bh_redis_failover, watch);
    if (f->master.port != port || strcmp(f->master.host, host) != 0) {
        bh_info("master announced by Sentinel", bh_kv_str("master", f->config->master),
                bh_kv_str("host", host), bh_kv_int("port", port));
        if (f->master.port)
            bh_metric_inc(&bh_redis_metrics[BH_REDIS_FAILOVERS]);
        set_master(&f->master, host, port);
    }
    pthread_mutex_lock(&f->lock);
    for (struct bh_list *at = f->locators.next; at != &f->locators; at = at->next)
        post_news(BH_CONTAINER_OF(at, struct locator, node), &f->master);
    pthread_mutex_unlock(&f->lock);
}

/* --- life --- */

void bh_redis_failover_init(struct bh_redis_failover *f, const struct bh_redis_config *config) {
    *f = (struct bh_redis_failover){.config = config};
    pthread_mutex_init(&f->lock, NULL);
    bh_list_init(&f->locators);
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
    pthread_mutex_destroy(&f->lock);
}
