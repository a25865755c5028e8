/* resp.h - writing commands as Redis reads them: "*<count>\r\n", then "$<length>\r\n<bytes>\r\n"
 * for each argument. The caller has reserved the room; each function returns the end of what it
 * wrote. Inline, because a publish is nothing else. */
#ifndef BELLHOP_BACKEND_REDIS_RESP_H
#define BELLHOP_BACKEND_REDIS_RESP_H

#include "bellhop/base/slice.h"

#define BH_RESP_HEAD_MAX    (1 + 20 + 2)
#define BH_RESP_BULK_MAX(n) (BH_RESP_HEAD_MAX + (n) + 2)

static inline char *bh_resp_bytes(char *p, struct bh_slice s) {
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

static inline char *bh_resp_end(char *p) {
    memcpy(p, "\r\n", 2);
    return p + 2;
}

static inline char *bh_resp_head(char *p, char type, uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    *p++ = type;
    return bh_resp_end(bh_resp_bytes(p, bh_slice(digits + at, sizeof digits - at)));
}

static inline char *bh_resp_bulk(char *p, struct bh_slice s) {
    return bh_resp_end(bh_resp_bytes(bh_resp_head(p, '$', s.n), s));
}

#endif
