/* greet.h - what comes before HTTP on a new connection: the PROXY header, the limit of its address,
 * the TLS handshake. Thread: the worker's. */
#ifndef BELLHOP_EDGE_GREET_H
#define BELLHOP_EDGE_GREET_H

#include "http/http_conn.h"

/* Begins; afterwards the connection is greeting, speaks HTTP, or is being refused. */
void bh_greet(struct bh_http_conn *c);
/* Bytes while it is greeting. */
void bh_greet_data(struct bh_http_conn *c, struct bh_slice data);

#endif
