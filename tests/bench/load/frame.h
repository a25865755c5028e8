/* frame.h - WebSocket frames of a client. All frames have the same mask: a server must unmask them
 * all the same, and frames can be masked in advance. */
#ifndef BELLHOP_BENCH_FRAME_H
#define BELLHOP_BENCH_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FRAME_CONTINUATION, FRAME_TEXT, FRAME_BINARY, FRAME_CLOSE = 8, FRAME_PING, FRAME_PONG };

#define FRAME_HEAD_MAX 14 /* with the mask */

static const uint8_t frame_mask[4] = {0x5a, 0x93, 0x2e, 0xc7};

struct frame {
    uint8_t opcode;
    bool fin, invalid; /* invalid: compressed or masked */
    const uint8_t *payload;
    size_t len;
    size_t total; /* with its head */
};

/* Writes the head of a whole message and returns its length. */
static inline size_t frame_head(uint8_t *out, uint8_t opcode, size_t len) {
    size_t n = 2;
    out[0] = 0x80 | opcode;
    if (len < 126) {
        out[1] = 0x80 | (uint8_t)len;
    } else if (len < 65536) {
        out[1] = 0x80 | 126;
        out[n++] = (uint8_t)(len >> 8);
        out[n++] = (uint8_t)len;
    } else {
        out[1] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            out[n++] = (uint8_t)((uint64_t)len >> shift);
    }
    memcpy(out + n, frame_mask, sizeof frame_mask);
    return n + sizeof frame_mask;
}

/* `at`: the position of the bytes in the payload. */
static inline void frame_copy_masked(uint8_t *out, const void *bytes, size_t len, size_t at) {
    const uint8_t *in = bytes;
    for (size_t i = 0; i < len; i++)
        out[i] = in[i] ^ frame_mask[(at + i) & 3];
}

/* False while the frame is incomplete. */
static inline bool frame_read(struct frame *f, const uint8_t *in, size_t len) {
    size_t head = 2;
    if (len < head)
        return false;
    uint64_t n = in[1] & 0x7f;
    if (n > 125) {
        head += n == 126 ? 2 : 8;
        if (len < head)
            return false;
        n = 0;
        for (size_t i = 2; i < head; i++)
            n = n << 8 | in[i];
    }
    if (len - head < n)
        return false;
    f->opcode = in[0] & 15;
    f->fin = in[0] >> 7;
    f->invalid = (in[0] & 0x70) || (in[1] & 0x80);
    f->payload = in + head;
    f->len = n;
    f->total = head + n;
    return true;
}

#endif
