/* upgrade.h - from an upgrade request to a WebSocket connection. Thread: the worker's. */
#ifndef BELLHOP_EDGE_UPGRADE_H
#define BELLHOP_EDGE_UPGRADE_H

#include "http/http_conn.h"
#include "ws/ws_server.h"

/* Is the request's path one for WebSockets? */
bool bh_upgrade_has_path(const struct bh_http_conn *c);
/* Answers the request with a refusal, now or later, or hands the socket to a connection of s. */
void bh_upgrade_begin(struct bh_http_conn *c, struct bh_ws_server *s);

#endif
