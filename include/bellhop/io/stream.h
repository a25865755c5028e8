/* stream.h - a byte stream over a non-blocking socket: plain TCP or unix, or TLS over one of them
 * (tls.h).
 *
 * A stream is embedded in its owner. It reads into the loop's shared buffer and hands the bytes to
 * on_data; it holds no buffer of its own. Writing is direct: bh_stream_write tells how much the
 * kernel took, and the owner keeps the rest and asks for on_writable.
 *
 * The operations sit behind struct bh_stream_ops: a TLS stream implements the same ones over
 * OpenSSL and keeps its state behind `tls`.
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
    /* n > 0: bytes in the shared buffer, which the callee may change in place; they live until it
     * returns. */
    void (*on_data)(struct bh_stream *s, unsigned char *data, size_t n);
    /* error 0: the peer has finished sending (EOF). Else BH_EIO (reset and the like), BH_EPROTO
     * (not the TLS that we speak, or no certificate that we accept) or, while connecting,
     * BH_EUNAVAIL or BH_ETIMEDOUT. The stream does not close itself: the owner does. */
    void (*on_end)(struct bh_stream *s, int error);
    /* Room again, after bh_stream_want_write; fires once for each request. Also the end of a
     * successful connect or TLS handshake. */
    void (*on_writable)(struct bh_stream *s);
};

struct bh_stream_ops; /* private to io */

/* What is prefetched of the owner, counted from the stream, before the owner gets data. */
#define BH_STREAM_HOT_FROM 192
#define BH_STREAM_HOT_TO   512

struct bh_stream {
    struct event event;
    struct bh_loop *loop;
    const struct bh_stream_callbacks *callbacks;
    const struct bh_stream_ops *ops;
    void *tls; /* NULL for plain */
    int fd;    /* -1 when closed */
    unsigned reading : 1, writing : 1, connecting : 1, ended : 1;
    unsigned handshaking : 1, unsent : 1, has_input : 1; /* the transport's; see stream_ops.h */
    unsigned char watched; /* what `event` is registered for: EV_READ, EV_WRITE, both or 0 */
};

/* Takes over a connected, non-blocking socket. Reading is off until bh_stream_read(s, true). */
void bh_stream_init(struct bh_stream *s, struct bh_loop *loop, int fd,
                    const struct bh_stream_callbacks *callbacks);
/* Starts a connection; on_writable tells success, on_end failure, both never before the return.
 * 0 or BH_EIO (then the stream is closed). The owner sets its own deadline. */
int bh_stream_connect(struct bh_stream *s, struct bh_loop *loop, const struct bh_addr *to,
                      const struct bh_stream_callbacks *callbacks);
/* Switches reading on or off (back-pressure). Reading goes on until EAGAIN is likely, at most 4
 * buffers for each wake-up, so that one peer cannot hold the loop. */
void bh_stream_read(struct bh_stream *s, bool on);
/* Writes now. Returns the bytes taken (0..total), or BH_EAGAIN when none fit, BH_ECLOSED when the
 * connection is broken (on_end does not fire for it). What has been taken is with the kernel and
 * outlives bh_stream_close. After some of the bytes, the next call goes on with those that follow.
 * SIGPIPE is never raised. */
ssize_t bh_stream_write(struct bh_stream *s, const struct iovec *iov, int count);
void bh_stream_want_write(struct bh_stream *s);
/* No more writing: sends FIN, after TLS's close_notify. */
void bh_stream_shutdown(struct bh_stream *s);
void bh_stream_close(struct bh_stream *s);
/* Closes with a reset: what the kernel still holds for a peer that does not read goes with it. */
void bh_stream_reset(struct bh_stream *s);
/* The connection of `from`, which is closed afterwards without a word to the peer, goes on as `to`
 * (uninitialised) under another owner. Reading is on or off as it was. */
void bh_stream_move(struct bh_stream *to, struct bh_stream *from,
                    const struct bh_stream_callbacks *callbacks);
static inline bool bh_stream_is_open(const struct bh_stream *s) {
    return s->fd >= 0;
}

#endif
