/* preface.c - from an accepted socket to a client that speaks HTTP.
 *
 * A PROXY header can claim any address, so a listener for the PROXY protocol takes connections from
 * trusted addresses only; there the header is required, as the protocol wants it. The bytes after
 * it belong to TLS or to HTTP.
 *
 * A connection counts for its address from here on, unless the address is a trusted proxy: its
 * clients have other addresses, and each WebSocket is counted when its request names the client.
 *
 * A full instance is healthy, and its probes have to find that out: beyond server.connections_max,
 * and when only the reserve of descriptors is left, a few connections get a place in the reserve,
 * send one head, and are served if dispatch.c finds that it asks for health, metrics or the API. A
 * client that takes such a place and sends nothing must not keep it from others, so the oldest one
 * makes room for a new one. Connections for administration have places of their own, under the same
 * rule. */
#include "http/preface.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/io/descriptors.h"
#include "bellhop/proto/proxy.h"
#include "limits/edge_metrics.h"

#include <unistd.h>

#define FULL               "connection limit reached"
#define EVICTIONS_PER_TICK 8

/* A refusal can be sent to a few clients at a time, and not before the TLS handshake. The place of
 * the connection is free while it is sent. */
static void refuse(struct bh_http_conn *c, int status, const char *why) {
    bool mute = c->listener->tls && c->state == BH_HTTP_CONN_PREFACE;
    if (mute || !bh_http_conn_change_place(c, BH_PLACE_REFUSAL))
        bh_http_conn_drop(c);
    else
        bh_http_conn_reject_early(c, status, "too_many_connections", why);
}

/* --- places beyond the limits --- */

static bool is_done(const struct bh_http_conn *c) {
    return c->state == BH_HTTP_CONN_LINGER && c->fin_sent;
}

/* Also one that does not read its answer. */
static bool is_idle(const struct bh_http_conn *c) {
    return c->request == 0;
}

static struct bh_http_conn *oldest(const struct bh_http_server *s, enum bh_place place,
                                   bool (*matches)(const struct bh_http_conn *c)) {
    const struct bh_list *list = &s->places[place];
    for (struct bh_list *n = list->next; n != list; n = n->next) {
        struct bh_http_conn *c = BH_CONTAINER_OF(n, struct bh_http_conn, place_node);
        if (matches(c))
            return c;
    }
    return NULL;
}

/* NULL: all of them have a request under way. A connection that has had no request yet needs a few
 * ticks to send one, so only some of those go in one tick. */
static struct bh_http_conn *find_victim(const struct bh_http_listener *l, enum bh_place place) {
    struct bh_http_server *s = l->server;
    struct bh_http_conn *c = oldest(s, place, is_done);
    if (c)
        return c;
    c = oldest(s, place, bh_http_conn_is_waiting);
    if (c && ++s->evictions % EVICTIONS_PER_TICK == 0)
        bh_listener_yield(l->listener);
    return c ? c : oldest(s, place, is_idle);
}

static bool evict(const struct bh_http_listener *l, enum bh_place place) {
    struct bh_http_conn *c = find_victim(l, place);
    if (!c)
        return false;
    if (place == BH_PLACE_RESERVE)
        bh_edge_count(BH_EDGE_RESERVE_EVICTED, 1);
    if (place == BH_PLACE_ADMIN || c->state == BH_HTTP_CONN_LINGER)
        bh_http_conn_drop(c);
    else
        refuse(c, 503, FULL);
    return true;
}

static bool acquire(const struct bh_http_listener *l, enum bh_place place) {
    struct bh_admission *a = l->server->admission;
    return bh_admission_acquire(a, place) || (evict(l, place) && bh_admission_acquire(a, place));
}

bool bh_preface_free_descriptor(const struct bh_http_listener *l) {
    struct bh_http_conn *c = find_victim(l, BH_PLACE_REFUSAL);
    if (!c)
        c = find_victim(l, BH_PLACE_RESERVE);
    if (!c)
        return false;
    if (c->state != BH_HTTP_CONN_LINGER) /* among a few, the next victim has only just come */
        bh_listener_yield(l->listener);
    bh_http_conn_drop(c);
    return true;
}

static bool is_full(struct bh_admission *a, int fd) {
    if (!bh_descriptor_is_reserve(fd))
        return !bh_admission_acquire(a, BH_PLACE_SOCKET);
    bh_edge_count(BH_EDGE_LIMIT_DESCRIPTORS, 1);
    bh_warn_limited("out of file descriptors: only health, metrics and the API are served; raise "
                    "LimitNOFILE or ulimit -n");
    return true;
}

/* BH_PLACE_NONE: the socket can only be closed. */
static enum bh_place place_for(const struct bh_http_listener *l, int fd) {
    struct bh_admission *a = l->server->admission;
    if (l->admin)
        return acquire(l, BH_PLACE_ADMIN) ? BH_PLACE_ADMIN : BH_PLACE_NONE;
    if (!is_full(a, fd))
        return BH_PLACE_SOCKET;
    if (acquire(l, BH_PLACE_RESERVE)) {
        bh_edge_count(BH_EDGE_RESERVE_OPENED, 1);
        return BH_PLACE_RESERVE;
    }
    bool mute = l->tls || l->proxy || !bh_admission_acquire(a, BH_PLACE_REFUSAL);
    return mute ? BH_PLACE_NONE : BH_PLACE_REFUSAL;
}

/* --- addresses, the PROXY header, TLS --- */

static bool is_trusted(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    return bh_cidr_any(config->trusted, config->trusted_count, &c->remote);
}

static bool admit(struct bh_http_conn *c) {
    if (c->listener->admin || is_trusted(c))
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
    enum bh_place place = place_for(l, fd);
    if (place == BH_PLACE_NONE) {
        close(fd);
        return;
    }
    struct bh_http_conn *c = bh_http_conn_new(l, fd, peer, place);
    if (place == BH_PLACE_REFUSAL)
        bh_http_conn_reject_early(c, 503, "too_many_connections", FULL);
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
