/* ws_hold.h - what a WebSocket connection holds, told to limits/holds.h.
 *
 * A connection has a hold (on the heap) only while something is unfinished, waits, or cannot be
 * written. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_HOLD_H
#define BELLHOP_EDGE_WS_HOLD_H

#include "ws/ws_conn.h"

struct bh_ws_hold {
    struct bh_hold hold;
    struct bh_ws_conn *ws;
};

/* Kept out of functions that run for each frame. */
#define BH_WS_HOLD_COLD __attribute__((cold))

/* Something may have changed: at the end of what reads or writes, not for each frame. */
BH_WS_HOLD_COLD void bh_ws_hold_change(struct bh_ws_conn *ws);
/* At the end of reading: nearly always nothing is left. */
static inline void bh_ws_hold_update(struct bh_ws_conn *ws) {
    if (ws->reader.partial || ws->open.held || ws->hold)
        bh_ws_hold_change(ws);
}
/* While there is a hold: the reader has yielded an event; reading is on or off. */
BH_WS_HOLD_COLD void bh_ws_hold_event(struct bh_ws_conn *ws);
BH_WS_HOLD_COLD void bh_ws_hold_note_reading(struct bh_ws_conn *ws);
/* NULL is allowed. */
void bh_ws_hold_end(struct bh_ws_conn *ws);

#endif
