/* slice.c - the few operations on borrowed bytes that are too long to be inline. Nothing here
 * allocates or keeps state. */
#include "bellhop/base/slice.h"

#include "bellhop/base/error.h"

static unsigned char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : (unsigned char)c;
}

bool bh_bytes_caseeq(const char *a, const char *b, size_t n) {
    if (n == 0 || memcmp(a, b, n) == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

struct bh_slice bh_slice_trim(struct bh_slice s) {
    while (s.n && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct bh_slice bh_slice_chomp(struct bh_slice s) {
    if (s.n && s.p[s.n - 1] == '\n')
        s.n -= s.n > 1 && s.p[s.n - 2] == '\r' ? 2 : 1;
    return s;
}

size_t bh_slice_control(struct bh_slice s) {
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7f)
        i++;
    return i;
}

bool bh_slice_split(struct bh_slice *rest, char separator, struct bh_slice *part) {
    if (!rest->p)
        return false;
    const char *cut = memchr(rest->p, separator, rest->n);
    if (!cut) {
        *part = *rest;
        *rest = bh_slice(NULL, 0);
        return true;
    }
    *part = bh_slice(rest->p, (size_t)(cut - rest->p));
    *rest = bh_slice(cut + 1, rest->n - part->n - 1);
    return true;
}

int bh_slice_u64(struct bh_slice s, uint64_t max, uint64_t *out) {
    if (s.n == 0)
        return BH_EINVAL;
    uint64_t value = 0;
    bool too_big = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return BH_EINVAL;
        too_big |= __builtin_mul_overflow(value, 10, &value);
        too_big |= __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value);
    }
    if (too_big || value > max)
        return BH_ETOOBIG;
    *out = value;
    return 0;
}

int bh_slice_urldecode(struct bh_slice s, bool plus_is_space, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            if (s.n - i < 3)
                return BH_EINVAL;
            int high = bh_hex_digit(s.p[i + 1]), low = bh_hex_digit(s.p[i + 2]);
            if (high < 0 || low < 0)
                return BH_EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    return (int)n;
}
