/* edge.h - everything that faces a socket: listeners, HTTP and WebSocket connections, the API.
 *
 * One struct bh_edge for each worker, created before and run on that worker's thread. */
#ifndef BELLHOP_EDGE_EDGE_H
#define BELLHOP_EDGE_EDGE_H

#include "bellhop/core/node.h"
#include "bellhop/io/cidr.h"
#include "bellhop/io/tls.h"
#include "bellhop/proto/ws_deflate.h"

struct bh_edge_listen { /* where to listen, and what comes first on a connection */
    struct bh_addr address;
    bool proxy; /* a PROXY header, from trusted addresses only */
    bool tls;
};

struct bh_edge_config { /* shared by all workers, immutable, outlives them */
    int backlog;
    bool dev; /* demo page, no keys, query identity; the app has checked that all is loopback */
    const struct bh_slice *api_keys;
    size_t api_key_count;
    const struct bh_slice *ws_paths; /* patterns (core/path.h), checked */
    size_t ws_path_count;

    size_t http_head_bytes, http_body_bytes;
    uint64_t http_idle_ms;    /* keep-alive */
    uint64_t http_request_ms; /* from the first byte of a request to its last: slow-loris */
    uint64_t handshake_ms;    /* from the upgrade request to the 101: hooks and broker */
    uint64_t message_bytes;   /* WebSocket, from clients */
    uint32_t fragments;
    uint64_t ping_interval_ms; /* 25000 */
    uint64_t pong_timeout_ms;  /* 8000 */
    uint64_t close_timeout_ms; /* 5000: for the peer's close frame */
    uint64_t tls_handshake_ms; /* PROXY header and TLS handshake */

    size_t connections_max;    /* of the process; 0: no limit */
    size_t connections_per_ip; /* 0: BH_EDGE_PER_IP_DEFAULT, and none for loopback and unix */
    size_t connections_per_user, connections_per_tenant; /* WebSockets; 0: no limit */
    uint64_t accepts_per_second;                         /* of one worker; 0: no limit */
    /* From one WebSocket connection, 0: no limit. Over the first two it is read more slowly, over
     * the third (pings and pongs) it is closed with 1008. */
    uint64_t messages_per_second, bytes_per_second, control_per_second;
    size_t queue_bytes; /* of one connection; over it: on_slow */
    enum bh_slow on_slow;

    const struct bh_cidr *trusted; /* proxies whose word about the client's address counts */
    size_t trusted_count;
    const struct bh_slice *origins; /* patterns (src/edge/limits/origin.h) for WebSockets */
    size_t origin_count;
    bool origin_required;        /* a WebSocket without Origin is refused */
    const struct bh_slice *cors; /* patterns for pages that may use the API */
    size_t cors_count;

    struct bh_ws_deflate_config deflate;
    size_t deflate_threshold;     /* smaller payloads go as they are */
    bool client_messages_refused; /* no on_message hook: true closes 1008, false drops */

    /* POST /api/reload was asked on this worker. Leads to one bh_edge_reloaded with the handle, on
     * that worker's thread, maybe before it returns. NULL: 501. */
    void (*reload)(void *ud, struct bh_worker *worker, bh_handle handle);
    void *reload_ud;
};

#define BH_EDGE_PER_IP_DEFAULT 1000

/* Is it a pattern of origins? 0 or BH_EINVAL with *why. */
int bh_edge_check_origin(struct bh_slice pattern, const char **why);

/* Does a built-in endpoint answer at this path, whatever the method? No script gets it then. (The
 * demo page of --dev does not count: a script's endpoint goes before it.) */
bool bh_edge_has_path(struct bh_slice path);

struct bh_edge; /* opaque */

struct bh_edge *bh_edge_new(const struct bh_edge_config *config, struct bh_worker *worker);
/* Worker's thread, or before it runs. What new connections on TLS listeners get from now on; takes
 * a reference of its own. Needed before bh_edge_listen when one of the listeners is TLS. */
void bh_edge_set_tls(struct bh_edge *e, struct bh_tls *tls);
/* Worker's thread or before it runs: opens the listeners. 0 or a listener's error, *which tells the
 * address. When addresses have port 0, worker 0 picks and the others are given its port: see
 * bh_edge_address. */
int bh_edge_listen(struct bh_edge *e, const struct bh_edge_listen *listen, size_t count,
                   size_t *which);
/* The bound address of listener i. */
const struct bh_addr *bh_edge_address(const struct bh_edge *e, size_t i);
/* Worker's thread. What became of a reload: 0 and the generation that serves now, BH_EEXIST when
 * another one is under way, or another error and why (borrowed). A client that has gone is not
 * missed. */
void bh_edge_reloaded(struct bh_edge *e, bh_handle handle, int error, unsigned generation,
                      struct bh_slice why);
/* Worker's thread. Stops accepting, finishes HTTP requests under way, closes WebSockets with 1001;
 * on_drained fires once when no connection is left (maybe at once). */
void bh_edge_drain(struct bh_edge *e, void (*on_drained)(void *ud), void *ud);
/* Worker's thread, or after it has ended: closes the listeners and drops every connection now;
 * on_close hooks are started. Harmless a second time. */
void bh_edge_abort(struct bh_edge *e);
/* Last: what is under way (publishes, questions, scripts) completes into the edge, so it goes after
 * the broker's worker side, the script and the worker's thread (mailbox, loop) have been stopped
 * and freed, and after bh_edge_abort. The node goes after it. */
void bh_edge_free(struct bh_edge *e);

void bh_edge_metrics_register(void);

#endif
