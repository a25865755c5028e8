/* origin.c - compares origins part by part, never as text: "https://example.com.evil.org" begins
 * with an allowed origin and is not one. */
#include "limits/origin.h"

#include "bellhop/base/error.h"
#include "bellhop/edge/edge.h"

struct origin {
    struct bh_slice scheme, host, port; /* empty: not named */
};

static bool is_port(struct bh_slice s) {
    uint64_t port;
    return bh_slice_u64(s, 65535, &port) == 0;
}

static bool is_host(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("/\\?#@,;\"'<>|", c))
            return false;
    }
    return s.n > 0;
}

/* False when it is no origin. The caller decides about a port of "*". */
static bool split(struct bh_slice text, struct origin *out) {
    *out = (struct origin){0};
    const char *mark = memmem(text.p, text.n, "://", 3);
    if (mark) {
        out->scheme = bh_slice(text.p, (size_t)(mark - text.p));
        text = bh_slice(mark + 3, text.n - out->scheme.n - 3);
        if (out->scheme.n == 0)
            return false;
    }
    const char *end = text.p + text.n;
    const char *bracket = text.n && text.p[0] == '[' ? memchr(text.p, ']', text.n) : NULL;
    const char *from = bracket ? bracket : text.p;
    const char *colon = memchr(from, ':', (size_t)(end - from));
    out->host = bh_slice(text.p, (size_t)((colon ? colon : end) - text.p));
    if (colon)
        out->port = bh_slice(colon + 1, (size_t)(end - colon - 1));
    return is_host(out->host) && (!colon || out->port.n > 0);
}

static bool host_matches(struct bh_slice pattern, struct bh_slice host) {
    if (!bh_slice_starts(pattern, BH_SLICE("*.")))
        return bh_slice_caseeq(pattern, host);
    struct bh_slice tail = bh_slice(pattern.p + 1, pattern.n - 1); /* ".example.com" */
    return host.n > tail.n && bh_slice_caseeq(bh_slice(host.p + host.n - tail.n, tail.n), tail);
}

static bool scheme_matches(struct bh_slice pattern, struct bh_slice scheme) {
    if (pattern.n)
        return bh_slice_caseeq(pattern, scheme);
    return bh_slice_caseeq(scheme, BH_SLICE("https")) || bh_slice_caseeq(scheme, BH_SLICE("http"));
}

/* The scheme's default when no port is written: browsers leave the default out. */
static struct bh_slice effective_port(struct bh_slice port, struct bh_slice scheme) {
    if (port.n)
        return port;
    if (bh_slice_caseeq(scheme, BH_SLICE("https")))
        return BH_SLICE("443");
    return bh_slice_caseeq(scheme, BH_SLICE("http")) ? BH_SLICE("80") : port;
}

bool bh_origin_matches(struct bh_slice pattern, struct bh_slice origin) {
    struct origin p, o;
    if (origin.n == 0)
        return false;
    if (bh_slice_eq(pattern, BH_SLICE("*")) || bh_slice_caseeq(pattern, origin))
        return true;
    if (!split(pattern, &p) || !split(origin, &o) || o.scheme.n == 0)
        return false;
    return scheme_matches(p.scheme, o.scheme) && host_matches(p.host, o.host) &&
           (bh_slice_eq(p.port, BH_SLICE("*")) ||
            bh_slice_eq(effective_port(p.port, o.scheme), effective_port(o.port, o.scheme)));
}

bool bh_origin_in(const struct bh_slice *patterns, size_t count, struct bh_slice origin) {
    for (size_t i = 0; i < count; i++)
        if (bh_origin_matches(patterns[i], origin))
            return true;
    return false;
}

bool bh_origin_names(const struct bh_slice *patterns, size_t count, struct bh_slice host) {
    struct origin o;
    for (size_t i = 0; i < count; i++)
        if (split(patterns[i], &o) && host_matches(o.host, host))
            return true;
    return false;
}

int bh_edge_check_origin(struct bh_slice pattern, const char **why) {
    struct origin o;
    if (bh_slice_eq(pattern, BH_SLICE("*")) || bh_slice_eq(pattern, BH_SLICE("null")) ||
        bh_slice_eq(pattern, BH_SLICE("file://")))
        return 0;
    *why = "must be an origin: https://app.example.com, *.example.com, http://localhost:3000, "
           "localhost:*, null, or * (without a path or a trailing slash)";
    if (!split(pattern, &o) ||
        (o.port.n && !is_port(o.port) && !bh_slice_eq(o.port, BH_SLICE("*"))))
        return BH_EINVAL;
    struct bh_slice rest =
        bh_slice_starts(o.host, BH_SLICE("*.")) ? bh_slice(o.host.p + 2, o.host.n - 2) : o.host;
    return rest.n && !memchr(rest.p, '*', rest.n) ? 0 : BH_EINVAL;
}
