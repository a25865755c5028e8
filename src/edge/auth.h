/* auth.h - may this request use the API? Thread: the worker's. */
#ifndef BELLHOP_EDGE_AUTH_H
#define BELLHOP_EDGE_AUTH_H

#include "http/http_conn.h"

/* Lets the request proceed if it may use the API, else answers 401 or what the hook says. */
void bh_auth_begin(struct bh_http_conn *c);
/* Has it a valid key, or is none needed (--dev)? The hook may still refuse it. */
bool bh_auth_has_key(const struct bh_http_conn *c);

#endif
