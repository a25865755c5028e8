/* http_server.h - the HTTP side of one worker: its listeners, its connections, the requests under
 * way.
 *
 * Embedded in struct bh_edge. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HTTP_SERVER_H
#define BELLHOP_EDGE_HTTP_SERVER_H

#include "bellhop/edge/config.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/tls.h"
#include "bellhop/proto/http1.h"
#include "limits/admission.h"

struct bh_batches;
struct bh_pages;
struct bh_http_conn_ops;
struct bh_sse_server;

struct bh_http_listener {
    struct bh_http_server *server;
    struct bh_listener *listener;
    struct bh_addr address;
    bool proxy, tls, admin;
    char text[BH_ADDR_TEXT_MAX];
};

struct bh_http_server {
    const struct bh_edge_config *config;
    struct bh_worker *worker;
    struct bh_loop *loop;
    struct bh_admission *admission;
    const struct bh_hold_ops *hold_ops;
    const struct bh_http_conn_ops *ops;
    struct bh_batches *batches; /* of the API (api/batch.h) */
    struct bh_sse_server *sse;  /* gets the requests for server-sent events */
    struct bh_pages *pages;     /* of the API (api/page.h) */
    struct bh_tls *tls;         /* NULL: no listener needs it */
    struct bh_http_limits limits;
    struct bh_list conns;                  /* struct bh_http_conn */
    struct bh_list places[BH_PLACE_COUNT]; /* those that hold one, the oldest first */
    struct bh_slots requests;              /* under way -> struct bh_http_conn */
    struct bh_http_listener *listeners;
    size_t listener_count;
    unsigned evictions; /* of connections that had not sent a request */
};

void bh_http_server_init(struct bh_http_server *s, const struct bh_edge_config *config,
                         struct bh_worker *worker, struct bh_admission *admission,
                         const struct bh_http_conn_ops *ops);
/* Frees the connections that are left. */
void bh_http_server_deinit(struct bh_http_server *s);
/* 0, or the error of listener *which. */
int bh_http_server_listen(struct bh_http_server *s, const struct bh_edge_listen *listen,
                          size_t count, size_t *which);
/* Closes the listeners, and refuses upgrades in progress. */
void bh_http_server_refuse(struct bh_http_server *s);
/* Connections end, those with a request when it is answered. */
void bh_http_server_drain(struct bh_http_server *s);
/* Closes the listeners and every connection; a request in progress is answered with 503. */
void bh_http_server_abort(struct bh_http_server *s);

#endif
