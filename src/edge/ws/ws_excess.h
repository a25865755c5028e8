/* ws_excess.h - WebSocket connections that are closed for what they hold. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_EXCESS_H
#define BELLHOP_EDGE_WS_EXCESS_H

#include "limits/holds.h"

extern const struct bh_hold_ops bh_ws_excess_ops;

#endif
