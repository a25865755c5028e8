/* slice.h - borrowed bytes: pointer and length, never NUL-terminated, never owned.
 *
 * A slice is valid as long as the memory that it points into; a callee that keeps the bytes beyond
 * the call copies them. An empty slice may have p == NULL. Thread: any. */
#ifndef BELLHOP_BASE_SLICE_H
#define BELLHOP_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bh_slice {
    const char *p;
    size_t n;
};

/* For printf: printf("%.*s", BH_SLICE_ARG(s)) */
#define BH_SLICE_ARG(s) (int)(s).n, ((s).p ? (s).p : "")
/* From a string literal, usable in initialisers. */
#define BH_SLICE(literal) ((struct bh_slice){"" literal, sizeof(literal) - 1})

static inline struct bh_slice bh_slice(const void *p, size_t n) {
    return (struct bh_slice){(const char *)p, n};
}

static inline struct bh_slice bh_slice_cstr(const char *s) {
    return (struct bh_slice){s, s ? strlen(s) : 0};
}

static inline bool bh_slice_eq(struct bh_slice a, struct bh_slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool bh_slice_starts(struct bh_slice s, struct bh_slice prefix) {
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* The value of a hexadecimal digit in either case, or -1. */
static inline int bh_hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    char l = (char)(c | 0x20);
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* Copies s to *at, advances *at past it, and returns the copy: for objects that keep their strings
 * in one block. */
static inline struct bh_slice bh_slice_pack(char **at, struct bh_slice s) {
    struct bh_slice copy = bh_slice(*at, s.n);
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* Of n bytes each. */
bool bh_bytes_caseeq(const char *a, const char *b, size_t n);
/* ASCII case is ignored; other bytes are compared as they are. Most compared names differ in
 * length. */
static inline bool bh_slice_caseeq(struct bh_slice a, struct bh_slice b) {
    return a.n == b.n && bh_bytes_caseeq(a.p, b.p, a.n);
}
/* Without the spaces and tabs at both ends. */
struct bh_slice bh_slice_trim(struct bh_slice s);
/* Without one LF or CRLF at the end: what editors and `echo` add to a value in a file. */
struct bh_slice bh_slice_chomp(struct bh_slice s);
/* The index of the first control byte (below 0x20, or 0x7f); s.n: none. */
size_t bh_slice_control(struct bh_slice s);
/* Cuts *rest at the first `separator`; the part before it goes to *part. False when *rest is used
 * up (rest->p == NULL). An empty part is a part. */
bool bh_slice_split(struct bh_slice *rest, char separator, struct bh_slice *part);
/* A decimal integer without sign, blanks or leading '+'; the whole slice must be the number.
 * 0, BH_EINVAL, or BH_ETOOBIG beyond max. */
int bh_slice_u64(struct bh_slice s, uint64_t max, uint64_t *out);
/* Decodes %XX and (with plus_is_space) '+' into out, which must hold s.n bytes. Returns the length,
 * or BH_EINVAL on a bad escape. */
int bh_slice_urldecode(struct bh_slice s, bool plus_is_space, char *out);

#endif
