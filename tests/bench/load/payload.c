/* payload.c - making, checking and expanding payloads. Nothing here allocates for each message. */
#include "payload.h"

#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void payload_init(struct payload *p, size_t size) {
    p->size = size;
    p->bytes = must_realloc(NULL, size);
    for (size_t i = 0; i < size; i++)
        p->bytes[i] = (char)('a' + i % 26);
    memcpy(p->bytes, PAYLOAD_MARKER, PAYLOAD_MARKER_LEN);
    p->bytes[size - 1] = '.';
    payload_stamp(p, 0);
}

void payload_deinit(struct payload *p) {
    free(p->bytes);
}

void payload_digits(char *out, uint64_t stamp) {
    for (int i = PAYLOAD_STAMP_LEN - 1; i >= 0; i--, stamp >>= 4)
        out[i] = "0123456789abcdef"[stamp & 15];
}

static bool read_digits(const char *text, uint64_t *stamp) {
    uint64_t value = 0;
    for (int i = 0; i < PAYLOAD_STAMP_LEN; i++) {
        unsigned c = (unsigned char)text[i], digit = c - '0', letter = c - 'a';
        if (digit > 9 && letter > 5)
            return false;
        value = value << 4 | (digit <= 9 ? digit : letter + 10);
    }
    *stamp = value;
    return true;
}

bool payload_check(const struct payload *p, const void *bytes, size_t len, uint64_t *stamp) {
    const size_t fill = PAYLOAD_MARKER_LEN + PAYLOAD_STAMP_LEN;
    const char *text = bytes;
    return len == p->size && memcmp(text, PAYLOAD_MARKER, PAYLOAD_MARKER_LEN) == 0 &&
           memcmp(text + fill, p->bytes + fill, len - fill) == 0 &&
           read_digits(text + PAYLOAD_MARKER_LEN, stamp);
}

size_t payload_expand(char *out, size_t room, const char *template, unsigned number,
                      const struct payload *p) {
    char digits[16];
    size_t len = 0;
    for (const char *at = template; *at; at++) {
        const char *from = at;
        size_t n = 1;
        if (at[0] == '%' && at[1] == 'd') {
            n = (size_t)snprintf(digits, sizeof digits, "%u", number);
            from = digits;
            at++;
        } else if (at[0] == '%' && at[1] == 'p' && p) {
            n = p->size;
            from = p->bytes;
            at++;
        }
        if (len + n < room)
            memcpy(out + len, from, n);
        len += n;
    }
    if (len < room)
        out[len] = 0;
    return len;
}
