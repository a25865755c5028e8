/* edge.c - one worker's edge: the HTTP server, the servers of WebSockets and of SSE, the API's
 * state and the limits, put together.
 *
 * Each part owns its connections through its list; all parts share the admission, which counts the
 * connections and says when a drain is complete.
 * Thread: the worker's, but for _new and _free. */
#include "bellhop/edge/edge.h"

#include "api/endpoints.h"
#include "bellhop/base/mem.h"
#include "dispatch.h"
#include "edge_private.h"

struct bh_edge *bh_edge_new(const struct bh_edge_config *config, struct bh_worker *worker) {
    struct bh_edge *e = bh_calloc(1, sizeof *e);
    e->admission.config = config;
    bh_holds_init(&e->admission.holds, worker->loop, config->message_timeout_ms);
    bh_http_server_init(&e->http, config, worker, &e->admission, &bh_dispatch_ops);
    bh_ws_server_init(&e->ws, config, worker, &e->admission);
    bh_sse_server_init(&e->sse, config, worker, &e->admission);
    bh_batches_init(&e->batches);
    bh_pages_init(&e->pages);
    e->http.batches = &e->batches;
    e->http.sse = &e->sse;
    e->http.pages = &e->pages;
    return e;
}

void bh_edge_free(struct bh_edge *e) {
    if (!e)
        return;
    e->admission.on_drained = NULL;
    bh_edge_abort(e);
    bh_http_server_deinit(&e->http);
    bh_ws_server_deinit(&e->ws);
    bh_sse_server_deinit(&e->sse);
    bh_batches_deinit(&e->batches);
    bh_pages_deinit(&e->pages);
    bh_holds_deinit(&e->admission.holds);
    bh_free(e);
}

void bh_edge_set_tls(struct bh_edge *e, struct bh_tls *tls) {
    bh_tls_unref(e->http.tls);
    e->http.tls = bh_tls_ref(tls);
}

int bh_edge_listen(struct bh_edge *e, const struct bh_edge_listen *listen, size_t count,
                   size_t *which) {
    return bh_http_server_listen(&e->http, listen, count, which);
}

const struct bh_addr *bh_edge_address(const struct bh_edge *e, size_t i) {
    return &e->http.listeners[i].address;
}

void bh_edge_reloaded(struct bh_edge *e, bh_handle handle, int error, unsigned generation,
                      struct bh_slice why) {
    bh_api_reloaded(&e->http, handle, error, generation, why);
}

void bh_edge_refuse(struct bh_edge *e) {
    e->admission.draining = true;
    bh_http_server_refuse(&e->http);
}

void bh_edge_drain(struct bh_edge *e, const struct bh_edge_drain *drain) {
    bh_edge_refuse(e);
    bh_admission_drain(&e->admission, drain->on_drained, drain->ud);
    bh_http_server_drain(&e->http);
    bh_drain_start(&e->ws.drain, drain->clients, drain->spread_ms);
    bh_drain_start(&e->sse.drain, drain->clients, drain->spread_ms);
    bh_admission_check_drained(&e->admission);
}

void bh_edge_abort(struct bh_edge *e) {
    bh_http_server_abort(&e->http);
    bh_ws_server_abort(&e->ws);
    bh_sse_server_abort(&e->sse);
}
