/* UTF-8 cut anywhere, compared with a decoder written from the definition: the same result, at the
 * first possible byte. */
#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"
#include "fuzz.h"

/* The length of the sequence that begins p; 0 none; -1 it could still become one. */
static int sequence(const uint8_t *p, size_t n) {
    static const struct {
        uint8_t first, last, low, high;
        int length;
    } rows[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (p[0] < rows[i].first || p[0] > rows[i].last)
            continue;
        for (size_t at = 1; at < (size_t)rows[i].length; at++) {
            if (at == n)
                return -1;
            uint8_t low = at == 1 ? rows[i].low : 0x80, high = at == 1 ? rows[i].high : 0xbf;
            if (p[at] < low || p[at] > high)
                return 0;
        }
        return rows[i].length;
    }
    return 0;
}

/* The length of the shortest prefix that no valid text has; n + 1 when there is none. */
static size_t bad_after(const uint8_t *p, size_t n) {
    size_t at = 0;
    int length = 1;
    while (at < n && (length = sequence(p + at, n - at)) > 0)
        at += (size_t)length;
    if (length != 0)
        return n + 1;
    for (size_t k = 1;; k++)
        if (sequence(p + at, k) == 0)
            return at + k;
}

static bool is_whole(const uint8_t *p, size_t n) {
    size_t at = 0;
    for (int length; at < n; at += (size_t)length)
        if ((length = sequence(p + at, n - at)) <= 0)
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    struct fuzz_cuts cuts = fuzz_cuts(fuzz_byte(&in));
    const uint8_t *p = (const uint8_t *)in.p;
    size_t bad = bad_after(p, in.n), fed = 0;
    struct bh_utf8 u = {0};
    int r = 0;
    while (r == 0 && fed < in.n) {
        size_t n = fuzz_cut(&cuts, in.n - fed);
        char *piece = fuzz_exact(bh_slice(in.p + fed, n));
        r = bh_utf8_feed(&u, bh_slice(piece, n));
        free(piece);
        fed += n;
        CHECK((r == BH_EUTF8) == (fed >= bad) && (r == 0 || r == BH_EUTF8));
    }
    CHECK((r == 0 && bh_utf8_complete(&u)) == is_whole(p, in.n));
    CHECK(bh_utf8_valid(in) == is_whole(p, in.n));
    if (in.n) {
        int length = sequence(p, in.n);
        CHECK(bh_utf8_sequence(in) == (length > 0 ? (size_t)length : 0));
    }
    return 0;
}
