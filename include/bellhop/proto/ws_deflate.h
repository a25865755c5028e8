/* ws_deflate.h - permessage-deflate, RFC 7692: negotiation, and messages <-> compressed bytes.
 *
 * Without context takeover nothing outlives a message, so one deflater for each window size and one
 * inflater serve all connections of a thread, and an idle connection holds no zlib state. With it a
 * connection owns one of each, in the direction that takes over. A deflater's output is
 * a function of its parameters and the payload as long as nothing was taken over, so a message to
 * many is compressed once for each window size. No sockets. Thread: any, one owner. */
#ifndef BELLHOP_PROTO_WS_DEFLATE_H
#define BELLHOP_PROTO_WS_DEFLATE_H

#include "bellhop/base/buf.h"
#include "bellhop/proto/http1.h"

enum bh_ws_deflate_mode { BH_WS_DEFLATE_OFF, BH_WS_DEFLATE_NO_TAKEOVER, BH_WS_DEFLATE_TAKEOVER };

struct bh_ws_deflate_config {
    enum bh_ws_deflate_mode mode;
    uint8_t window_bits; /* 9..15: the largest window that we use or (if the client lets us ask)
                            have it use */
    uint8_t level;       /* zlib's, 1..9 */
};

/* What was agreed on. */
struct bh_ws_deflate {
    bool agreed;
    bool server_takeover, client_takeover;
    uint8_t server_bits, client_bits; /* 8..15 */
};

/* The first acceptable offer of the Sec-WebSocket-Extensions lines; unknown extensions, and offers
 * with unknown, repeated or ill-valued parameters, are passed over (7.1.1, 5.1). True when one was
 * accepted: `answer` (appended) is the extension as it goes into the 101. False leaves *out zero
 * and `answer` as it was. */
bool bh_ws_deflate_negotiate(const struct bh_header *headers, size_t count,
                             const struct bh_ws_deflate_config *config, struct bh_ws_deflate *out,
                             struct bh_bytes *answer);

/* --- out --- */

struct bh_deflater; /* opaque; 12 KiB with 9 bits, 54 with 12, 262 with 15 */

/* window_bits 8..15, level 1..9; NULL without memory. */
struct bh_deflater *bh_deflater_new(unsigned window_bits, unsigned level);
void bh_deflater_free(struct bh_deflater *d); /* NULL is allowed */
/* A whole frame with RSV1. takeover: go on from the message before. Without takeover NULL when
 * compressing makes the payload no smaller: then it goes as it is (a deflater that takes over must
 * be used for every message, since the client's window has to follow, so it never says that).
 * NULL also without memory: then the context is forgotten, and the payload may go as it is. */
struct bh_buf *bh_deflater_frame(struct bh_deflater *d, uint8_t opcode, struct bh_slice payload,
                                 bool takeover);
/* Forgets the context: to be called when the client was sent a compressed message that this
 * deflater has not seen, or was not sent one that it has. */
void bh_deflater_reset(struct bh_deflater *d);

/* --- in --- */

struct bh_inflater; /* opaque; 7 KiB, and the window once it was used */

/* window_bits 8..15; NULL without memory. */
struct bh_inflater *bh_inflater_new(unsigned window_bits, bool takeover);
void bh_inflater_free(struct bh_inflater *i); /* NULL is allowed */
/* Inflates the payload of one message, all frames together, into `out` (which is empty). The limit
 * holds while inflating, and before memory is taken: 0, BH_ETOOBIG over `limit` bytes, BH_EPROTO
 * for what is no DEFLATE or ends too early, BH_ENOMEM. What was inflated before an error stays in
 * `out`. After an error the inflater is good for no further message of that connection, but without
 * takeover for those of others. */
int bh_inflater_message(struct bh_inflater *i, struct bh_slice payload, uint64_t limit,
                        struct bh_bytes *out);

#endif
