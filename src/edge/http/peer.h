/* peer.h - the address of the client when trusted proxies are between it and us.
 * Pure; any thread. */
#ifndef BELLHOP_EDGE_PEER_H
#define BELLHOP_EDGE_PEER_H

#include "bellhop/io/cidr.h"
#include "bellhop/proto/http1.h"

struct bh_peer {
    struct bh_ip ip;
    bool forwarded; /* ip comes from X-Forwarded-For, not from the connection */
    bool https;     /* X-Forwarded-Proto of a trusted proxy says https */
};

/* `from` is the other end of the connection. X-Forwarded-For is read from the right, as long as the
 * address that added an element is trusted: the first untrusted address is the client's. An element
 * that is no address ends the walk. */
void bh_peer_find(const struct bh_ip *from, const struct bh_http_request *request,
                  const struct bh_cidr *trusted, size_t trusted_count, struct bh_peer *out);

#endif
