/* listener.h - accepting connections.
 *
 * Each worker binds its own listener with SO_REUSEPORT; the kernel distributes connections. The
 * number accepted per tick is limited, so that open connections are served in between. When the
 * process runs out of file descriptors, or of memory, and nothing can be done about it, the
 * listener pauses for 100 ms instead of spinning, and logs at most once a second. Accepted sockets
 * are non-blocking, close-on-exec, TCP_NODELAY. Thread: the loop's. */
#ifndef BELLHOP_IO_LISTENER_H
#define BELLHOP_IO_LISTENER_H

#include "bellhop/io/addr.h"

struct bh_listener; /* opaque */

/* on_accept takes over fd. */
typedef void (*bh_accept_cb)(void *ud, int fd, const struct bh_addr *peer);

/* 0, or BH_EEXIST (address in use), BH_EDENIED (no permission), BH_EUNAVAIL (no such address on
 * this machine), BH_ENOTFOUND (no directory for a unix socket), BH_EIO. Port 0 picks a free one. */
int bh_listener_open(struct bh_listener **out, struct bh_loop *loop, const struct bh_addr *address,
                     int backlog, bh_accept_cb on_accept, void *ud);
/* Our own listeners share their port, so a second process of the same user could share it too and
 * silently get half of the connections. Call this first: 0, or an error as above. Of a unix socket
 * only the directory is looked at. */
int bh_listener_probe(const struct bh_addr *address);
/* The address it is bound to, with the real port. */
const struct bh_addr *bh_listener_addr(const struct bh_listener *l);
/* Limits accepts per second, which is also the burst; further connections wait in the backlog. 0:
 * no limit. */
void bh_listener_limit(struct bh_listener *l, uint64_t per_second);
/* Called when no descriptor is left, the spare ones included (descriptors.h). True: the owner has
 * closed one, and accepting goes on. */
void bh_listener_on_exhausted(struct bh_listener *l, bool (*on_exhausted)(void *ud));
/* Inside of a callback: at most one more connection in this tick. */
void bh_listener_yield(struct bh_listener *l);
/* Stops accepting and frees. Not from inside on_accept. */
void bh_listener_close(struct bh_listener *l);

void bh_listener_metrics_register(void);

#endif
