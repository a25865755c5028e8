/* ws_hold.c - see the header. */
#include "ws/ws_hold.h"

#include "bellhop/base/mem.h"

static struct bh_hold *hold_of(struct bh_ws_conn *ws) {
    if (ws->hold)
        return &ws->hold->hold;
    const struct bh_identity *identity = ws->subscriber.identity;
    struct bh_slice user = identity ? identity->user : bh_slice(NULL, 0);
    ws->hold = bh_malloc(sizeof *ws->hold);
    ws->hold->ws = ws;
    bh_hold_init(&ws->hold->hold, &ws->server->admission->holds, ws->server->hold_ops,
                 bh_hold_owner(user, &ws->ip));
    return &ws->hold->hold;
}

void bh_ws_hold_end(struct bh_ws_conn *ws) {
    if (!ws->hold)
        return;
    bh_hold_end(&ws->hold->hold);
    bh_free(ws->hold);
    ws->hold = NULL;
}

void bh_ws_hold_note_reading(struct bh_ws_conn *ws) {
    bh_hold_pause(&ws->hold->hold, !ws->stream.reading);
}

void bh_ws_hold_change(struct bh_ws_conn *ws) {
    size_t unfinished = bh_ws_reader_held(&ws->reader);
    size_t held = ws->open.held ? sizeof *ws->open.held + ws->open.held->len : 0;
    size_t queued = ws->stuck ? bh_outq_share(&ws->out) : 0;
    bool is_open = ws->state == BH_WS_CONN_OPEN;
    if (!unfinished && !held && !queued) {
        bh_ws_hold_end(ws);
        return;
    }
    struct bh_hold *h = hold_of(ws);
    bh_ws_hold_note_reading(ws);
    if (is_open && bh_ws_reader_awaits(&ws->reader))
        bh_hold_wait(h);
    else
        bh_hold_wait_no_more(h);
    bh_hold_set(h, unfinished, held, queued, is_open);
}

void bh_ws_hold_event(struct bh_ws_conn *ws) {
    if (!bh_ws_reader_in_message(&ws->reader))
        bh_hold_wait_no_more(&ws->hold->hold);
}
