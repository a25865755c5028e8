/* greet.c - from an accepted socket to a client that may speak HTTP.
 *
 * A listener for the PROXY protocol takes connections from trusted addresses only, because whoever
 * may send that header may be anybody; the header is then required, as the protocol wants it. What
 * follows it goes on to TLS or to HTTP.
 *
 * A connection counts for its address from here on, unless the address is a trusted proxy: then the
 * clients are behind it, and each WebSocket is counted when its request has told whose it is. */
#include "http/preface.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/proto/proxy.h"

static bool is_trusted(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->edge->config;
    return bh_cidr_any(config->trusted, config->trusted_count, &c->remote);
}

static bool admit(struct bh_http_conn *c) {
    if (is_trusted(c))
        return true;
    c->counted_ip = bh_edge_take_address(c->edge, &c->remote);
    return c->counted_ip;
}

static void begin_http(struct bh_http_conn *c) {
    const struct bh_edge_listener *l = c->listener;
    if (!admit(c)) {
        bh_http_conn_turn_away(c, 429, "too_many_connections",
                               "this address has as many as it may");
        return;
    }
    if (!l->tls) {
        bh_http_conn_begin(c);
        return;
    }
    bh_tls_accept(&c->stream, c->edge->tls, bh_bytes_slice(&c->in));
    bh_bytes_free(&c->in);
}

static void refuse_proxy(struct bh_http_conn *c, const char *why) {
    char ip[BH_ADDR_TEXT_MAX];
    bh_ip_format(&c->remote, ip);
    bh_edge_count(BH_EDGE_LIMIT_PROXY, 1);
    bh_info_limited("connection refused on a PROXY protocol listener", bh_kv_str("reason", why),
                    bh_kv_str("ip", ip));
    bh_http_conn_drop(c);
}

void bh_greet(struct bh_http_conn *c) {
    if (!c->listener->proxy)
        begin_http(c);
    else if (!is_trusted(c))
        refuse_proxy(c, "its address is not in server.trusted_proxies");
}

/* By way of a socket address, because that is where IPv4 in IPv6 clothes is recognised. */
static void take_source(struct bh_http_conn *c, const struct bh_proxy *proxy) {
    struct bh_addr source;
    struct bh_ip ip = {.family = proxy->family};
    memcpy(ip.bytes, proxy->source, sizeof ip.bytes);
    bh_ip_to_addr(&ip, proxy->source_port, &source);
    bh_ip_of(&source, &c->remote);
    c->remote_port = proxy->source_port;
}

void bh_greet_data(struct bh_http_conn *c, struct bh_slice data) {
    struct bh_proxy proxy;
    const char *why;
    bh_bytes_add(&c->in, data);
    int size = bh_proxy_decode(bh_bytes_slice(&c->in), &proxy, &why);
    if (size == 0)
        return;
    if (size < 0) {
        refuse_proxy(c, why);
        return;
    }
    if (proxy.family)
        take_source(c, &proxy);
    bh_bytes_consume(&c->in, (size_t)size);
    begin_http(c);
}
