/* edge.c - one worker's edge: listeners, the limit of connections, draining.
 *
 * It owns every connection of the worker through two lists (HTTP and WebSocket); a connection takes
 * itself out in the reap phase. The number of sockets is limited for the process, not for a worker,
 * because the kernel spreads connections unevenly; that counter is the one thing that workers share
 * here. Draining closes WebSockets a slice at a time, so that the farewell to many thousands does
 * not stall those that are still to be served.
 * Thread: the worker's, but for _new and _free. */
#include "edge_private.h"

#include "api/endpoints.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "http/http_conn.h"
#include "limits/quota.h"
#include "ws/ws_conn.h"

#include <stdatomic.h>
#include <unistd.h>

#define DRAIN_SLICE   256 /* WebSockets closed in one go */
#define DRAIN_STEP_MS 4

static atomic_size_t sockets;

/* --- accepting --- */

void bh_edge_socket_gone(void) {
    atomic_fetch_sub_explicit(&sockets, 1, memory_order_relaxed);
    bh_edge_count(BH_EDGE_SOCKETS, -1);
}

static bool take_place(const struct bh_edge_config *config) {
    size_t open = atomic_fetch_add_explicit(&sockets, 1, memory_order_relaxed);
    bh_edge_count(BH_EDGE_SOCKETS, 1);
    if (config->connections_max == 0 || open < config->connections_max)
        return true;
    bh_edge_socket_gone();
    bh_edge_count(BH_EDGE_LIMIT_CONNECTIONS, 1);
    bh_warn_limited("connection refused: connections_max is reached",
                    bh_kv_int("connections_max", (int64_t)config->connections_max));
    return false;
}

/* Who has an IPv6 address has a network of them, so those are counted by their first 64 bits. */
static struct bh_slice address_key(const struct bh_ip *ip) {
    return bh_slice((const char *)ip->bytes, ip->family == 4 ? 4 : ip->family == 6 ? 8 : 0);
}

static bool is_loopback(const struct bh_ip *ip) {
    static const uint8_t v6[16] = {[15] = 1};
    return ip->family == 4 ? ip->bytes[0] == 127 : memcmp(ip->bytes, v6, sizeof v6) == 0;
}

static size_t address_limit(const struct bh_edge *e, const struct bh_ip *ip) {
    if (e->config->connections_per_ip)
        return e->config->connections_per_ip;
    return is_loopback(ip) ? 0 : BH_EDGE_PER_IP_DEFAULT;
}

bool bh_edge_take_address(const struct bh_edge *e, const struct bh_ip *ip) {
    if (bh_quota_acquire(BH_QUOTA_IP, address_key(ip), address_limit(e, ip)))
        return true;
    char text[BH_ADDR_TEXT_MAX];
    bh_ip_format(ip, text);
    bh_edge_count(BH_EDGE_LIMIT_PER_IP, 1);
    bh_warn_limited("connection refused: connections_per_ip is reached", bh_kv_str("ip", text));
    return false;
}

void bh_edge_give_address(const struct bh_edge *e, const struct bh_ip *ip) {
    bh_quota_release(BH_QUOTA_IP, address_key(ip), address_limit(e, ip));
}

static void on_accept(void *ud, int fd, const struct bh_addr *peer) {
    struct bh_edge_listener *l = ud;
    struct bh_edge *e = l->edge;
    bool refuse = !take_place(e->config);
    if (refuse && (l->tls || l->proxy || e->refusing >= BH_EDGE_REFUSING_MAX)) {
        close(fd);
        return;
    }
    e->refusing += refuse;
    bh_http_conn_new(e, l, fd, peer, refuse);
}

int bh_edge_listen(struct bh_edge *e, const struct bh_edge_listen *listen, size_t count,
                   size_t *which) {
    e->listeners = bh_calloc(count ? count : 1, sizeof *e->listeners);
    for (size_t i = 0; i < count; i++) {
        struct bh_edge_listener *l = &e->listeners[i];
        l->edge = e;
        l->proxy = listen[i].proxy;
        l->tls = listen[i].tls;
        *which = i;
        int error = bh_listener_open(&l->listener, e->loop, &listen[i].address, e->config->backlog,
                                     on_accept, l);
        if (error)
            return error;
        bh_listener_limit(l->listener, e->config->accepts_per_second);
        l->address = *bh_listener_addr(l->listener);
        bh_addr_format(&l->address, l->text);
        e->listener_count++;
    }
    return 0;
}

const struct bh_addr *bh_edge_address(const struct bh_edge *e, size_t i) {
    return &e->listeners[i].address;
}

static void stop_accepting(struct bh_edge *e) {
    for (size_t i = 0; i < e->listener_count; i++) {
        bh_listener_close(e->listeners[i].listener);
        e->listeners[i].listener = NULL;
    }
}

/* --- draining --- */

void bh_edge_check_drained(struct bh_edge *e) {
    if (!e->on_drained || !bh_list_empty(&e->conns) || !bh_list_empty(&e->wsconns))
        return;
    void (*on_drained)(void *) = e->on_drained;
    e->on_drained = NULL;
    on_drained(e->drained_ud);
}

static void on_drain_step(struct bh_timer *t) {
    struct bh_edge *e = BH_CONTAINER_OF(t, struct bh_edge, drain_step);
    int closed = 0;
    struct bh_list *node = e->wsconns.next;
    for (; node != &e->wsconns && closed < DRAIN_SLICE; node = node->next) {
        struct bh_ws_conn *ws = BH_CONTAINER_OF(node, struct bh_ws_conn, node);
        if (ws->state != BH_WS_CONN_OPEN)
            continue;
        bh_ws_conn_close(ws, 1001, BH_SLICE("the instance is shutting down"));
        closed++;
    }
    if (node != &e->wsconns)
        bh_timer_set(&e->drain_step, DRAIN_STEP_MS);
}

void bh_edge_drain(struct bh_edge *e, void (*on_drained)(void *ud), void *ud) {
    e->draining = true;
    e->on_drained = on_drained;
    e->drained_ud = ud;
    stop_accepting(e);
    for (struct bh_list *n = e->conns.next; n != &e->conns; n = n->next)
        bh_http_conn_drain(BH_CONTAINER_OF(n, struct bh_http_conn, node));
    on_drain_step(&e->drain_step);
    bh_edge_check_drained(e);
}

void bh_edge_abort(struct bh_edge *e) {
    stop_accepting(e);
    bh_timer_cancel(&e->drain_step);
    for (struct bh_list *n = e->conns.next; n != &e->conns; n = n->next)
        bh_http_conn_drop(BH_CONTAINER_OF(n, struct bh_http_conn, node));
    for (struct bh_list *n = e->wsconns.next; n != &e->wsconns; n = n->next)
        bh_ws_conn_drop(BH_CONTAINER_OF(n, struct bh_ws_conn, node), 1001,
                        BH_SLICE("the instance has shut down"));
}

/* --- life --- */

struct bh_edge *bh_edge_new(const struct bh_edge_config *config, struct bh_worker *worker) {
    struct bh_edge *e = bh_calloc(1, sizeof *e);
    e->config = config;
    e->worker = worker;
    e->loop = worker->loop;
    e->http_limits = (struct bh_http_limits){.head_bytes = config->http_head_bytes,
                                             .header_count = BH_HTTP_HEADERS_MAX,
                                             .body_bytes = config->http_body_bytes};
    e->ws_limits = (struct bh_ws_limits){config->message_bytes, config->fragments};
    bh_list_init(&e->conns);
    bh_list_init(&e->wsconns);
    bh_list_init(&e->batches);
    bh_slots_init(&e->requests);
    bh_slots_init(&e->items);
    bh_frames_init(&e->frames, e->loop, config->deflate.level);
    bh_timer_init(&e->drain_step, e->loop, on_drain_step);
    return e;
}

void bh_edge_set_tls(struct bh_edge *e, struct bh_tls *tls) {
    bh_tls_unref(e->tls);
    e->tls = bh_tls_ref(tls);
}

void bh_edge_free(struct bh_edge *e) {
    if (!e)
        return;
    e->on_drained = NULL;
    bh_edge_abort(e);
    while (!bh_list_empty(&e->conns))
        bh_http_conn_free(BH_CONTAINER_OF(e->conns.next, struct bh_http_conn, node));
    while (!bh_list_empty(&e->wsconns))
        bh_ws_conn_free(BH_CONTAINER_OF(e->wsconns.next, struct bh_ws_conn, node));
    bh_frames_deinit(&e->frames);
    bh_tls_unref(e->tls);
    bh_api_batches_free(e);
    bh_slots_deinit(&e->requests);
    bh_slots_deinit(&e->items);
    bh_free(e->listeners);
    bh_free(e);
}
