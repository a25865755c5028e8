/* stream.h - a byte stream over a non-blocking socket: plain TCP or unix, or TLS over one of them
 * (tls.h).
 *
 * A stream is embedded in its owner. It reads into the loop's shared buffer and hands the bytes to
 * on_data; it holds no buffer of its own. Writing is direct: bh_stream_write returns how much the
 * kernel took; the owner keeps the rest and requests on_writable.
 *
 * The operations sit behind struct bh_stream_ops: a TLS stream implements the same ones over
 * OpenSSL and keeps its state behind `tls`.
 *
 * Turns: an accepted stream shares the loop with others. One that has become costly, or that comes
 * while others wait, is not read at once but when its turn comes (bh_loop_put_off), and a step that
 * took far too long has to be waited off first. Its owner sees nothing of that, except that data
 * comes later.
 *
 * Closing: bh_stream_close closes the descriptor and no callback follows. It is allowed inside any
 * callback of the stream; the memory of the owner must stay until the tick's reap phase.
 * Thread: the loop's. */
#ifndef BELLHOP_IO_STREAM_H
#define BELLHOP_IO_STREAM_H

#include "bellhop/io/addr.h"

#include <event2/event_struct.h>
#include <sys/uio.h>

struct bh_stream;

struct bh_stream_callbacks {
    /* n > 0 bytes in the shared buffer, which the callee may change in place; valid until it
     * returns. */
    void (*on_data)(struct bh_stream *s, unsigned char *data, size_t n);
    /* error 0: the peer has finished sending (EOF). Else BH_EIO (reset and the like), BH_EPROTO
     * (TLS failed: protocol or certificate) or, while connecting, BH_EUNAVAIL or BH_ETIMEDOUT. The
     * stream does not close itself: the owner does. */
    void (*on_end)(struct bh_stream *s, int error);
    /* The socket has room again, after bh_stream_want_write; fires once for each request. Also
     * fires at the end of a successful connect or TLS handshake. */
    void (*on_writable)(struct bh_stream *s);
    /* The turn after bh_stream_put_off; data follows unless the stream is put off again. May also
     * come without that. NULL: the stream takes no turns, and is read whenever it is ready. */
    void (*on_turn)(struct bh_stream *s);
};

struct bh_stream_ops; /* private to io */
struct bh_turn;

/* What is prefetched of the owner, counted from the stream, before the owner gets data. */
#define BH_STREAM_HOT_FROM 192
#define BH_STREAM_HOT_TO   512

struct bh_stream {
    struct event event;
    struct bh_loop *loop;
    const struct bh_stream_callbacks *callbacks;
    const struct bh_stream_ops *ops;
    void *tls;             /* NULL for plain */
    struct bh_turn *turn;  /* put off; else NULL */
    int fd;                /* -1 when closed */
    unsigned char watched; /* what `event` is registered for: EV_READ, EV_WRITE, both or 0 */
    unsigned char cost;    /* of recent steps, in microseconds: a moving average */
    uint16_t suspected;    /* when, as the loop's clock in 2^20 us */
    unsigned reading : 1, writing : 1, connecting : 1, ended : 1;
    unsigned muted : 1;   /* put off, and ready: not watched */
    unsigned indebts : 1; /* a costly step makes a debt */
    unsigned suspect : 1; /* had a costly step lately: CPU time is measured */
    unsigned overdue : 1; /* has waited too long for a long step */
    unsigned handshaking : 1, unsent : 1, has_input : 1; /* the transport's: stream_ops.h */
};

void bh_stream_metrics_register(void);
/* Takes over a connected, non-blocking socket. Reading is off until bh_stream_read(s, true). */
void bh_stream_init(struct bh_stream *s, struct bh_loop *loop, int fd,
                    const struct bh_stream_callbacks *callbacks);
/* Starts a connection. on_writable reports success, on_end failure, neither before the return. 0 or
 * BH_EIO (then the stream is closed). The owner sets the deadline. */
int bh_stream_connect(struct bh_stream *s, struct bh_loop *loop, const struct bh_addr *to,
                      const struct bh_stream_callbacks *callbacks);
/* Switches reading on or off (back-pressure). Reads until EAGAIN is likely, at most 4 buffers per
 * wake-up and for its share of the tick, so that one peer cannot block the loop. */
void bh_stream_set_reading(struct bh_stream *s, bool on);
static inline void bh_stream_read(struct bh_stream *s, bool on) {
    if (s->reading != on)
        bh_stream_set_reading(s, on);
}
/* Writes now. Returns the bytes taken (0..total), or BH_EAGAIN when none fit, BH_ECLOSED when the
 * connection is broken (on_end does not fire for it). Bytes taken are with the kernel and survive
 * bh_stream_close. After a partial write, the next call continues with the bytes that follow.
 * SIGPIPE is never raised. */
ssize_t bh_stream_write(struct bh_stream *s, const struct iovec *iov, int count);
void bh_stream_want_write(struct bh_stream *s);
/* No more writing: sends FIN, after TLS's close_notify. */
void bh_stream_shutdown(struct bh_stream *s);
void bh_stream_close(struct bh_stream *s);
/* Closes with a reset, which drops what the kernel still holds for a peer that does not read. */
void bh_stream_reset(struct bh_stream *s);
/* The owner has used its share of this tick (bh_loop_share_used) and keeps the rest. Nothing is
 * read until the turn comes, whether or not reading is on. Needs on_turn. */
void bh_stream_put_off(struct bh_stream *s);
static inline bool bh_stream_is_put_off(const struct bh_stream *s) {
    return s->turn != NULL;
}
/* What the stream's steps take is caused by its peer alone: a step of more than 1 ms of CPU time is
 * waited off, ten times as long (at most 1 s), before the next turn. */
void bh_stream_indebt(struct bh_stream *s);
/* What a script gets of this size usually takes more than a millisecond. */
#define BH_STREAM_LONG_BYTES ((size_t)256 * 1024)
/* For a step that is known to be long before it begins: one stream of the loop at a time, and after
 * a wait that grows with what the last one took. 0: go on, until bh_stream_end_long or the close;
 * it may be called again in between, at the beginning of what takes long. BH_EAGAIN: not now: the
 * stream is put off, and has its long step from the on_turn that follows. BH_ETIMEDOUT: that took
 * more than 30 s; from now on the stream does not wait. Needs on_turn. */
int bh_stream_begin_long(struct bh_stream *s);
void bh_stream_end_long(struct bh_stream *s); /* also where none has begun */
/* Moves the connection of `from` to `to` (uninitialised) under another owner; `from` is closed
 * afterwards, and the peer notices nothing. Reading stays on or off. */
void bh_stream_move(struct bh_stream *to, struct bh_stream *from,
                    const struct bh_stream_callbacks *callbacks);
/* TCP: a peer that has not acknowledged a byte for so long is gone (on_end with an error); 0: as
 * the kernel thinks, a quarter of an hour. For peers that are written to and never answer. */
void bh_stream_set_ack_timeout(struct bh_stream *s, uint64_t ms);
static inline bool bh_stream_is_open(const struct bh_stream *s) {
    return s->fd >= 0;
}

#endif
