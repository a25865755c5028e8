/* handshake.h - asks the hook on_handshake who sends a request. For everything that clients, not
 * backends, ask for: WebSockets, server-sent events, the inbox. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HANDSHAKE_H
#define BELLHOP_EDGE_HANDSHAKE_H

#include "http/http_conn.h"

/* params: of the pattern that matches the path; NULL: none. done gets c->server and c->request,
 * maybe before this returns. */
void bh_handshake_ask(struct bh_http_conn *c, const struct bh_path_params *params,
                      bh_handshake_cb done);
/* For done: the connection whose request waits for the result. NULL: the request has ended; the
 * identity is freed. */
struct bh_http_conn *bh_handshake_conn(void *server, bh_handle request,
                                       const struct bh_handshake_result *result);
static inline bool bh_handshake_accepted(const struct bh_handshake_result *result) {
    return result->status == 0 && result->identity;
}
/* Answers with the refusal of the hook. */
void bh_handshake_refuse(struct bh_http_conn *c, const struct bh_handshake_result *result);

/* For answers that any page may ask for, and that only pages of websocket.origins and
 * api.cors_origins may read: others are refused at once. Clients without Origin are no pages. */
bool bh_handshake_origin_allowed(const struct bh_http_conn *c);

#endif
