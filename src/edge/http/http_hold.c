/* http_hold.c - see the header. A request of ordinary size is not counted: it comes and goes within
 * a turn. */
#include "http/http_hold.h"

#define LEFT_OUT 4096

void bh_http_hold_update(struct bh_http_conn *c) {
    bool is_open = c->state != BH_HTTP_CONN_CLOSED;
    size_t unfinished = is_open ? bh_http1_held(c->parser) : 0;
    size_t held = is_open ? c->in.cap : 0;
    size_t queued = is_open && c->stream.writing ? c->out.cap : 0;
    bool has_hold = !bh_list_empty(&c->hold.node);
    if (unfinished + held + queued < LEFT_OUT) {
        if (has_hold)
            bh_hold_end(&c->hold);
        return;
    }
    if (!has_hold)
        c->hold.owner =
            bh_hold_owner(bh_slice(NULL, 0), c->peer.ip.family ? &c->peer.ip : &c->remote);
    if (unfinished && !c->hold.unfinished)
        bh_hold_begin(&c->hold);
    bh_hold_set(&c->hold, unfinished, held, queued, c->state != BH_HTTP_CONN_LINGER || queued);
}
