/* edge_private.h - one worker's edge, for the files of the roof: what it is composed of.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_PRIVATE_H
#define BELLHOP_EDGE_PRIVATE_H

#include "api/batch.h"
#include "api/page.h"
#include "http/http_server.h"
#include "sse/sse_server.h"
#include "ws/ws_server.h"

struct bh_edge {
    struct bh_admission admission;
    struct bh_http_server http;
    struct bh_ws_server ws;
    struct bh_sse_server sse;
    struct bh_batches batches;
    struct bh_pages pages;
};

#endif
