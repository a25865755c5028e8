/* ws_deflate.h - permessage-deflate, RFC 7692: negotiation, and messages <-> compressed bytes.
 *
 * Without context takeover no state outlives a message, so one deflater per window size and a few
 * inflaters (ws_inflaters.h) serve all connections of a thread, and an idle connection holds no
 * zlib state. With takeover a connection owns one for each direction that takes over. Without
 * takeover the output depends only on the parameters and the payload, so a message to many is
 * compressed once per window size. No sockets. Thread: any, one owner. */
#ifndef BELLHOP_PROTO_WS_DEFLATE_H
#define BELLHOP_PROTO_WS_DEFLATE_H

#include "bellhop/base/buf.h"
#include "bellhop/proto/http1.h"

enum bh_ws_deflate_mode { BH_WS_DEFLATE_OFF, BH_WS_DEFLATE_NO_TAKEOVER, BH_WS_DEFLATE_TAKEOVER };

struct bh_ws_deflate_config {
    enum bh_ws_deflate_mode mode;
    uint8_t window_bits; /* 9..15: the largest window that we use or (if the client offers it) ask
                            it to use */
    uint8_t level;       /* zlib's, 1..9 */
};

/* The negotiated parameters. */
struct bh_ws_deflate {
    bool agreed;
    bool server_takeover, client_takeover;
    uint8_t server_bits, client_bits; /* 8..15 */
};

/* The first acceptable offer of the Sec-WebSocket-Extensions lines; unknown extensions, and offers
 * with unknown, repeated or invalid parameters, are skipped (7.1.1, 5.1). True when one was
 * accepted: the extension for the 101 is appended to `answer`. False leaves *out zeroed and
 * `answer` unchanged. */
bool bh_ws_deflate_negotiate(const struct bh_header *headers, size_t count,
                             const struct bh_ws_deflate_config *config, struct bh_ws_deflate *out,
                             struct bh_bytes *answer);

/* --- out --- */

struct bh_deflater; /* opaque; 12 KiB with 9 bits, 54 with 12, 262 with 15 */

/* window_bits 8..15, level 1..9; NULL without memory. */
struct bh_deflater *bh_deflater_new(unsigned window_bits, unsigned level);
void bh_deflater_free(struct bh_deflater *d); /* NULL is allowed */
/* A whole frame with RSV1. takeover: continue from the previous message. Without takeover NULL when
 * compressing makes the payload no smaller: then send it uncompressed. (With takeover never: the
 * client's window has to follow every message.) NULL also without memory: then the context is
 * reset, and the payload may be sent uncompressed. */
struct bh_buf *bh_deflater_frame(struct bh_deflater *d, uint8_t opcode, struct bh_slice payload,
                                 bool takeover);
/* For gzip (server-sent events): the payload as blocks of DEFLATE that refer to nothing before them
 * and end with a whole byte, so any pieces may follow one another behind BH_GZIP_HEAD. NULL if that
 * makes it longer, or without memory. */
struct bh_buf *bh_deflater_piece(struct bh_deflater *d, struct bh_slice payload);
/* The same, not compressed. */
struct bh_buf *bh_deflate_stored(struct bh_slice payload);
#define BH_GZIP_HEAD BH_SLICE("\x1f\x8b\x08\0\0\0\0\0\0\xff")
/* Resets the context. Call it when the client was sent a compressed message that this deflater did
 * not make, or was not sent one that it made. */
void bh_deflater_reset(struct bh_deflater *d);

/* --- in --- */

#define BH_INFLATE_STEP  (64u << 10)
#define BH_INFLATE_AGAIN 1

struct bh_inflater; /* opaque; 7 KiB, plus the window once it is used */

/* window_bits 8..15; NULL without memory. */
struct bh_inflater *bh_inflater_new(unsigned window_bits, bool takeover);
void bh_inflater_free(struct bh_inflater *i); /* NULL is allowed */
/* A message is inflated in steps, so that its owner can do other things in between: begin, then
 * step while it returns BH_INFLATE_AGAIN. */
void bh_inflater_begin(struct bh_inflater *i);
/* Takes bytes of the payload (all frames together) from *in, and appends at most BH_INFLATE_STEP
 * bytes to `out`, which the caller does not change between steps. The limit applies while
 * inflating, before memory is allocated: 0 when the message is complete, BH_INFLATE_AGAIN,
 * BH_ETOOBIG over `limit` bytes in `out`, BH_EPROTO for invalid or truncated DEFLATE, BH_ENOTFOUND
 * for a reference to bytes before the window (without takeover: before the message), BH_ENOMEM.
 * Output before an error stays in `out`. After an error the inflater must not be used for that
 * connection again; without takeover it may serve others, also when a message was not completed. */
int bh_inflater_step(struct bh_inflater *i, struct bh_slice *in, uint64_t limit,
                     struct bh_bytes *out);
/* Tests only: a step of this thread takes at most so many bytes of the payload. 0: as usual. */
void bh_inflate_step_in(size_t most);

#endif
