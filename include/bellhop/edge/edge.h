/* edge.h - listeners, HTTP and WebSocket connections, and the HTTP API.
 *
 * One struct bh_edge for each worker, created before and run on that worker's thread. */
#ifndef BELLHOP_EDGE_EDGE_H
#define BELLHOP_EDGE_EDGE_H

#include "bellhop/edge/config.h"
#include "bellhop/io/tls.h"

/* Checks a pattern for origins (websocket.origins, api.cors_origins): 0, or BH_EINVAL with *why. */
int bh_edge_check_origin(struct bh_slice pattern, const char **why);

/* Does a built-in endpoint have this path, with any method? Then no script can have it. (The demo
 * page of --dev does not count: a script's endpoint goes first.) */
bool bh_edge_has_path(struct bh_slice path);

struct bh_edge; /* opaque */

struct bh_edge *bh_edge_new(const struct bh_edge_config *config, struct bh_worker *worker);
/* Worker's thread, or before it runs. For new connections on TLS listeners; takes a reference of
 * its own. Needed before bh_edge_listen when one of the listeners is TLS. */
void bh_edge_set_tls(struct bh_edge *e, struct bh_tls *tls);
/* Worker's thread or before it runs: opens the listeners. 0, or the error of listener *which. With
 * port 0, worker 0 gets a free port, which the caller passes to the others: see bh_edge_address. */
int bh_edge_listen(struct bh_edge *e, const struct bh_edge_listen *listen, size_t count,
                   size_t *which);
/* The bound address of listener i. */
const struct bh_addr *bh_edge_address(const struct bh_edge *e, size_t i);
/* Worker's thread. The result of a reload: 0 and the new generation, BH_EEXIST when another reload
 * is in progress, or another error and why (borrowed). Ignored when the client has disconnected. */
void bh_edge_reloaded(struct bh_edge *e, bh_handle handle, int error, unsigned generation,
                      struct bh_slice why);
/* Worker's thread. Stops accepting. From now on handshakes and publishes get 503, and each answer
 * ends its connection; open WebSockets and requests in progress go on. */
void bh_edge_refuse(struct bh_edge *e);

struct bh_edge_drain {
    size_t clients;     /* WebSockets and SSE links of all workers, when their drains begin */
    uint64_t spread_ms; /* more than BH_EDGE_DRAIN_AT_ONCE of them close over this time */
    void (*on_drained)(void *ud);
    void *ud;
};

#define BH_EDGE_DRAIN_AT_ONCE 200

/* Worker's thread. Refuses as above, finishes the HTTP requests in progress, closes WebSockets and
 * SSE links with 1001: this worker's share of BH_EDGE_DRAIN_AT_ONCE at once, the others evenly over
 * the time. on_drained fires once when no connection is left (maybe at once). */
void bh_edge_drain(struct bh_edge *e, const struct bh_edge_drain *drain);
/* Worker's thread, or after it has ended: closes the listeners and drops every connection now;
 * requests in progress are answered with 503, on_close hooks are started. Harmless a second time.
 */
void bh_edge_abort(struct bh_edge *e);
/* After bh_edge_abort, and after the broker's worker side, the script and the worker's thread
 * (mailbox, loop) have been stopped and freed: their operations complete into the edge. Before the
 * node is freed. */
void bh_edge_free(struct bh_edge *e);

/* Open sockets of the process, HTTP and WebSocket. Any thread. */
size_t bh_edge_socket_count(void);

void bh_edge_metrics_register(void);

#endif
