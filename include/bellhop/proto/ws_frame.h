/* ws_frame.h - RFC 6455 section 5 framing: header bytes <-> header fields, and the mask.
 *
 * The server side: frames that come in must be masked, frames that go out are not. A header is
 * decoded only when it is complete: the caller keeps at most BH_WS_HEADER_MAX bytes of an
 * incomplete one. No state, no allocation. Thread: any. */
#ifndef BELLHOP_PROTO_WS_FRAME_H
#define BELLHOP_PROTO_WS_FRAME_H

#include "bellhop/base/slice.h"

enum bh_ws_opcode {
    BH_WS_CONTINUATION = 0x0,
    BH_WS_TEXT = 0x1,
    BH_WS_BINARY = 0x2,
    BH_WS_CLOSE = 0x8,
    BH_WS_PING = 0x9,
    BH_WS_PONG = 0xA,
};

#define BH_WS_HEADER_MAX     14 /* of a client's frame */
#define BH_WS_HEADER_OUT_MAX 10 /* of ours */

struct bh_ws_header {
    uint64_t length; /* of the payload */
    uint8_t opcode;
    uint8_t mask[4];
    uint8_t size; /* of the header itself */
    bool fin;
    bool rsv1; /* permessage-deflate */
};

/* Returns the header's size, 0 when more bytes are needed, or BH_EPROTO at the first byte of a
 * violation: RSV2/3, RSV1 unless allowed, reserved opcode, unmasked, control frame fragmented or
 * over 125 bytes, length not in the shortest form or over 2^63-1. *why says which. */
int bh_ws_header_decode(struct bh_slice in, bool allow_rsv1, struct bh_ws_header *out,
                        const char **why);
/* Writes an unmasked header; returns its size. */
size_t bh_ws_header_encode(unsigned char out[BH_WS_HEADER_OUT_MAX], uint8_t opcode, bool fin,
                           bool rsv1, uint64_t length);
/* XORs data in place; `offset` is the position of data within the frame's payload. */
void bh_ws_mask(unsigned char *data, size_t n, const uint8_t mask[4], uint64_t offset);
/* Codes that may be sent in a close frame (RFC 6455 section 7.4 and the IANA registry: 1000-1003,
 * 1007-1014, 3000-4999). */
bool bh_ws_close_code_valid(unsigned code);

#endif
