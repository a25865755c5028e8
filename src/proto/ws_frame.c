/* ws_frame.c - the header of a WebSocket frame and the mask, as pure functions.
 *
 * Both run for every message of every client, so the decoder's common path (a short masked frame)
 * takes a few well-predicted branches, and the mask works on machine words. */
#include "bellhop/proto/ws_frame.h"

#include "bellhop/base/error.h"

#define FIN     0x80
#define RSV1    0x40
#define RSV23   0x30
#define MASKED  0x80
#define CONTROL 0x08

/* One bit for each opcode that RFC 6455 defines. */
#define KNOWN_OPCODES 0x0707u

static int fail(const char **why, const char *reason) {
    *why = reason;
    return BH_EPROTO;
}

static int check_first(uint8_t first, bool allow_rsv1, const char **why) {
    unsigned opcode = first & 0x0f;
    if (first & RSV23)
        return fail(why, "reserved bit set");
    if (!(KNOWN_OPCODES >> opcode & 1))
        return fail(why, "reserved opcode");
    if ((opcode & CONTROL) && !(first & FIN))
        return fail(why, "fragmented control frame");
    /* Compression marks only the first frame of a message. */
    if ((first & RSV1) && (!allow_rsv1 || opcode == BH_WS_CONTINUATION || (opcode & CONTROL)))
        return fail(why, "reserved bit set");
    return 0;
}

/* The big-endian length of 2 or 8 bytes at p, of which n have arrived. */
static int long_length(const uint8_t *p, size_t n, size_t width, uint64_t *length,
                       const char **why) {
    if (width == 8 && n && (p[0] & 0x80))
        return fail(why, "frame length over 2^63-1");
    if (n < width)
        return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | p[i];
    if (value <= (width == 2 ? 125 : 65535))
        return fail(why, "frame length not in its shortest form");
    *length = value;
    return 1;
}

int bh_ws_header_decode(struct bh_slice in, bool allow_rsv1, struct bh_ws_header *out,
                        const char **why) {
    const uint8_t *p = (const uint8_t *)in.p;
    if (in.n == 0)
        return 0;
    if (check_first(p[0], allow_rsv1, why))
        return BH_EPROTO;
    if (in.n == 1)
        return 0;
    if (!(p[1] & MASKED))
        return fail(why, "frame not masked");
    uint64_t length = p[1] & 0x7f;
    size_t width = 0;
    if (length > 125) {
        if (p[0] & CONTROL)
            return fail(why, "control frame over 125 bytes");
        width = length == 126 ? 2 : 8;
        int r = long_length(p + 2, in.n - 2, width, &length, why);
        if (r <= 0)
            return r;
    }
    size_t size = 2 + width + 4;
    if (in.n < size)
        return 0;
    out->length = length;
    out->opcode = p[0] & 0x0f;
    memcpy(out->mask, p + 2 + width, 4);
    out->size = (uint8_t)size;
    out->fin = p[0] & FIN;
    out->rsv1 = p[0] & RSV1;
    return (int)size;
}

size_t bh_ws_header_encode(unsigned char out[BH_WS_HEADER_OUT_MAX], uint8_t opcode, bool fin,
                           bool rsv1, uint64_t length) {
    out[0] = (unsigned char)(opcode | (fin ? FIN : 0) | (rsv1 ? RSV1 : 0));
    if (length <= 125) {
        out[1] = (unsigned char)length;
        return 2;
    }
    size_t width = length <= 65535 ? 2 : 8;
    out[1] = width == 2 ? 126 : 127;
    for (size_t i = 0; i < width; i++)
        out[2 + i] = (unsigned char)(length >> 8 * (width - 1 - i));
    return 2 + width;
}

/* n is less than 8. */
static void mask_tail(unsigned char *data, size_t n, uint64_t key) {
    if (n & 4) {
        uint32_t half;
        memcpy(&half, data, sizeof half);
        half ^= (uint32_t)key;
        memcpy(data, &half, sizeof half);
        data += sizeof half;
    }
    unsigned char bytes[4]; /* the key's halves are the same */
    uint32_t half = (uint32_t)key;
    memcpy(bytes, &half, sizeof bytes);
    for (size_t i = 0; i < (n & 3); i++)
        data[i] ^= bytes[i];
}

void bh_ws_mask(unsigned char *data, size_t n, const uint8_t mask[4], uint64_t offset) {
    uint8_t rotated[4];
    for (size_t i = 0; i < sizeof rotated; i++)
        rotated[i] = mask[(offset + i) & 3];
    uint32_t half;
    memcpy(&half, rotated, sizeof half);
    uint64_t key = (uint64_t)half << 32 | half, word[4];
    for (; n >= sizeof word; n -= sizeof word, data += sizeof word) {
        memcpy(word, data, sizeof word);
        for (size_t i = 0; i < 4; i++)
            word[i] ^= key;
        memcpy(data, word, sizeof word);
    }
    for (; n >= sizeof key; n -= sizeof key, data += sizeof key) {
        memcpy(word, data, sizeof key);
        word[0] ^= key;
        memcpy(data, word, sizeof key);
    }
    mask_tail(data, n, key);
}

bool bh_ws_close_code_valid(unsigned code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}
