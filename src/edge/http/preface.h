/* preface.h - what comes before HTTP on a new connection: the limits, the PROXY header, the TLS
 * handshake. Thread: the worker's. */
#ifndef BELLHOP_EDGE_PREFACE_H
#define BELLHOP_EDGE_PREFACE_H

#include "http/http_conn.h"

/* Takes over the socket: afterwards there is a connection in its preface or speaking HTTP or being
 * refused, or the socket is closed. */
void bh_preface_accept(struct bh_http_listener *l, int fd, const struct bh_addr *peer);
/* Without descriptors: closes the oldest connection that is over a limit and has no request under
 * way. False: there is none. */
bool bh_preface_free_descriptor(const struct bh_http_listener *l);
/* The connection's on_preface. */
void bh_preface_data(struct bh_http_conn *c, struct bh_slice data);

#endif
