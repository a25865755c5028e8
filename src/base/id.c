/* id.c - the rules for ids as a table of classes of bytes, one bit for each.
 *
 * Most ids consist of letters and digits, so the alphabet is tried first, and code points are
 * looked at only when it does not fit. */
#include "bellhop/base/id.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PLAIN = 1,
    TOPIC = 2,
    MESSAGE = 4,
    EVERY = PLAIN | TOPIC | MESSAGE,
    IN_NAMES = 8, /* encoded in users and tenants */
    IN_TOPICS = 16,
    ENCODED = IN_NAMES | IN_TOPICS,
};

static const unsigned char classes[256] = {
    ['A' ... 'Z'] = EVERY,
    ['a' ... 'z'] = EVERY,
    ['0' ... '9'] = EVERY,
    ['_'] = EVERY,
    ['.'] = EVERY,
    ['@'] = EVERY,
    ['-'] = EVERY,
    ['/'] = TOPIC | MESSAGE | IN_NAMES,
    [':'] = MESSAGE | ENCODED,
    ['+'] = MESSAGE,
    ['='] = MESSAGE,
    ['%'] = ENCODED,
    ['{'] = ENCODED,
    ['}'] = ENCODED,
};

#define UTF8_RULE                                                                                  \
    "must be valid UTF-8 without white space, control characters, bidi controls and U+FFFD"
#define NOT_WIDE "; ids.wide is false"

static const struct {
    unsigned char alphabet, encoded, max;
    const char *plain, *wide; /* why an id is refused; wide NULL: only the alphabet is allowed */
} rules[] = {
    [BH_ID_USER] = {PLAIN, IN_NAMES, BH_ID_MAX,
                    "a user id may contain only A-Z a-z 0-9 _ . @ -" NOT_WIDE,
                    "a user id " UTF8_RULE},
    [BH_ID_TENANT] = {PLAIN, IN_NAMES, BH_ID_MAX,
                      "a tenant id may contain only A-Z a-z 0-9 _ . @ -" NOT_WIDE,
                      "a tenant id " UTF8_RULE},
    [BH_ID_TOPIC] = {TOPIC, IN_TOPICS, BH_TOPIC_ID_MAX,
                     "a topic may contain only A-Z a-z 0-9 _ . @ - /" NOT_WIDE,
                     "a topic " UTF8_RULE},
    [BH_ID_INSTANCE] = {PLAIN, 0, BH_ID_MAX, "an instance id may contain only A-Z a-z 0-9 _ . @ -",
                        NULL},
    [BH_ID_MESSAGE] = {MESSAGE, 0, BH_MESSAGE_ID_MAX,
                       "a message id may contain only A-Z a-z 0-9 _ . @ - / : + =", NULL},
    [BH_ID_TIMER] = {TOPIC, 0, BH_ID_MAX,
                     "the name of a timer may contain only A-Z a-z 0-9 _ . @ - /", NULL},
};

static bool accepts_wide = true;

void bh_ids_set_wide(bool wide) {
    accepts_wide = wide;
}

static bool is(char c, unsigned char class) {
    return classes[(unsigned char)c] & class;
}

/* --- checking --- */

/* White space (Unicode 15), controls, the bidi controls that reorder what follows them, and U+FFFD:
 * what decoders write for any text that they cannot read would make different ids equal. */
static bool is_forbidden(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0, 0x20},        {0x7f, 0xa0},     {0x1680, 0x1680},
                  {0x2000, 0x200a}, {0x2028, 0x202f}, {0x205f, 0x205f},
                  {0x2066, 0x2069}, {0x3000, 0x3000}, {0xfffd, 0xfffd}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

static uint32_t code_point(const char *p, size_t n) {
    static const unsigned char lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (unsigned char)p[0] & lead_bits[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)p[i] & 0x3f);
    return c;
}

static bool is_clean_utf8(struct bh_slice s) {
    while (s.n) {
        bool letter = is(*s.p, EVERY);
        size_t n = letter ? 1 : bh_utf8_sequence(s);
        if (n == 0 || (!letter && is_forbidden(code_point(s.p, n))))
            return false;
        s = bh_slice(s.p + n, s.n - n);
    }
    return true;
}

static bool is_broadcast(enum bh_id_kind kind, struct bh_slice id) {
    return kind == BH_ID_USER && bh_slice_eq(id, BH_SLICE("broadcast"));
}

/* Each publish comes here, so the loop has one exit. */
bool bh_id_is_plain(enum bh_id_kind kind, struct bh_slice id) {
    unsigned char common = rules[kind].alphabet;
    if (id.n == 0 || id.n > rules[kind].max)
        return false;
    for (const char *p = id.p, *end = p + id.n; p < end; p++)
        common &= classes[(unsigned char)*p];
    return common && !is_broadcast(kind, id);
}

/* Of an id that is not plain; NULL: it is wide. */
static const char *fault_of(enum bh_id_kind kind, struct bh_slice id, bool wide) {
    if (id.n == 0)
        return "an id must not be empty";
    if (id.n > rules[kind].max)
        return kind == BH_ID_TOPIC ? "a topic must not be longer than 255 bytes"
                                   : "an id must not be longer than 128 bytes";
    if (is_broadcast(kind, id))
        return "\"broadcast\" is reserved; choose another user id";
    if (!wide || !rules[kind].wide)
        return rules[kind].plain;
    return is_clean_utf8(id) ? NULL : rules[kind].wide;
}

enum bh_id_form bh_id_given(enum bh_id_kind kind, struct bh_slice id, const char **why) {
    if (bh_id_is_plain(kind, id))
        return BH_ID_PLAIN;
    const char *fault = fault_of(kind, id, accepts_wide);
    if (why && fault)
        *why = fault;
    return fault ? BH_ID_INVALID : BH_ID_WIDE;
}

enum bh_id_form bh_id_stored(enum bh_id_kind kind, struct bh_slice id) {
    if (bh_id_is_plain(kind, id))
        return BH_ID_PLAIN;
    return fault_of(kind, id, true) ? BH_ID_INVALID : BH_ID_WIDE;
}

int bh_id_check(enum bh_id_kind kind, struct bh_slice id, const char **why) {
    return bh_id_given(kind, id, why) == BH_ID_INVALID ? BH_EINVAL : 0;
}

/* --- in the names of channels and keys --- */

static bool has_encoded(enum bh_id_kind kind, struct bh_slice id) {
    for (size_t i = 0; i < id.n; i++)
        if (is(id.p[i], rules[kind].encoded))
            return true;
    return false;
}

struct bh_slice bh_id_encode(enum bh_id_kind kind, struct bh_slice id,
                             char out[BH_ID_ENCODED_MAX]) {
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    if (!has_encoded(kind, id))
        return id;
    for (size_t i = 0; i < id.n; i++) {
        unsigned char c = (unsigned char)id.p[i];
        if (!is((char)c, rules[kind].encoded)) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = digits[c >> 4];
        out[n++] = digits[c & 15];
    }
    return bh_slice(out, n);
}

/* The byte that an escape of three bytes stands for; -1: it is none that bh_id_encode writes. */
static int escaped(enum bh_id_kind kind, struct bh_slice s) {
    char again[BH_ID_ENCODED_MAX], c;
    int high = s.n >= 3 ? bh_hex_digit(s.p[1]) : -1, low = s.n >= 3 ? bh_hex_digit(s.p[2]) : -1;
    if (high < 0 || low < 0)
        return -1;
    c = (char)(high << 4 | low);
    return bh_slice_eq(bh_id_encode(kind, bh_slice(&c, 1), again), bh_slice(s.p, 3)) ? c : -1;
}

enum bh_id_form bh_id_decode(enum bh_id_kind kind, struct bh_slice encoded,
                             char out[BH_TOPIC_ID_MAX], struct bh_slice *id) {
    size_t n = 0;
    *id = encoded;
    if (bh_id_is_plain(kind, encoded))
        return BH_ID_PLAIN;
    for (size_t i = 0; i < encoded.n; i++) {
        int c = (unsigned char)encoded.p[i];
        if (c == '%') {
            c = escaped(kind, bh_slice(encoded.p + i, encoded.n - i));
            i += 2;
        } else if (is((char)c, rules[kind].encoded)) {
            c = -1;
        }
        if (c < 0 || n == rules[kind].max)
            return BH_ID_INVALID;
        out[n++] = (char)c;
    }
    *id = bh_slice(out, n);
    return bh_id_stored(kind, *id);
}

/* --- unique ids --- */

void bh_id_unique(char out[BH_UNIQUE_ID_LEN + 1]) {
    unsigned char bits[16];
    bh_random(bits, sizeof bits);
    size_t n = bh_base64url_encode(bh_slice(bits, sizeof bits), out);
    out[n] = '\0';
}
