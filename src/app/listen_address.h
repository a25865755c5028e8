/* listen_address.h - the addresses of server.listen. Pure; any thread. */
#ifndef BELLHOP_SRC_APP_LISTEN_ADDRESS_H
#define BELLHOP_SRC_APP_LISTEN_ADDRESS_H

#include "bellhop/edge/edge.h"

/* "[proxy:][tls:]ADDRESS"; the host localhost is 127.0.0.1. Sets address, tls and proxy. 0, or
 * BH_EINVAL with *why. */
int bh_listen_address_parse(struct bh_slice text, struct bh_edge_listen *out, const char **why);

#endif
