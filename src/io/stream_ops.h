/* stream_ops.h - what a transport does for a stream; private to src/io.
 *
 * None of them calls back. A transport that decrypts (TLS) fills the buffer while it has data: for
 * the caller a short read means "drained", and it waits for the socket.
 *
 * A transport with a state of its own reports it to stream.c by three bits of the stream, which it
 * may change inside its operations:
 *   handshaking  no data yet; cleared by the read that ends the handshake, with BH_EAGAIN
 *   unsent       has bytes of its own for the peer: flush is called when the socket has room
 *   has_input    has something to read even if the socket has not: read is called in the next tick
 */
#ifndef BELLHOP_SRC_IO_STREAM_OPS_H
#define BELLHOP_SRC_IO_STREAM_OPS_H

#include "bellhop/io/stream.h"

struct bh_stream_ops {
    /* > 0 bytes; 0 at the end; BH_EAGAIN; BH_EIO, BH_EPROTO. */
    ssize_t (*read)(struct bh_stream *s, void *p, size_t n);
    /* >= 0 bytes taken; BH_EAGAIN; BH_ECLOSED. count is 1..IOV_MAX. */
    ssize_t (*write)(struct bh_stream *s, const struct iovec *iov, int count);
    void (*flush)(struct bh_stream *s);
    void (*shutdown)(struct bh_stream *s);
    /* abrupt: send nothing more to the peer. */
    void (*close)(struct bh_stream *s, bool abrupt);
};

extern const struct bh_stream_ops bh_stream_plain_ops;

#endif
