/* config.h - what is configured for the edge: every limit, path, key and origin.
 *
 * One immutable struct, shared by all workers; it outlives them. */
#ifndef BELLHOP_EDGE_CONFIG_H
#define BELLHOP_EDGE_CONFIG_H

#include "bellhop/core/node.h"
#include "bellhop/io/cidr.h"
#include "bellhop/proto/ws_deflate.h"

struct bh_edge_listen { /* where to listen, and what precedes HTTP on a connection */
    struct bh_addr address;
    bool proxy; /* a PROXY header, from trusted addresses only */
    bool tls;
    bool admin; /* health and metrics only, independent of the limits of connections */
};

struct bh_edge_config {
    int backlog;
    bool dev; /* demo page, no keys, identity from the query; loopback only, which app checks */
    const struct bh_slice *api_keys;
    size_t api_key_count;
    const struct bh_slice *ws_paths; /* patterns (core/path.h), checked */
    size_t ws_path_count;
    const struct bh_slice *sse_paths; /* the same for server-sent events; may be none */
    size_t sse_path_count;
    uint64_t sse_retry_ms; /* after which clients of SSE come back, give or take a half */

    size_t http_head_bytes, http_body_bytes;
    uint64_t http_idle_ms;    /* keep-alive */
    uint64_t http_request_ms; /* from the first byte of a request to its last: slow-loris */
    uint64_t handshake_ms;    /* from the upgrade request to the 101: hooks and broker */
    uint64_t message_bytes;   /* WebSocket, from clients */
    /* That an unfinished message may stand still; each 10 KiB give a second back. 0: no limit. */
    uint64_t message_timeout_ms;
    uint32_t fragments;
    uint64_t ping_interval_ms; /* 25000 */
    uint64_t pong_timeout_ms;  /* 8000 */
    uint64_t close_timeout_ms; /* 5000: for the peer's close frame */
    uint64_t tls_handshake_ms; /* PROXY header and TLS handshake */

    size_t connections_max;    /* of the process; 0: no limit */
    size_t connections_per_ip; /* 0: BH_EDGE_PER_IP_DEFAULT, and none for loopback and unix */
    size_t connections_per_user, connections_per_tenant; /* WebSockets; 0: no limit */
    uint64_t accepts_per_second;                         /* of one worker; 0: no limit */
    /* From one WebSocket connection, 0: no limit. Over the first two it is read more slowly; over
     * the third (pings and pongs) it is closed with 1008. */
    uint64_t messages_per_second, bytes_per_second, control_per_second;
    size_t queue_bytes; /* of one connection; over it: on_slow */
    enum bh_slow on_slow;

    const struct bh_cidr *trusted; /* proxies that are believed about the client's address */
    size_t trusted_count;
    const struct bh_slice *origins; /* patterns (src/edge/limits/origin.h) for WebSockets */
    size_t origin_count;
    bool origin_required;        /* a WebSocket without Origin is refused */
    const struct bh_slice *cors; /* patterns for pages that may use the API */
    size_t cors_count;

    struct bh_ws_deflate_config deflate;
    size_t deflate_threshold;     /* smaller payloads are not compressed */
    size_t deflate_max;           /* nor are larger ones; 0: no limit */
    bool client_messages_refused; /* no on_message hook: true closes 1008, false drops */

    /* POST /api/reload arrived on this worker. The callee calls bh_edge_reloaded once with the
     * handle, on that worker's thread, maybe before it returns. NULL: 501. */
    void (*reload)(void *ud, struct bh_worker *worker, bh_handle handle);
    void *reload_ud;
};

#define BH_EDGE_PER_IP_DEFAULT 1000

/* Connections beyond the limits that a worker may have at once: in the reserve, of addresses for
 * administration, and while a refusal is sent, as many of each. */
#define BH_EDGE_PLACES              64
#define BH_EDGE_RESERVE_DESCRIPTORS (2 * BH_EDGE_PLACES)

#endif
