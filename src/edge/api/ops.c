/* ops.c - health, readiness and metrics. */
#include "api/endpoints.h"

#include "bellhop/base/json.h"
#include "bellhop/base/metrics.h"

void bh_ops_healthz(struct bh_http_conn *c) {
    bh_http_conn_answer(c, 200, "text/plain", NULL, 0, BH_SLICE("ok\n"));
}

void bh_ops_readyz(struct bh_http_conn *c) {
    const char *why = "";
    if (bh_node_ready(c->server->worker->node, &why) == 0) {
        bh_http_conn_answer_json(c, 200, BH_SLICE("{\"ready\":true}\n"));
        return;
    }
    struct bh_bytes body = {0};
    bh_bytes_adds(&body, "{\"ready\":false,\"reason\":");
    bh_json_quote(&body, bh_slice_cstr(why));
    bh_bytes_adds(&body, "}\n");
    bh_http_conn_answer_json(c, 503, bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

void bh_ops_metrics(struct bh_http_conn *c) {
    struct bh_bytes text = {0};
    bh_metrics_render(&text);
    bh_http_conn_answer(c, 200, "text/plain; version=0.0.4", NULL, 0, bh_bytes_slice(&text));
    bh_bytes_free(&text);
}
