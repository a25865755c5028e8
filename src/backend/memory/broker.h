/* broker.h - what the history of this process needs of its broker. */
#ifndef BELLHOP_SRC_MEMORY_BROKER_H
#define BELLHOP_SRC_MEMORY_BROKER_H

#include "bellhop/core/broker.h"

/* Another reference: the broker lives until it is given back by vt->free. */
struct bh_broker *bh_memory_broker_ref(struct bh_broker *b);
/* Any thread: a mail to the bus, behind what was published before. 0, or BH_EUNAVAIL before the
 * start; BH_ECLOSED. */
int bh_memory_broker_post(struct bh_broker *b, struct bh_mail *mail);
/* Bus thread: on_message, at once; nothing after the stop. Borrows m. */
void bh_memory_broker_bring(struct bh_broker *b, struct bh_message *m);

#endif
