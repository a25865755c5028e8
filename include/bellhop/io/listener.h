/* listener.h - accepting connections.
 *
 * Each worker binds its own listener with SO_REUSEPORT; the kernel spreads. At most a budget of
 * connections is accepted for each tick, so that those already open are served in between. When the
 * process is out of file descriptors (EMFILE, ENFILE, ENOBUFS, ENOMEM) the listener pauses for
 * 100 ms instead of spinning, and logs once a second at most. Accepted sockets are non-blocking,
 * close-on-exec, TCP_NODELAY. Thread: the loop's. */
#ifndef BELLHOP_IO_LISTENER_H
#define BELLHOP_IO_LISTENER_H

#include "bellhop/io/addr.h"

struct bh_listener; /* opaque */

/* on_accept owns fd from then on. */
typedef void (*bh_accept_cb)(void *ud, int fd, const struct bh_addr *peer);

/* 0, or BH_EEXIST (address in use), BH_EDENIED (no permission), BH_EIO. Port 0 picks a free one. */
int bh_listener_open(struct bh_listener **out, struct bh_loop *loop, const struct bh_addr *address,
                     int backlog, bh_accept_cb on_accept, void *ud);
/* Because our own listeners share their port, a second process of the same user would share it too,
 * and silently get half of the connections. So ask first: BH_EEXIST when somebody listens there,
 * else 0. (Unix sockets are not shared: 0.) */
int bh_listener_probe(const struct bh_addr *address);
/* What it is bound to (with the real port). */
const struct bh_addr *bh_listener_addr(const struct bh_listener *l);
/* At most so many a second (and as many at once); the others wait in the backlog. 0: no limit. */
void bh_listener_limit(struct bh_listener *l, uint64_t per_second);
/* Stops accepting and frees. Not from inside on_accept. */
void bh_listener_close(struct bh_listener *l);

void bh_listener_metrics_register(void);

#endif
