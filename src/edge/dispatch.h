/* dispatch.h - what the HTTP connections of an edge do with their requests. */
#ifndef BELLHOP_EDGE_DISPATCH_H
#define BELLHOP_EDGE_DISPATCH_H

#include "http/http_conn.h"

/* For the server that is embedded in a struct bh_edge. */
extern const struct bh_http_conn_ops bh_dispatch_ops;

#endif
