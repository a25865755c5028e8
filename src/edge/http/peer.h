/* peer.h - who a request really comes from, when proxies that we trust stand in between.
 * Pure; any thread. */
#ifndef BELLHOP_EDGE_PEER_H
#define BELLHOP_EDGE_PEER_H

#include "bellhop/io/cidr.h"
#include "bellhop/proto/http1.h"

struct bh_peer {
    struct bh_ip ip;
    bool forwarded; /* ip comes from X-Forwarded-For, not from the connection */
    bool https;     /* a trusted proxy says that the client came by TLS (X-Forwarded-Proto) */
};

/* `from` is the other end of the connection. The elements of X-Forwarded-For are believed from the
 * right as long as whoever added them is trusted: the first address that is not is the client's. An
 * element that is no address ends the walk. */
void bh_peer_find(const struct bh_ip *from, const struct bh_http_request *request,
                  const struct bh_cidr *trusted, size_t trusted_count, struct bh_peer *out);

#endif
