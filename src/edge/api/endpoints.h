/* endpoints.h - the endpoints of the built-in routes. Each answers its request exactly once, maybe
 * later. Thread: the worker's. */
#ifndef BELLHOP_EDGE_ENDPOINTS_H
#define BELLHOP_EDGE_ENDPOINTS_H

#include "http/http_conn.h"

/* publish.c */
void bh_api_user_message(struct bh_http_conn *c);
void bh_api_tenant_message(struct bh_http_conn *c);
void bh_api_topic_message(struct bh_http_conn *c);
void bh_api_broadcast(struct bh_http_conn *c);

/* history.c */
void bh_api_history(struct bh_http_conn *c);
void bh_api_history_purge(struct bh_http_conn *c);
void bh_api_history_remove(struct bh_http_conn *c);

/* inbox.c */
void bh_api_inbox(struct bh_http_conn *c);

/* batch.c */
void bh_api_batch(struct bh_http_conn *c);

/* users.c */
void bh_api_user(struct bh_http_conn *c);
void bh_api_tenant(struct bh_http_conn *c);
void bh_api_users_online(struct bh_http_conn *c);
void bh_api_disconnect(struct bh_http_conn *c);

/* reload.c */
void bh_api_reload(struct bh_http_conn *c);
/* See bh_edge_reloaded. */
void bh_api_reloaded(struct bh_http_server *s, bh_handle handle, int error, unsigned generation,
                     struct bh_slice why);

/* ops.c */
void bh_ops_healthz(struct bh_http_conn *c);
void bh_ops_readyz(struct bh_http_conn *c);
void bh_ops_metrics(struct bh_http_conn *c);

/* assets.c */
void bh_asset_get(struct bh_http_conn *c);

#endif
