/* endpoints.h - what the routes lead to. Each answers its request exactly once. */
#ifndef BELLHOP_EDGE_ENDPOINTS_H
#define BELLHOP_EDGE_ENDPOINTS_H

#include "http/http_conn.h"

#include "bellhop/core/publish.h"

/* auth.c: runs the route's endpoint if the request may use the API. */
void bh_auth_begin(struct bh_http_conn *c);

/* api.c */
void bh_api_user_message(struct bh_http_conn *c);
void bh_api_tenant_message(struct bh_http_conn *c);
void bh_api_topic_message(struct bh_http_conn *c);
void bh_api_broadcast(struct bh_http_conn *c);
/* What a publish came to, as status, code and sentence; *status 200 when it succeeded. */
void bh_api_outcome(const struct bh_publish_result *result, int *status, const char **code,
                    struct bh_bytes *message);
/* strategy, ttl, id, except, filter (one pair; they add up). 0, BH_ENOTFOUND for another name, or
 * an error; *why. */
int bh_api_take_option(struct bh_publish *p, struct bh_slice name, struct bh_slice value,
                       const char **why);
/* {"id":...,"status":"published",...} */
void bh_api_published(const struct bh_publish_result *result, struct bh_bytes *out);
#define BH_API_TTL_MAX 4294967 /* seconds; what 32 bits of milliseconds hold */

/* api_batch.c */
void bh_api_batch(struct bh_http_conn *c);
void bh_api_batches_free(struct bh_edge *e);

/* api_users.c */
void bh_api_user(struct bh_http_conn *c);
void bh_api_tenant(struct bh_http_conn *c);
void bh_api_users_online(struct bh_http_conn *c);
void bh_api_disconnect(struct bh_http_conn *c);

/* api_reload.c */
void bh_api_reload(struct bh_http_conn *c);

/* ops.c */
void bh_ops_healthz(struct bh_http_conn *c);
void bh_ops_readyz(struct bh_http_conn *c);
void bh_ops_metrics(struct bh_http_conn *c);

/* demo.c */
void bh_demo_page(struct bh_http_conn *c);

/* ws_upgrade.c */
/* Is it a path for WebSockets? */
bool bh_upgrade_takes(const struct bh_http_conn *c);
void bh_upgrade_begin(struct bh_http_conn *c);
/* Gives an upgrade up that is under way, and says so. */
void bh_upgrade_cancel(struct bh_http_conn *c, int status, const char *why);

#endif
