/* origin.h - which web pages may connect: the Origin header (RFC 6454) against a list of patterns.
 *
 * A pattern is an origin, "https://app.example.com", "http://localhost:3000", of which the scheme
 * may be left out (then http and https match), the host may begin with "*." (every sub-domain, not
 * the domain itself), and the port may be "*". Without a port it is the scheme's default. "*" is
 * every origin, "null" that of pages without one. No state; any thread. */
#ifndef BELLHOP_EDGE_ORIGIN_H
#define BELLHOP_EDGE_ORIGIN_H

#include "bellhop/base/slice.h"

bool bh_origin_matches(struct bh_slice pattern, struct bh_slice origin);
bool bh_origin_in(const struct bh_slice *patterns, size_t count, struct bh_slice origin);

#endif
