/* locators.c - the locators of links on many threads.
 *
 * The news come from the bus, the links run on any thread, so each locator has a mailbox on the
 * loop of its link. A mail names the locator and not the link: a locator outlives its link until
 * the end of the tick, without a link, so that mails still under way find nothing to do. */
#include "link/locators.h"

#include "bellhop/base/mem.h"

struct news {
    struct bh_mail mail;
    struct bh_redis_located *locator;
};

static void on_mail(struct bh_mail *mail) {
    struct news *n = BH_CONTAINER_OF(mail, struct news, mail);
    if (n->locator->link)
        n->locator->on_news(n->locator);
    bh_free(n);
}

static void post(struct bh_redis_located *l) {
    struct news *n = bh_calloc(1, sizeof *n);
    n->mail.fn = on_mail;
    n->locator = l;
    if (bh_mailbox_post(l->mailbox, &n->mail) != 0)
        bh_free(n);
}

void bh_redis_locators_tell(struct bh_redis_locators *all) {
    pthread_mutex_lock(&all->lock);
    for (struct bh_list *at = all->list.next; at != &all->list; at = at->next)
        post(BH_CONTAINER_OF(at, struct bh_redis_located, node));
    pthread_mutex_unlock(&all->lock);
}

void bh_redis_locators_init(struct bh_redis_locators *all) {
    pthread_mutex_init(&all->lock, NULL);
    bh_list_init(&all->list);
}

void bh_redis_locators_deinit(struct bh_redis_locators *all) {
    pthread_mutex_destroy(&all->lock);
}

static void on_reap(struct bh_defer *d) {
    struct bh_redis_located *l = BH_CONTAINER_OF(d, struct bh_redis_located, reap);
    bh_mailbox_free(l->mailbox);
    bh_free(l);
}

void bh_redis_located_init(struct bh_redis_located *l, struct bh_redis_locators *all,
                           struct bh_loop *loop) {
    l->all = all;
    l->loop = loop;
    l->mailbox = bh_mailbox_new(loop);
    bh_list_init(&l->node);
    bh_defer_init(&l->reap, on_reap);
    pthread_mutex_lock(&all->lock);
    bh_list_append(&all->list, &l->node);
    pthread_mutex_unlock(&all->lock);
}

void bh_redis_located_free(struct bh_redis_locator *base) {
    struct bh_redis_located *l = BH_CONTAINER_OF(base, struct bh_redis_located, base);
    pthread_mutex_lock(&l->all->lock);
    bh_list_unlink(&l->node);
    pthread_mutex_unlock(&l->all->lock);
    l->link = NULL;
    bh_defer(l->loop, BH_PHASE_REAP, &l->reap);
}
