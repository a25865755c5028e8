/* listen_address.c - see the header. */
#include "listen_address.h"

#include <stdio.h>

static bool take_prefix(struct bh_slice *text, struct bh_slice prefix) {
    if (!bh_slice_starts(*text, prefix))
        return false;
    *text = bh_slice(text->p + prefix.n, text->n - prefix.n);
    return true;
}

/* Names are not resolved: an address that is listened on must not depend on a name server. That
 * localhost is the loopback address is a rule (RFC 6761, 6.3). */
static int parse_host(struct bh_slice text, struct bh_addr *out, const char **why) {
    struct bh_slice host;
    uint16_t port;
    char loopback[32];
    if (bh_addr_split(text, &host, &port) || !bh_slice_caseeq(host, BH_SLICE("localhost")))
        return bh_addr_parse(text, out, why);
    snprintf(loopback, sizeof loopback, "127.0.0.1:%u", port);
    return bh_addr_parse(bh_slice_cstr(loopback), out, why);
}

int bh_listen_address_parse(struct bh_slice text, struct bh_edge_listen *out, const char **why) {
    out->proxy = take_prefix(&text, BH_SLICE("proxy:"));
    out->tls = take_prefix(&text, BH_SLICE("tls:"));
    return parse_host(text, &out->address, why);
}
