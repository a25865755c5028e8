/* proxy.c - the header that a load balancer sends before the data of a connection.
 *
 * Both versions are parsed with a cursor over the received bytes. Every step returns 1 when it has
 * parsed its part, 0 when that part is incomplete but valid so far, or BH_EPROTO. The first result
 * other than 1 is the result, so a version 1 line fails at its first bad byte. The header is short,
 * so it is decoded from the start again when more bytes arrive.
 *
 * Version 1 is text, which implementations read differently, so anything not canonical (a plus,
 * leading zeros, two blanks, a bare LF) is an error: another hop may have read it differently. */
#include "bellhop/proto/proxy.h"

#include "bellhop/base/error.h"

#include <arpa/inet.h>

#define V1_MAX       107 /* with CR LF */
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_HEAD      16

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX };
enum { V2_ANY, V2_STREAM, V2_DATAGRAM };

struct cursor {
    struct bh_slice rest;
    const char **why;
};

static int fail(struct cursor *c, const char *reason) {
    *c->why = reason;
    return BH_EPROTO;
}

static void skip(struct cursor *c, size_t n) {
    c->rest = bh_slice(c->rest.p + n, c->rest.n - n);
}

static int parse_literal(struct cursor *c, struct bh_slice literal, const char *reason) {
    size_t n = c->rest.n < literal.n ? c->rest.n : literal.n;
    if (n && memcmp(c->rest.p, literal.p, n) != 0)
        return fail(c, reason);
    skip(c, n);
    return n == literal.n;
}

/* --- version 1 --- */

/* Takes the bytes before `end`, and `end`; or all bytes, and returns false. */
static bool parse_field(struct cursor *c, char end, struct bh_slice *field) {
    const char *at = c->rest.n ? memchr(c->rest.p, end, c->rest.n) : NULL;
    *field = bh_slice(c->rest.p, at ? (size_t)(at - c->rest.p) : c->rest.n);
    skip(c, field->n + (at != NULL));
    return at != NULL;
}

static bool is_address(struct bh_slice text, const char *ending, int family, uint8_t out[16]) {
    char whole[INET6_ADDRSTRLEN + 8];
    size_t n = strlen(ending);
    if (text.n >= INET6_ADDRSTRLEN || (text.n && memchr(text.p, '\0', text.n)))
        return false;
    if (text.n)
        memcpy(whole, text.p, text.n);
    memcpy(whole + text.n, ending, n + 1);
    return inet_pton(family, whole, out) == 1;
}

/* Every beginning of an address becomes one with one of these endings. */
static bool may_become_address(struct bh_slice text, int family) {
    static const char *const endings[] = {"",      "0",      ".0",      "0.0", ".0.0",
                                          "0.0.0", ".0.0.0", "0.0.0.0", ":",   "::"};
    uint8_t ignored[16];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (is_address(text, endings[i], family, ignored))
            return true;
    return false;
}

static int parse_address(struct cursor *c, int family, uint8_t out[16]) {
    struct bh_slice text;
    bool whole = parse_field(c, ' ', &text);
    if (whole ? is_address(text, "", family, out) : may_become_address(text, family))
        return whole;
    return fail(c, "PROXY line: malformed address");
}

/* A beginning of a port is a port itself, unless it is empty. */
static int parse_port(struct cursor *c, char end, uint16_t *out) {
    struct bh_slice text;
    uint64_t number = 0;
    bool whole = parse_field(c, end, &text);
    bool zeros = text.n > 1 && text.p[0] == '0';
    if (text.n == 0 ? whole : zeros || bh_slice_u64(text, UINT16_MAX, &number) != 0)
        return fail(c, "PROXY line: malformed port");
    *out = (uint16_t)number;
    return whole;
}

static int parse_tcp(struct cursor *c, struct bh_proxy *out) {
    int r = parse_literal(c, BH_SLICE("TCP"), "PROXY line: unknown protocol");
    if (r <= 0 || c->rest.n == 0)
        return r < 0 ? r : 0;
    char digit = c->rest.p[0];
    if (digit != '4' && digit != '6')
        return fail(c, "PROXY line: unknown protocol");
    skip(c, 1);
    int family = digit == '4' ? AF_INET : AF_INET6;
    out->family = (uint8_t)(digit - '0');
    r = parse_literal(c, BH_SLICE(" "), "PROXY line: unknown protocol");
    if (r == 1)
        r = parse_address(c, family, out->source);
    if (r == 1)
        r = parse_address(c, family, out->destination);
    if (r == 1)
        r = parse_port(c, ' ', &out->source_port);
    if (r == 1)
        r = parse_port(c, '\r', &out->destination_port);
    if (r == 1)
        r = parse_literal(c, BH_SLICE("\n"), "PROXY line: CR without LF");
    return r;
}

/* The rest of the line is ignored. */
static int parse_unknown(struct cursor *c) {
    struct bh_slice ignored;
    int r = parse_literal(c, BH_SLICE("UNKNOWN"), "PROXY line: unknown protocol");
    if (r <= 0 || c->rest.n == 0)
        return r < 0 ? r : 0;
    if (c->rest.p[0] != ' ' && c->rest.p[0] != '\r')
        return fail(c, "PROXY line: unknown protocol");
    bool whole = parse_field(c, '\r', &ignored);
    if (ignored.n && memchr(ignored.p, '\n', ignored.n))
        return fail(c, "PROXY line: LF without CR");
    return whole ? parse_literal(c, BH_SLICE("\n"), "PROXY line: CR without LF") : 0;
}

static int decode_v1(struct bh_slice in, struct bh_proxy *out, const char **why) {
    size_t n = in.n < V1_MAX ? in.n : V1_MAX;
    struct cursor c = {bh_slice(in.p, n), why};
    int r = parse_literal(&c, BH_SLICE("PROXY "), "neither a PROXY header nor its beginning");
    if (r == 1)
        r = c.rest.n == 0 ? 0 : c.rest.p[0] == 'U' ? parse_unknown(&c) : parse_tcp(&c, out);
    if (r == 1)
        return (int)(n - c.rest.n);
    size_t missing = in.p[n - 1] == '\r' ? 1 : 2;
    return r == 0 && n + missing > V1_MAX ? fail(&c, "PROXY line too long") : r;
}

/* --- version 2 --- */

static int check_command(struct cursor *c, uint8_t command) {
    if (command >> 4 != 2)
        return fail(c, "PROXY header: unknown version");
    if (command != V2_LOCAL && command != V2_PROXY)
        return fail(c, "PROXY header: unknown command");
    return 0;
}

static int check_family(struct cursor *c, uint8_t family) {
    if (family >> 4 > V2_UNIX || (family & 0x0f) > V2_DATAGRAM)
        return fail(c, "PROXY header: unknown address family");
    if ((family & 0x0f) == V2_DATAGRAM)
        return fail(c, "PROXY header: a datagram on a stream");
    return 0;
}

/* The first `n` (1 or 2) bytes of the length have arrived. */
static int check_length(struct cursor *c, const uint8_t *p, size_t n, size_t least) {
    size_t length = (size_t)p[0] << 8 | (n > 1 ? p[1] : 0);
    if (V2_HEAD + length > BH_PROXY_MAX)
        return fail(c, "PROXY header too long");
    if (n > 1 && length < least)
        return fail(c, "PROXY header: no room for its addresses");
    return 0;
}

static void read_addresses(const uint8_t *p, size_t width, struct bh_proxy *out) {
    memcpy(out->source, p, width);
    memcpy(out->destination, p + width, width);
    const uint8_t *ports = p + 2 * width;
    out->source_port = (uint16_t)(ports[0] << 8 | ports[1]);
    out->destination_port = (uint16_t)(ports[2] << 8 | ports[3]);
    out->family = width == 4 ? 4 : 6;
}

static int decode_v2(struct bh_slice in, struct bh_proxy *out, const char **why) {
    static const uint8_t least[] = {
        [V2_UNSPEC] = 0, [V2_INET] = 12, [V2_INET6] = 36, [V2_UNIX] = 216};
    struct cursor c = {in, why};
    int r = parse_literal(&c, BH_SLICE(V2_SIGNATURE), "neither a PROXY header nor its beginning");
    const uint8_t *p = (const uint8_t *)c.rest.p;
    size_t n = c.rest.n;
    if (r <= 0 || n == 0)
        return r < 0 ? r : 0;
    r = check_command(&c, p[0]);
    bool local = p[0] == V2_LOCAL; /* its family and addresses are meaningless */
    if (r == 0 && n > 1 && !local)
        r = check_family(&c, p[1]);
    if (r == 0 && n > 2)
        r = check_length(&c, p + 2, n - 2, local ? 0 : least[p[1] >> 4]);
    if (r < 0 || n < 4)
        return r;
    size_t size = V2_HEAD + ((size_t)p[2] << 8 | p[3]);
    if (in.n < size)
        return 0;
    unsigned family = local || (p[1] & 0x0f) != V2_STREAM ? V2_UNSPEC : p[1] >> 4;
    if (family == V2_INET || family == V2_INET6)
        read_addresses(p + 4, family == V2_INET ? 4 : 16, out);
    return (int)size;
}

int bh_proxy_decode(struct bh_slice in, struct bh_proxy *out, const char **why) {
    if (in.n == 0)
        return 0;
    struct bh_proxy found = {0};
    int r = in.p[0] == '\r' ? decode_v2(in, &found, why) : decode_v1(in, &found, why);
    if (r > 0)
        *out = found;
    return r;
}
