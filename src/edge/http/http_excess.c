/* http_excess.c - see the header. */
#include "http/http_excess.h"

#include "bellhop/base/log.h"
#include "http/http_hold.h"
#include "limits/edge_metrics.h"

#define CODE "overloaded"
#define WHY  "the server is short of memory; try again later"

static void log_refusal(const struct bh_http_conn *c) {
    char ip[BH_ADDR_TEXT_MAX];
    bh_ip_format(&c->remote, ip);
    bh_info_limited("http request refused", bh_kv_int("status", 503),
                    bh_kv_str("reason", "memory budget"), bh_kv_str("ip", ip));
}

static void answer(struct bh_http_conn *c) {
    struct bh_header retry = {BH_SLICE("Retry-After"), BH_SLICE("1")};
    bh_http_conn_fail_with(c, 503, &retry, CODE, WHY);
}

void bh_http_refuse_body(struct bh_http_conn *c) {
    log_refusal(c);
    bh_edge_count(BH_EDGE_LIMIT_MEMORY, 1);
    answer(c);
}

/* A client that does not read its answers gets no other one. */
static void on_excess(struct bh_hold *h) {
    struct bh_http_conn *c = BH_CONTAINER_OF(h, struct bh_http_conn, hold);
    log_refusal(c);
    if (c->state == BH_HTTP_CONN_READING && !h->queued)
        bh_http_conn_reject_early(c, 503, CODE, WHY);
    else if ((c->state == BH_HTTP_CONN_PAUSED || c->state == BH_HTTP_CONN_BUSY) && !h->queued)
        answer(c);
    else
        bh_http_conn_drop(c);
    if (c->state == BH_HTTP_CONN_LINGER)
        bh_bytes_free(&c->in); /* what follows a request is not looked at any more */
    bh_http_hold_update(c);
}

const struct bh_hold_ops bh_http_excess_ops = {
    .kind = BH_BUDGET_BODIES, .charges_queue = true, .on_excess = on_excess};
