/* origin.h - which web pages may connect: the Origin header (RFC 6454) against a list of patterns.
 *
 * A pattern is an origin, such as "https://app.example.com" or "http://localhost:3000". Without a
 * scheme it matches http and https; a host "*.example.com" matches every sub-domain, not the domain
 * itself; the port may be "*"; without a port it is the scheme's default. "*" matches every origin,
 * "null" the origin of pages without one. No state; any thread. */
#ifndef BELLHOP_EDGE_ORIGIN_H
#define BELLHOP_EDGE_ORIGIN_H

#include "bellhop/base/slice.h"

bool bh_origin_matches(struct bh_slice pattern, struct bh_slice origin);
bool bh_origin_in(const struct bh_slice *patterns, size_t count, struct bh_slice origin);
/* Is this the host of one of the patterns, whatever its scheme and port? "*" names none. */
bool bh_origin_names(const struct bh_slice *patterns, size_t count, struct bh_slice host);

#endif
