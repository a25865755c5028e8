/* hook_request.h - an HTTP request as the hooks get it (struct bh_request of core). Its slices
 * belong to the connection; the rest lives in the caller's struct. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HOOK_REQUEST_H
#define BELLHOP_EDGE_HOOK_REQUEST_H

#include "http/http_conn.h"

struct bh_hook_request {
    struct bh_request request;
    struct bh_path_params params; /* for callers that match a path; not filled */
    struct bh_request_tls tls;
    struct bh_tls_peer *tls_peer; /* owned */
    char ip[BH_ADDR_TEXT_MAX];
};

void bh_hook_request_init(struct bh_hook_request *h, const struct bh_http_conn *c);
void bh_hook_request_deinit(struct bh_hook_request *h);

#endif
