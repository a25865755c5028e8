/* utf8.c - a UTF-8 validator that can pause and resume at any byte.
 *
 * The whole grammar of RFC 3629 fits into the lead byte: it says how many bytes follow and, by
 * narrower bounds for the next one, excludes overlong forms, surrogates and code points above
 * U+10FFFF. The state between two feeds is therefore a count and two bounds. Most sequences lie
 * whole in the input and are checked as a whole; the others, and invalid ones, byte by byte. */
#include "bellhop/base/utf8.h"

#include "bellhop/base/error.h"

#define HIGH_BITS 0x8080808080808080u

/* What may follow the lead byte; false when it cannot lead. */
static bool lead(struct bh_utf8 *u, unsigned char c) {
    if (c < 0xc2 || c > 0xf4)
        return false;
    u->need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    u->lower = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    u->upper = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return true;
}

static bool follow(struct bh_utf8 *u, unsigned char c) {
    if (c < u->lower || c > u->upper)
        return false;
    u->need--;
    u->lower = 0x80;
    u->upper = 0xbf;
    return true;
}

static const unsigned char *skip_ascii(const unsigned char *p, const unsigned char *end) {
    for (uint64_t words[2]; end - p >= (ptrdiff_t)sizeof words; p += sizeof words) {
        memcpy(words, p, sizeof words);
        if ((words[0] | words[1]) & HIGH_BITS)
            break;
    }
    while (p < end && *p < 0x80)
        p++;
    return p;
}

static bool is_tail(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

/* The length of the valid sequence that lies whole at p, where a byte is not ASCII; 0: it is cut
 * off or invalid. */
static inline size_t whole_sequence(const unsigned char *p, const unsigned char *end) {
    ptrdiff_t left = end - p;
    if (p[0] < 0xe0)
        return left >= 2 && p[0] >= 0xc2 && is_tail(p[1]) ? 2 : 0;
    if (left < 3 || !is_tail(p[1]) || !is_tail(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        bool narrow = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f);
        return narrow ? 0 : 3;
    }
    bool narrow = (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return left >= 4 && p[0] <= 0xf4 && !narrow && is_tail(p[3]) ? 4 : 0;
}

int bh_utf8_feed(struct bh_utf8 *u, struct bh_slice s) {
    if (s.n == 0)
        return 0;
    struct bh_utf8 state = *u;
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;
    while (p < end) {
        if (state.need == 0 && *p < 0x80) {
            p = skip_ascii(p, end);
            continue;
        }
        size_t sequence = state.need ? 0 : whole_sequence(p, end);
        if (sequence) {
            p += sequence;
            continue;
        }
        bool good = state.need ? follow(&state, *p) : lead(&state, *p);
        if (!good) {
            /* Bounds that no byte meets: a failure is final. */
            *u = (struct bh_utf8){.need = 1, .lower = 1, .upper = 0};
            return BH_EUTF8;
        }
        p++;
    }
    *u = state;
    return 0;
}

/* Most texts are ASCII. The last word overlaps the one before. */
static bool is_ascii(struct bh_slice s) {
    uint64_t word, seen = 0;
    if (s.n < sizeof word)
        return false;
    for (size_t at = 0; at < s.n - sizeof word; at += sizeof word) {
        memcpy(&word, s.p + at, sizeof word);
        seen |= word;
    }
    memcpy(&word, s.p + s.n - sizeof word, sizeof word);
    return !((seen | word) & HIGH_BITS);
}

bool bh_utf8_valid(struct bh_slice s) {
    struct bh_utf8 u = {0};
    if (is_ascii(s))
        return true;
    return bh_utf8_feed(&u, s) == 0 && bh_utf8_complete(&u);
}

size_t bh_utf8_sequence(struct bh_slice s) {
    const unsigned char *p = (const unsigned char *)s.p;
    return p[0] < 0x80 ? 1 : whole_sequence(p, p + s.n);
}
