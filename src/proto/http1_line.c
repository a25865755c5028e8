/* http1_line.c - strict checks of lines.
 *
 * Two parsers that disagree on where a request ends are a way to smuggle one past the other, and
 * they disagree on odd bytes: a bare LF or CR, NUL, a blank before the colon, a folded line. None
 * of these gets past this file. A line is checked while it is collected: a control character fails
 * at once. */
#include "http1_line.h"

#include "bellhop/base/error.h"

/* Enough for most heads: one allocation, in malloc's small sizes. */
#define FIRST_GATHER 1000

int bh_http1_fail(struct bh_http1_failure *failure, int status, const char *why) {
    *failure = (struct bh_http1_failure){status, why};
    return BH_EPROTO;
}

/* All control characters except tab, LF and CR. A table, because every byte of a head is checked.
 */
static const bool forbidden[256] = {
    [0 ... '\t' - 1] = true,
    ['\n' + 1 ... '\r' - 1] = true,
    ['\r' + 1 ... ' ' - 1] = true,
    [0x7f] = true,
};

static bool has_control(struct bh_slice s) {
    bool found = false;
    for (size_t i = 0; i < s.n; i++)
        found |= forbidden[(unsigned char)s.p[i]];
    return found;
}

/* For a line that ends with LF: true when it ends with CR LF and has no other CR. */
static bool ends_with_crlf(struct bh_slice line) {
    const char *cr = memchr(line.p, '\r', line.n);
    return cr && cr == line.p + line.n - 2;
}

int bh_http1_read_line(struct bh_bytes *to, size_t start, struct bh_slice *in, size_t most,
                       struct bh_http1_failure *failure) {
    if (in->n == 0)
        return 0;
    const char *lf = memchr(in->p, '\n', in->n);
    struct bh_slice piece = bh_slice(in->p, lf ? (size_t)(lf + 1 - in->p) : in->n);
    size_t room = to->len < most ? most - to->len : 0;
    bool fits = piece.n <= room;
    /* Only up to the first byte over the limit: the result must not depend on the pieces. */
    if (has_control(fits ? piece : bh_slice(piece.p, room + 1)))
        return bh_http1_fail(failure, 400, "control character in a line");
    if (!fits)
        return BH_ETOOBIG;
    if (!to->p)
        bh_bytes_reserve(to, most < FIRST_GATHER ? most : FIRST_GATHER);
    if (bh_bytes_try_add(to, piece, most))
        return bh_http1_fail(failure, 503, "no memory for the request");
    *in = bh_slice(in->p + piece.n, in->n - piece.n);
    if (!lf)
        return 0;
    if (!ends_with_crlf(bh_slice(to->p + start, to->len - start)))
        return bh_http1_fail(failure, 400, "line does not end with CR LF");
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
    return s.n == 0 || (!has_control(s) && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n));
}

int bh_http1_check_field(struct bh_slice line, struct bh_http1_failure *failure) {
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return bh_http1_fail(failure, 400, "header line begins with a blank");
    struct bh_slice name;
    bh_slice_split(&line, ':', &name);
    if (!line.p || !bh_http1_is_token(name))
        return bh_http1_fail(failure, 400, "header line without a valid name");
    return 0;
}
