/* ws_json.h - what a connection with format=json has beside its bh_ws_conn. Thread: the worker's.
 */
#ifndef BELLHOP_EDGE_WS_JSON_H
#define BELLHOP_EDGE_WS_JSON_H

#include "client/link.h"
#include "client/outq.h"
#include "client/rights.h"

/* Zero-initialise to start. */
struct bh_ws_json {
    struct bh_client_link link;
    struct bh_client_refusal refusal; /* why its opening fails */
    struct bh_outq early; /* until it is recovered: frames that come behind the first one */
    bool recovered;       /* the first frame is queued */
    bool settled;         /* and what it missed, and the id behind that if it has more streams: */
    uint8_t streams;      /* in the id of the first frame */
};

void bh_ws_json_deinit(struct bh_ws_json *j);

#endif
