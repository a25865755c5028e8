/* proxy.h - the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): a header by
 * which a load balancer names the client before the first byte of a connection.
 *
 * The header is decoded only when it is complete; the caller keeps an incomplete one, at most
 * BH_PROXY_MAX bytes. No state, no allocation. Thread: any. */
#ifndef BELLHOP_PROTO_PROXY_H
#define BELLHOP_PROTO_PROXY_H

#include "bellhop/base/slice.h"

#define BH_PROXY_MAX 4096 /* version 2 with its TLVs; longer is an error */

struct bh_proxy {
    uint8_t family; /* of source: 4, 6; 0: no client is named (v1 UNKNOWN, v2 LOCAL, AF_UNSPEC,
                       AF_UNIX), use the connection's own address */
    uint8_t source[16];
    uint16_t source_port;
    uint8_t destination[16];
    uint16_t destination_port;
};

/* The header's size, 0 when more bytes are needed, or BH_EPROTO with *why at the first byte that
 * cannot be part of a header. TLVs of version 2 are skipped, its length is checked against the
 * family; datagram transports are an error. */
int bh_proxy_decode(struct bh_slice in, struct bh_proxy *out, const char **why);

#endif
