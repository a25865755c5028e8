/* handshake.h - the first commands of a connection, up to READY. Private to the link. */
#ifndef BELLHOP_BACKEND_REDIS_HANDSHAKE_H
#define BELLHOP_BACKEND_REDIS_HANDSHAKE_H

#include "link/link.h"

/* Queues the commands; each ends by bh_redis_link_drop or, the last, by bh_redis_link_ready. */
void bh_redis_handshake(struct bh_redis_link *link);
/* The handshake has succeeded. */
void bh_redis_link_ready(struct bh_redis_link *link);

#endif
