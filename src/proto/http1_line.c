/* http1_line.c - strictness, line by line.
 *
 * Two parsers that disagree on where a request ends are a way to smuggle one past the other, and
 * they disagree on odd bytes: a bare LF or CR, NUL, a blank before the colon, a folded line.
 * Debian builds http_parser without its strict checks, so none of these may reach it. A line is
 * looked at while it is gathered: rubbish is refused at its first control character. */
#include "http1_line.h"

#include "bellhop/base/error.h"

/* Most heads need no more: one allocation, and still one of malloc's small ones. */
#define FIRST_GATHER 1000

int bh_http1_refuse(struct bh_http1_refusal *refusal, int status, const char *why) {
    *refusal = (struct bh_http1_refusal){status, why};
    return BH_EPROTO;
}

/* All control characters but tab, LF and CR. A table, because each byte of a head passes here. */
static const bool strays[256] = {
    [0 ... '\t' - 1] = true,
    ['\n' + 1 ... '\r' - 1] = true,
    ['\r' + 1 ... ' ' - 1] = true,
    [0x7f] = true,
};

static bool has_stray(struct bh_slice s) {
    bool stray = false;
    for (size_t i = 0; i < s.n; i++)
        stray |= strays[(unsigned char)s.p[i]];
    return stray;
}

/* The line ends with LF: it must end with CR LF and have no other CR. */
static bool ends_well(struct bh_slice line) {
    const char *cr = memchr(line.p, '\r', line.n);
    return cr && cr == line.p + line.n - 2;
}

int bh_http1_take_line(struct bh_bytes *to, size_t start, struct bh_slice *in, size_t most,
                       struct bh_http1_refusal *refusal) {
    if (in->n == 0)
        return 0;
    const char *lf = memchr(in->p, '\n', in->n);
    struct bh_slice piece = bh_slice(in->p, lf ? (size_t)(lf + 1 - in->p) : in->n);
    size_t room = to->len < most ? most - to->len : 0;
    bool fits = piece.n <= room;
    /* No further than to the first byte too many: the answer must not depend on the pieces. */
    if (has_stray(fits ? piece : bh_slice(piece.p, room + 1)))
        return bh_http1_refuse(refusal, 400, "control character in a line");
    if (!fits)
        return BH_ETOOBIG;
    if (!to->p)
        bh_bytes_reserve(to, most < FIRST_GATHER ? most : FIRST_GATHER);
    if (bh_bytes_try_add(to, piece, most))
        return bh_http1_refuse(refusal, 503, "no memory for the request");
    *in = bh_slice(in->p + piece.n, in->n - piece.n);
    if (!lf)
        return 0;
    if (!ends_well(bh_slice(to->p + start, to->len - start)))
        return bh_http1_refuse(refusal, 400, "line does not end with CR LF");
    return 1;
}

static const bool token_chars[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

bool bh_http1_is_token(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!token_chars[(unsigned char)s.p[i]])
            return false;
    return s.n > 0;
}

bool bh_http1_is_value(struct bh_slice s) {
    return s.n == 0 || (!has_stray(s) && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n));
}

int bh_http1_check_field(struct bh_slice line, struct bh_http1_refusal *refusal) {
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return bh_http1_refuse(refusal, 400, "header line begins with a blank");
    struct bh_slice name;
    bh_slice_split(&line, ':', &name);
    if (!line.p || !bh_http1_is_token(name))
        return bh_http1_refuse(refusal, 400, "header line without a valid name");
    return 0;
}
