/* http_conn.h - an HTTP connection: one request at a time, answered now or later.
 *
 * The connection is the socket; what a request means is decided above, through bh_http_conn_ops,
 * when its head is complete and nothing of its body has been stored. The request is answered
 * exactly once with one of the functions below, before or after its body has come. Code that has to
 * wait keeps conn->request, a handle, and finds the connection again with bh_http_conn_find, if
 * that request still waits. The request's slices live until the answer. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HTTP_CONN_H
#define BELLHOP_EDGE_HTTP_CONN_H

#include "bellhop/base/id.h"
#include "bellhop/io/stream.h"
#include "http/http_server.h"
#include "http/peer.h"

#define BH_HTTP_PARAM_MAX   BH_TOPIC_ID_MAX
#define BH_HTTP_HEADERS_MAX 100
#define BH_HTTP_COMMON_MAX  3

enum bh_http_conn_state {
    BH_HTTP_CONN_PREFACE,    /* PROXY header, TLS handshake */
    BH_HTTP_CONN_IDLE,       /* nothing of a request has come */
    BH_HTTP_CONN_READING,    /* a part of its head has, or its body is read */
    BH_HTTP_CONN_PAUSED,     /* its body has to wait for a decision, or is not wanted */
    BH_HTTP_CONN_BUSY,       /* it has come, and waits for its answer */
    BH_HTTP_CONN_DISCARDING, /* it is answered, and the rest of its body is dropped */
    BH_HTTP_CONN_LINGER, /* the last answer is written; then FIN, then the peer's FIN is awaited */
    BH_HTTP_CONN_CLOSED,
};

struct bh_http_conn;

/* Called by the connection; one table for all connections of a server. */
struct bh_http_conn_ops {
    void (*on_preface)(struct bh_http_conn *c, struct bh_slice data); /* bytes before HTTP begins */
    void (*on_head)(struct bh_http_conn *c); /* a request: answer it, or _proceed, now or later */
};

/* A request that takes the socket when it succeeds; the base of what knows to which protocol.
 * Called while c->upgrade is set. */
struct bh_upgrade_ops {
    void (*on_written)(struct bh_http_conn *c); /* all is written; the socket may be taken */
    void (*on_deadline)(struct bh_http_conn *c);
    void (*on_drain)(struct bh_http_conn *c);
    void (*on_gone)(struct bh_http_conn *c); /* the request is over: free c->upgrade */
};
struct bh_upgrade {
    const struct bh_upgrade_ops *ops;
};

struct bh_http_conn {
    struct bh_stream stream;
    struct bh_timer deadline;
    struct bh_defer flush, reap;
    struct bh_list node, place_node;
    struct bh_http_server *server;
    const struct bh_http_listener *listener;
    struct bh_http1 *parser;
    const struct bh_http_request *parsed; /* the parser's; valid while a request is under way */
    struct bh_bytes in; /* came while a request was under way, or beyond the share of a tick */
    struct bh_bytes out;
    struct bh_hold hold;
    size_t sent;         /* of out */
    struct bh_ip remote; /* the other end, or the source in its PROXY header */
    uint16_t remote_port;
    uint8_t state;
    uint8_t place; /* enum bh_place: the one that it holds; BH_PLACE_NONE: handed over */
    bool peer_ended, fin_sent;
    bool counted_ip; /* in the quota of `remote` */
    bool served;     /* a request has been answered */
    bool feeding;    /* the parser is being fed */

    /* the request under way */
    bh_handle request;   /* 0: none */
    bh_handle ticket;    /* of the hook that decides or answers; cancelled with the request */
    bool cancel_on_end;  /* nobody would read the answer when the client has sent FIN */
    struct bh_peer peer; /* the client, behind proxies, too */
    void (*endpoint)(struct bh_http_conn *c);
    bool takes_body;       /* the endpoint is called when the body has come, else at once */
    bool in_line;          /* the endpoint is called again in the stream's next turn */
    struct bh_slice param; /* of the path, decoded unless it is longer than any id */
    char param_bytes[BH_HTTP_PARAM_MAX];
    struct bh_bytes scratch;                     /* the endpoint's own */
    struct bh_header common[BH_HTTP_COMMON_MAX]; /* of every answer to this request, unless the */
    size_t common_count;                         /* answer has a header of this name itself: */
    struct bh_slice common_unless;
    struct bh_upgrade *upgrade; /* to another protocol; NULL: none */
};

/* Takes over the socket and a place that was acquired. The state is PREFACE, reading is off. */
struct bh_http_conn *bh_http_conn_new(const struct bh_http_listener *l, int fd,
                                      const struct bh_addr *peer, enum bh_place place);
/* False if there is none. */
bool bh_http_conn_change_place(struct bh_http_conn *c, enum bh_place place);
/* Has no request under way. */
bool bh_http_conn_is_waiting(const struct bh_http_conn *c);
/* The preface is over: HTTP begins. */
void bh_http_conn_begin(struct bh_http_conn *c);
/* Closes at once; the request under way is cancelled. */
void bh_http_conn_drop(struct bh_http_conn *c);
/* The server stops: an upgrade that is under way is refused by on_drain. */
void bh_http_conn_refuse_upgrade(struct bh_http_conn *c);
/* Closes it unless a request is under way. */
void bh_http_conn_drain(struct bh_http_conn *c);
/* Closes at once, but what is answered is written as far as the socket takes it. */
void bh_http_conn_end(struct bh_http_conn *c);
/* Frees it at once: for the end of the server, when no tick will do it. */
void bh_http_conn_free(struct bh_http_conn *c);

/* The request is allowed: calls c->endpoint, now or when the body has been read. */
void bh_http_conn_proceed(struct bh_http_conn *c);

/* NULL when that request has been answered or cancelled. */
struct bh_http_conn *bh_http_conn_find(struct bh_http_server *s, bh_handle request);
static inline const struct bh_http_request *bh_http_conn_request(const struct bh_http_conn *c) {
    return c->parsed;
}

/* --- answers ---
 *
 * An answer that comes before the body ends the connection, unless the rest is so short that it is
 * read and dropped. */

void bh_http_conn_answer(struct bh_http_conn *c, int status, const char *content_type,
                         const struct bh_header *headers, size_t header_count,
                         struct bh_slice body);
void bh_http_conn_answer_json(struct bh_http_conn *c, int status, struct bh_slice body);
/* {"error":{"code":...,"message":...}} */
#define BH_HTTP_STOPPING "shutting_down", "the instance is shutting down"
void bh_http_conn_fail(struct bh_http_conn *c, int status, const char *code, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
/* The same with one more header; header NULL: none. */
void bh_http_conn_fail_with(struct bh_http_conn *c, int status, const struct bh_header *header,
                            const char *code, const char *why);
/* A script's refusal: a body that is a JSON object is sent as it is, any other becomes the message
 * of an error. */
void bh_http_conn_refuse(struct bh_http_conn *c, int status, struct bh_slice body,
                         const struct bh_header *headers, size_t header_count);
/* When there is no complete request. The connection ends after this answer. */
void bh_http_conn_reject_early(struct bh_http_conn *c, int status, const char *code,
                               const char *why);

#endif
