/* http_hold.h - what an HTTP connection holds, told to limits/holds.h: an unfinished request, input
 * that waits, output that the kernel does not take. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HTTP_HOLD_H
#define BELLHOP_EDGE_HTTP_HOLD_H

#include "http/http_conn.h"

/* Something may have changed: at the end of what reads or writes. */
void bh_http_hold_update(struct bh_http_conn *c);

#endif
