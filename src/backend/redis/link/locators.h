/* locators.h - the locators of links on many threads, which one of them, the bus, tells its news.
 * Private to the backend.
 *
 * Embed struct bh_redis_located first in a locator on the heap. */
#ifndef BELLHOP_BACKEND_REDIS_LOCATORS_H
#define BELLHOP_BACKEND_REDIS_LOCATORS_H

#include "bellhop/base/list.h"
#include "bellhop/io/mailbox.h"
#include "link/link.h"

#include <pthread.h>

struct bh_redis_locators {
    pthread_mutex_t lock; /* of the list, and of what the news are */
    struct bh_list list;
};

struct bh_redis_located {
    struct bh_redis_locator base;
    struct bh_redis_link *link; /* set by the first `ask`; NULL before, and after the link's end */
    struct bh_redis_locators *all;
    /* There are news, and `link` is not NULL; on the thread of the link. */
    void (*on_news)(struct bh_redis_located *l);
    struct bh_list node; /* in all->list */
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_defer reap;
};

void bh_redis_locators_init(struct bh_redis_locators *all);
void bh_redis_locators_deinit(struct bh_redis_locators *all); /* when all links have stopped */
/* To all of them. Any thread. */
void bh_redis_locators_tell(struct bh_redis_locators *all);

/* On the thread of the link, whose loop it is. `base` and `on_news` are set. */
void bh_redis_located_init(struct bh_redis_located *l, struct bh_redis_locators *all,
                           struct bh_loop *loop);
/* The `free` of such a locator. */
void bh_redis_located_free(struct bh_redis_locator *base);

#endif
