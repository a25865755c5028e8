/* stream_ops.h - what a transport does for a stream; private to src/io.
 *
 * All four act on s->fd and never call back. A transport that decrypts (TLS) fills the buffer as
 * long as it has something: the caller takes a short read for "drained" and waits for the socket.
 */
#ifndef BELLHOP_SRC_IO_STREAM_OPS_H
#define BELLHOP_SRC_IO_STREAM_OPS_H

#include "bellhop/io/stream.h"

struct bh_stream_ops {
    /* > 0 bytes; 0 at the end; BH_EAGAIN; BH_EIO. */
    ssize_t (*read)(struct bh_stream *s, void *p, size_t n);
    /* >= 0 bytes taken; BH_EAGAIN; BH_ECLOSED. count is 1..IOV_MAX. */
    ssize_t (*write)(struct bh_stream *s, const struct iovec *iov, int count);
    void (*shutdown)(struct bh_stream *s);
    void (*close)(struct bh_stream *s);
};

extern const struct bh_stream_ops bh_stream_plain_ops;

#endif
