/* http_server.c - listeners, and what is done to all connections at once.
 *
 * The list owns the connections; each one takes itself out when it is freed in the reap phase. */
#include "http/http_server.h"

#include "bellhop/base/mem.h"
#include "http/http_conn.h"
#include "http/http_excess.h"
#include "http/preface.h"

void bh_http_server_init(struct bh_http_server *s, const struct bh_edge_config *config,
                         struct bh_worker *worker, struct bh_admission *admission,
                         const struct bh_http_conn_ops *ops) {
    *s = (struct bh_http_server){.config = config,
                                 .worker = worker,
                                 .loop = worker->loop,
                                 .admission = admission,
                                 .hold_ops = &bh_http_excess_ops,
                                 .ops = ops,
                                 .limits = {.head_bytes = config->http_head_bytes,
                                            .header_count = BH_HTTP_HEADERS_MAX,
                                            .body_bytes = config->http_body_bytes}};
    bh_list_init(&s->conns);
    for (int i = 0; i < BH_PLACE_COUNT; i++)
        bh_list_init(&s->places[i]);
    bh_slots_init(&s->requests);
}

void bh_http_server_deinit(struct bh_http_server *s) {
    while (!bh_list_empty(&s->conns))
        bh_http_conn_free(BH_CONTAINER_OF(s->conns.next, struct bh_http_conn, node));
    bh_slots_deinit(&s->requests);
    bh_tls_unref(s->tls);
    bh_free(s->listeners);
}

static void on_accept(void *ud, int fd, const struct bh_addr *peer) {
    bh_preface_accept(ud, fd, peer);
}

static bool on_exhausted(void *ud) {
    return bh_preface_free_descriptor(ud);
}

int bh_http_server_listen(struct bh_http_server *s, const struct bh_edge_listen *listen,
                          size_t count, size_t *which) {
    s->listeners = bh_calloc(count ? count : 1, sizeof *s->listeners);
    for (size_t i = 0; i < count; i++) {
        struct bh_http_listener *l = &s->listeners[i];
        l->server = s;
        l->proxy = listen[i].proxy;
        l->tls = listen[i].tls;
        l->admin = listen[i].admin;
        *which = i;
        int error = bh_listener_open(&l->listener, s->loop, &listen[i].address, s->config->backlog,
                                     on_accept, l);
        if (error)
            return error;
        bh_listener_limit(l->listener, s->config->accepts_per_second);
        bh_listener_on_exhausted(l->listener, on_exhausted);
        l->address = *bh_listener_addr(l->listener);
        bh_addr_format(&l->address, l->text);
        s->listener_count++;
    }
    return 0;
}

static void stop_accepting(struct bh_http_server *s) {
    for (size_t i = 0; i < s->listener_count; i++) {
        bh_listener_close(s->listeners[i].listener);
        s->listeners[i].listener = NULL;
    }
}

void bh_http_server_refuse(struct bh_http_server *s) {
    stop_accepting(s);
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        bh_http_conn_refuse_upgrade(BH_CONTAINER_OF(n, struct bh_http_conn, node));
}

void bh_http_server_drain(struct bh_http_server *s) {
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        bh_http_conn_drain(BH_CONTAINER_OF(n, struct bh_http_conn, node));
}

static void abort_conn(struct bh_http_conn *c) {
    bh_http_conn_refuse_upgrade(c);
    if (c->request)
        bh_http_conn_fail(c, 503, BH_HTTP_STOPPING);
    bh_http_conn_end(c);
}

void bh_http_server_abort(struct bh_http_server *s) {
    stop_accepting(s);
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        abort_conn(BH_CONTAINER_OF(n, struct bh_http_conn, node));
}
