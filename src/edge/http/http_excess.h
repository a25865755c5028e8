/* http_excess.h - HTTP connections that are ended for what they hold. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HTTP_EXCESS_H
#define BELLHOP_EDGE_HTTP_EXCESS_H

#include "http/http_conn.h"

extern const struct bh_hold_ops bh_http_excess_ops;

/* Refuses a request whose body must not be read while the memory budget is exceeded: 503. */
void bh_http_refuse_body(struct bh_http_conn *c);

#endif
