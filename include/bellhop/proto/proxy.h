/* proxy.h - the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a load
 * balancer says before the first byte of a connection about whom it speaks for.
 *
 * The header is decoded from the bytes at hand or not at all; the caller keeps an unfinished one,
 * which is at most BH_PROXY_MAX bytes. No state, no allocation. Thread: any. */
#ifndef BELLHOP_PROTO_PROXY_H
#define BELLHOP_PROTO_PROXY_H

#include "bellhop/base/slice.h"

#define BH_PROXY_MAX 4096 /* version 2 with its TLVs; more is refused */

struct bh_proxy {
    uint8_t family; /* of source: 4, 6; 0: the proxy speaks for itself (v1 UNKNOWN, v2 LOCAL,
                       AF_UNSPEC, AF_UNIX), the connection's own address counts */
    uint8_t source[16];
    uint16_t source_port;
    uint8_t destination[16];
    uint16_t destination_port;
};

/* The header's size, 0 when more bytes are needed, or BH_EPROTO with *why as soon as the bytes at
 * hand prove that it is none. TLVs of version 2 are skipped, its length is checked against the
 * family; datagram transports are refused. */
int bh_proxy_decode(struct bh_slice in, struct bh_proxy *out, const char **why);

#endif
