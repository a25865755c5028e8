/* link.h - one connection to Redis that reconnects by itself. Private to the backend.
 *
 * A link locates its server, resolves, connects and does the handshake (handshake.h); then it is
 * READY. An attempt tries all addresses of the server in turn. When the last one fails, the
 * connection breaks, or the server answers that it is the wrong one (READONLY and the like), the
 * link completes every pending command exactly once and tries again after a capped, jittered
 * back-off, until it is stopped. Commands are gathered and written once at the end of the tick;
 * replies complete them in order.
 *
 * Embed it in an owner that lives until the tick after bh_redis_link_stop. Thread: the loop's. */
#ifndef BELLHOP_BACKEND_REDIS_LINK_H
#define BELLHOP_BACKEND_REDIS_LINK_H

#include "bellhop/backend/redis.h"
#include "bellhop/base/buf.h"
#include "bellhop/io/stream.h"
#include "bellhop/io/timer.h"
#include "link/addresses.h"
#include "link/locator.h"
#include "link/reply.h"

#include <stdatomic.h>

/* Bytes and commands that a link may hold; beyond, it accepts no command. */
#define BH_REDIS_OUT_MAX     (64u * 1024 * 1024)
#define BH_REDIS_PENDING_MAX (1u << 20)

enum bh_redis_link_state {
    BH_REDIS_IDLE,   /* never started, or stopped */
    BH_REDIS_ASKING, /* the locator */
    BH_REDIS_RESOLVING,
    BH_REDIS_CONNECTING,
    BH_REDIS_AUTH, /* connected; the handshake is under way */
    BH_REDIS_READY,
    BH_REDIS_BACKOFF,
};

/* What to do with a command's reply. error: 0 with a reply (which may be an error reply);
 * BH_EUNAVAIL when no byte of the command was sent; else BH_ETIMEDOUT or BH_EIO. */
struct bh_redis_completion {
    void (*fire)(const struct bh_redis_completion *c, int error, const struct bh_reply *reply);
    union {
        bh_broker_published_cb published;
        bh_reply_cb reply;
    } cb;
    void *ud;
    bh_handle handle;
};

struct bh_redis_link;
struct bh_tls_connector;

struct bh_redis_link_callbacks {
    void (*on_up)(struct bh_redis_link *link);
    /* Only after on_up; everything pending has been completed. Not called by _stop. */
    void (*on_down)(struct bh_redis_link *link);
    /* A reply without a pending command; NULL when that is a protocol error. Valid during the call.
     * A link with on_push is a subscriber's: it sends no PING of its own. */
    void (*on_push)(struct bh_redis_link *link, const struct bh_reply *reply);
    /* An attempt to come up has failed; may be NULL. */
    void (*on_failed)(struct bh_redis_link *link);
    /* At an interval while READY, without on_push; may be NULL. */
    void (*on_check)(struct bh_redis_link *link);
    bool quiet; /* coming up is logged at level debug only */
};

struct bh_redis_pending {
    struct bh_redis_completion completion;
    uint64_t offset; /* of its first byte in all that this connection was asked to send */
};

struct bh_redis_link {
    const struct bh_redis_config *config;
    const struct bh_redis_link_callbacks *callbacks;
    struct bh_redis_locator *locator; /* owned; NULL: the configuration names the server */
    struct bh_loop *loop;
    char name[24]; /* "bus", "probe", "worker-3": in the log and in CLIENT LIST */
    enum bh_redis_link_state state;
    unsigned attempts;    /* failed ones in a row */
    bool settled;         /* this connection does what it is for: the attempt has not failed */
    unsigned connections; /* also counts drops, so a caller sees that a callback has dropped it */
    uint64_t ready_ms;    /* when it became READY */
    _Atomic(const char *) down_reason; /* a constant sentence; NULL: READY, or new */
    atomic_uint_fast64_t heard_ms;     /* bh_clock_ms of the last reply */
    const char *host; /* where to, or NULL: not known yet, or a unix socket; of the locator */
    uint16_t port;
    struct bh_tls_connector *tls; /* NULL: plain, or to be made from the files */
    struct bh_resolve *resolve;
    struct bh_redis_addresses addresses; /* of host */
    uint64_t deadline_ms;                /* of the attempt */
    struct bh_stream stream;
    struct bh_timer timer; /* the deadline, check or pause of the current state */
    struct bh_defer flush;
    struct bh_redis_reader reader;
    struct bh_bytes out;
    size_t out_head; /* bytes of out that the kernel has accepted */
    uint64_t sent;   /* bytes of this connection that the kernel has accepted */
    bool awaiting;   /* a reply */
    uint64_t
        awaiting_ms; /* since the command was sent or the last reply came, whichever is later */
    struct {
        struct bh_redis_pending *ring;
        size_t mask, head, count;
    } pending;
};

/* Starts to connect at once. The link is zeroed, or has been stopped; other threads may already
 * read its down_reason. config and callbacks are borrowed; the locator (or NULL) is the link's from
 * now on. */
void bh_redis_link_start(struct bh_redis_link *link, struct bh_loop *loop,
                         const struct bh_redis_config *config, const char *name,
                         const struct bh_redis_link_callbacks *callbacks,
                         struct bh_redis_locator *locator);
/* Tries to hand the gathered commands to the kernel, closes, completes what is pending, and frees
 * the memory. Harmless on a link that is IDLE. */
void bh_redis_link_stop(struct bh_redis_link *link);
/* Closes the connection and begins again after a pause. why: a constant sentence. */
void bh_redis_link_drop(struct bh_redis_link *link, int error, const char *why);

/* Sends a PING on a READY link without pending commands, so that it is heard. */
void bh_redis_link_ping(struct bh_redis_link *link);
/* For the owner of a link with on_push: the server has accepted what the link is for, so that the
 * next attempt comes soon when the link is lost. Other links are settled once they are READY. */
static inline void bh_redis_link_settle(struct bh_redis_link *link) {
    link->settled = true;
}

/* For the locator. The result of `ask`; host is borrowed until the next `ask` or `note`. */
void bh_redis_link_found(struct bh_redis_link *link, const char *host, uint16_t port);
/* The server has moved: a link that is elsewhere reconnects there at once. */
void bh_redis_link_move(struct bh_redis_link *link, const char *host, uint16_t port);

static inline bool bh_redis_link_is_ready(const struct bh_redis_link *link) {
    return link->state == BH_REDIS_READY;
}

/* Room for one command of at most `bound` bytes; NULL with *why (a constant) when the link is down
 * or its queue is full. Write it (resp.h), then commit it before anything else happens. */
char *bh_redis_link_begin(struct bh_redis_link *link, size_t bound, const char **why);
/* end: behind the last byte written. completion NULL: its replies come by on_push. */
void bh_redis_link_commit(struct bh_redis_link *link, const char *end,
                          const struct bh_redis_completion *completion);
/* Both, for a command of these arguments. False: as NULL above. */
bool bh_redis_link_send(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                        const struct bh_redis_completion *completion);

#endif
