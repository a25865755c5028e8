/* dev_host.h - with --dev: the names under which the server may be asked.
 *
 * A web page can make its own name resolve to 127.0.0.1 (DNS rebinding). Its requests are then of
 * one origin with the gateway, so no Origin header tells, but the Host header has the page's name.
 * Names that no page from elsewhere can have: an IP address, localhost and what is below it, a name
 * without a dot, and the hosts that the operator has listed as origins. No state; any thread. */
#ifndef BELLHOP_EDGE_DEV_HOST_H
#define BELLHOP_EDGE_DEV_HOST_H

#include "bellhop/edge/config.h"

/* host: of the target or the header, with or without a port. An empty one is allowed: browsers
 * always send theirs, programs with HTTP/1.0 need not. */
bool bh_dev_host_ok(const struct bh_edge_config *config, struct bh_slice host);

#endif
