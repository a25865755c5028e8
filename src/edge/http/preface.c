/* preface.c - from an accepted socket to a client that speaks HTTP.
 *
 * A PROXY header can claim any address, so a listener for the PROXY protocol takes connections from
 * trusted addresses only; there the header is required, as the protocol wants it. The bytes after
 * it belong to TLS or to HTTP.
 *
 * A connection counts for its address from here on, unless the address is a trusted proxy: its
 * clients have other addresses, and each WebSocket is counted when its request names the client. */
#include "http/preface.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/proto/proxy.h"
#include "limits/edge_metrics.h"

#include <unistd.h>

/* A refusal can be sent on a plain connection, and to a few clients at a time. Its slot among the
 * sockets is free while it is sent. */
static void refuse(struct bh_http_conn *c, int status, const char *why) {
    if (c->listener->tls || !bh_admission_acquire_refusal(c->server->admission)) {
        bh_http_conn_drop(c);
        return;
    }
    bh_admission_release_socket();
    c->refused = true;
    bh_http_conn_reject_early(c, status, "too_many_connections", why);
}

static bool is_trusted(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    return bh_cidr_any(config->trusted, config->trusted_count, &c->remote);
}

static bool admit(struct bh_http_conn *c) {
    if (is_trusted(c))
        return true;
    c->counted_ip = bh_admission_acquire_address(c->server->admission, &c->remote);
    return c->counted_ip;
}

static void begin_http(struct bh_http_conn *c) {
    if (!admit(c)) {
        refuse(c, 429, "connection limit of this address reached");
    } else if (c->listener->tls) {
        bh_tls_accept(&c->stream, c->server->tls, bh_bytes_slice(&c->in));
        bh_bytes_free(&c->in);
    } else {
        bh_http_conn_begin(c);
    }
}

static void refuse_proxy(struct bh_http_conn *c, const char *why) {
    char ip[BH_ADDR_TEXT_MAX];
    bh_ip_format(&c->remote, ip);
    bh_edge_count(BH_EDGE_LIMIT_PROXY, 1);
    bh_info_limited("connection refused on a PROXY protocol listener", bh_kv_str("reason", why),
                    bh_kv_str("ip", ip));
    bh_http_conn_drop(c);
}

static void begin(struct bh_http_conn *c) {
    if (!c->listener->proxy)
        begin_http(c);
    else if (!is_trusted(c))
        refuse_proxy(c, "the address is not in server.trusted_proxies");
}

void bh_preface_accept(struct bh_http_listener *l, int fd, const struct bh_addr *peer) {
    struct bh_admission *a = l->server->admission;
    bool full = !bh_admission_acquire_socket(a);
    if (full && (l->tls || l->proxy || !bh_admission_acquire_refusal(a))) {
        close(fd);
        return;
    }
    struct bh_http_conn *c = bh_http_conn_new(l, fd, peer);
    c->refused = full;
    if (full)
        bh_http_conn_reject_early(c, 503, "too_many_connections", "connection limit reached");
    else
        begin(c);
    if (c->state != BH_HTTP_CONN_CLOSED)
        bh_stream_read(&c->stream, true);
}

/* By way of a socket address, which turns an IPv4-mapped IPv6 address into IPv4. */
static void set_source(struct bh_http_conn *c, const struct bh_proxy *proxy) {
    struct bh_addr source;
    struct bh_ip ip = {.family = proxy->family};
    memcpy(ip.bytes, proxy->source, sizeof ip.bytes);
    bh_ip_to_addr(&ip, proxy->source_port, &source);
    bh_ip_of(&source, &c->remote);
    c->remote_port = proxy->source_port;
}

void bh_preface_data(struct bh_http_conn *c, struct bh_slice data) {
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
        set_source(c, &proxy);
    bh_bytes_consume(&c->in, (size_t)size);
    begin_http(c);
}
