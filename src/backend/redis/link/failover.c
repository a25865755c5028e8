/* failover.c - one watch over the Sentinels for all links of a broker.
 *
 * The watch lives on the bus, the links on any thread, so each follower has a mailbox on the loop
 * of its link. A mail names the follower and not the link: a link that has stopped leaves its
 * follower behind for the rest of the tick, with no link, so that mails still under way find
 * nothing to do. */
#include "link/failover.h"

#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/mailbox.h"
#include "link/metrics.h"

struct bh_redis_follower {
    struct bh_list node;
    struct bh_redis_failover *failover;
    struct bh_redis_link *link; /* NULL: it has stopped */
    struct bh_mailbox *mailbox;
    struct bh_defer reap;
};

struct news {
    struct bh_mail mail;
    struct bh_redis_follower *follower;
    uint16_t port;
    char host[BH_REDIS_HOST_MAX + 1];
};

static void on_news(struct bh_mail *mail) {
    struct news *n = BH_CONTAINER_OF(mail, struct news, mail);
    if (n->follower->link)
        bh_redis_link_tell_master(n->follower->link, n->host, n->port);
    bh_free(n);
}

static void tell(struct bh_redis_follower *follower, const char *host, uint16_t port) {
    struct news *n = bh_calloc(1, sizeof *n);
    n->mail.fn = on_news;
    n->follower = follower;
    n->port = port;
    memcpy(n->host, host, strlen(host) + 1);
    if (bh_mailbox_post(follower->mailbox, &n->mail) != 0)
        bh_free(n);
}

static void on_master(struct bh_redis_sentinel *s, const char *host, uint16_t port) {
    struct bh_redis_failover *f = BH_CONTAINER_OF(s, struct bh_redis_failover, watch);
    if (s->master_port != port || strcmp(s->master_host, host) != 0) {
        bh_info("Sentinel names the master", bh_kv_str("master", f->config->master),
                bh_kv_str("host", host), bh_kv_int("port", port));
        if (s->master_port)
            bh_metric_inc(&bh_redis_metrics[BH_REDIS_FAILOVERS]);
        bh_redis_sentinel_note(s, host, port);
    }
    pthread_mutex_lock(&f->lock);
    for (struct bh_list *at = f->followers.next; at != &f->followers; at = at->next)
        tell(BH_CONTAINER_OF(at, struct bh_redis_follower, node), host, port);
    pthread_mutex_unlock(&f->lock);
}

/* --- followers --- */

void bh_redis_failover_follow(struct bh_redis_failover *f, struct bh_redis_link *link) {
    if (!f->config->sentinels)
        return;
    struct bh_redis_follower *one = link->follower = bh_calloc(1, sizeof *one);
    bh_list_init(&one->node);
    one->failover = f;
    one->link = link;
    one->mailbox = bh_mailbox_new(link->loop);
    pthread_mutex_lock(&f->lock);
    bh_list_append(&f->followers, &one->node);
    pthread_mutex_unlock(&f->lock);
}

static void on_reap(struct bh_defer *d) {
    struct bh_redis_follower *one = BH_CONTAINER_OF(d, struct bh_redis_follower, reap);
    bh_mailbox_free(one->mailbox);
    bh_free(one);
}

void bh_redis_failover_leave(struct bh_redis_follower *follower) {
    if (!follower)
        return;
    pthread_mutex_lock(&follower->failover->lock);
    bh_list_unlink(&follower->node);
    pthread_mutex_unlock(&follower->failover->lock);
    bh_defer_init(&follower->reap, on_reap);
    bh_defer(follower->link->loop, BH_PHASE_REAP, &follower->reap);
    follower->link = NULL;
}

/* --- life --- */

void bh_redis_failover_init(struct bh_redis_failover *f, const struct bh_redis_config *config) {
    *f = (struct bh_redis_failover){.config = config};
    pthread_mutex_init(&f->lock, NULL);
    bh_list_init(&f->followers);
}

void bh_redis_failover_start(struct bh_redis_failover *f, struct bh_loop *bus) {
    if (!f->config->sentinels)
        return;
    bh_redis_sentinel_init(&f->watch, f->config, NULL);
    bh_redis_sentinel_watch(&f->watch, bus, on_master);
}

void bh_redis_failover_stop(struct bh_redis_failover *f) {
    bh_redis_sentinel_stop(&f->watch);
}

void bh_redis_failover_deinit(struct bh_redis_failover *f) {
    pthread_mutex_destroy(&f->lock);
}
