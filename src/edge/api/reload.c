/* reload.c - POST /api/reload: new scripts, without a restart.
 *
 * The application does the reload; it gets the request's handle and reports later, on this worker's
 * thread. The answer to the operator has the whole traceback of a script's error. */
#include "api/endpoints.h"

#include "bellhop/base/error.h"

#include <stdio.h>

void bh_api_reload(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    if (!config->reload)
        bh_http_conn_fail(c, 501, "not_available", "this instance cannot reload its scripts");
    else
        config->reload(config->reload_ud, c->server->worker, c->request);
}

void bh_api_reloaded(struct bh_http_server *s, bh_handle handle, int error, unsigned generation,
                     struct bh_slice why) {
    struct bh_http_conn *c = bh_http_conn_find(s, handle);
    char body[64];
    if (!c)
        return;
    if (error == BH_EEXIST) {
        bh_http_conn_fail(c, 409, "reload_in_progress", "another reload is in progress");
    } else if (error) {
        bh_http_conn_fail(c, 500, "reload_failed", "%.*s", BH_SLICE_ARG(why));
    } else {
        int n = snprintf(body, sizeof body, "{\"generation\":%u}\n", generation);
        bh_http_conn_answer_json(c, 200, bh_slice(body, (size_t)n));
    }
}
