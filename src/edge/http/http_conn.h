/* conn_http.h - an HTTP connection: one request at a time, answered now or later.
 *
 * An endpoint is called with a complete request and answers it exactly once with one of the
 * functions below. One that has to wait keeps conn->request, a handle, and finds the connection
 * again with bh_http_conn_find, if it still waits for that very request. The request's slices live
 * until the answer. Thread: the worker's. */
#ifndef BELLHOP_EDGE_CONN_HTTP_H
#define BELLHOP_EDGE_CONN_HTTP_H

#include "bellhop/io/stream.h"
#include "edge_private.h"
#include "http/peer.h"

struct bh_route;
struct bh_ws_conn;

#define BH_HTTP_PARAM_MAX   256
#define BH_HTTP_HEADERS_MAX 100

enum bh_http_conn_state {
    BH_HTTP_CONN_PREFACE, /* PROXY header, TLS handshake */
    BH_HTTP_CONN_IDLE,    /* nothing of a request has come */
    BH_HTTP_CONN_READING, /* a part of it has */
    BH_HTTP_CONN_BUSY,    /* a request waits for its answer */
    BH_HTTP_CONN_LINGER,  /* the last answer is written; then FIN, then the peer's FIN is awaited */
    BH_HTTP_CONN_CLOSED,
};

struct bh_http_conn {
    struct bh_stream stream;
    struct bh_timer deadline;
    struct bh_defer flush, reap;
    struct bh_list node;
    struct bh_edge *edge;
    const struct bh_edge_listener *listener;
    struct bh_http1 *parser;
    struct bh_bytes in; /* came while a request was under way */
    struct bh_bytes out;
    size_t sent;         /* of out */
    struct bh_ip remote; /* the other end, as the PROXY protocol tells */
    uint16_t remote_port;
    uint8_t state;
    bool peer_ended, fin_sent, refused, handed_over;
    bool counted_ip; /* in the quota of `remote` */
    bool served;     /* a request has been answered */

    /* the request under way */
    bh_handle request; /* 0: none */
    bh_handle ticket;  /* of the hook that is being asked */
    const struct bh_route *route;
    struct bh_peer peer;   /* whose request it is */
    struct bh_slice param; /* of the path, decoded */
    char param_bytes[BH_HTTP_PARAM_MAX];
    struct bh_bytes scratch; /* the endpoint's own */

    /* an upgrade */
    struct bh_ws_conn *ws;
    struct bh_buf *switching; /* the 101 answer */
    bool live;                /* every topic is: the answer may go */
};

/* Takes over the socket. refuse: answers 503 whatever comes. */
void bh_http_conn_new(struct bh_edge *e, const struct bh_edge_listener *l, int fd,
                      const struct bh_addr *peer, bool refuse);
/* The greeting is over: HTTP begins. */
void bh_http_conn_begin(struct bh_http_conn *c);
/* The greeting ends with a refusal: on a plain connection in words, if not too many are being told
 * so already, else by closing. */
void bh_http_conn_turn_away(struct bh_http_conn *c, int status, const char *code, const char *why);
/* Closes at once, cancels what is under way. */
void bh_http_conn_drop(struct bh_http_conn *c);
/* Cancels what the request has under way (a hook, an opening WebSocket); it still wants an answer.
 */
void bh_http_conn_abandon(struct bh_http_conn *c);
/* Closes it unless a request is under way; an upgrade is refused. */
void bh_http_conn_drain(struct bh_http_conn *c);
/* Frees it; for bh_edge_free, when no tick will. */
void bh_http_conn_free(struct bh_http_conn *c);

/* NULL when that request waits no more. */
struct bh_http_conn *bh_http_conn_find(struct bh_edge *e, bh_handle request);
static inline const struct bh_http_request *bh_http_conn_request(const struct bh_http_conn *c) {
    return bh_http1_request(c->parser);
}
/* The request in the hooks' terms; the memory is the caller's. */
struct bh_hook_request {
    struct bh_request request;
    struct bh_path_params params; /* for those who match a path; not filled */
    struct bh_request_tls tls;
    struct bh_tls_peer *tls_peer; /* owned */
    char ip[BH_ADDR_TEXT_MAX];
};
void bh_hook_request_init(const struct bh_http_conn *c, struct bh_hook_request *out);
void bh_hook_request_deinit(struct bh_hook_request *n);

/* --- answers --- */

void bh_http_conn_answer(struct bh_http_conn *c, int status, const char *content_type,
                         const struct bh_header *headers, size_t header_count,
                         struct bh_slice body);
void bh_http_conn_answer_json(struct bh_http_conn *c, int status, struct bh_slice body);
/* {"error":{"code":...,"message":...}} */
void bh_http_conn_fail(struct bh_http_conn *c, int status, const char *code, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
/* A script's refusal: a body that is a JSON object goes as it is, any other one becomes the message
 * of an error. */
void bh_http_conn_refuse(struct bh_http_conn *c, int status, struct bh_slice body,
                         const struct bh_header *headers, size_t header_count);
/* The error object alone, for answers that hold several. */
void bh_http_conn_error_object(struct bh_bytes *out, const char *code, struct bh_slice message);

#endif
