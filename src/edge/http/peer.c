/* peer.c - X-Forwarded-For, from the right.
 *
 * Each proxy appends the address that called it; everything further left was sent by that address
 * and is as trustworthy as it. Several header lines are one list. A list may be as long as the head
 * allows, so it is walked in place, last line first. */
#include "http/peer.h"

#include "bellhop/base/error.h"

/* "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711". */
static int parse_element(struct bh_slice s, struct bh_ip *out) {
    s = bh_slice_trim(s);
    if (s.n > 1 && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        return end ? bh_ip_parse(bh_slice(s.p + 1, (size_t)(end - s.p - 1)), out) : BH_EINVAL;
    }
    const char *colon = memchr(s.p ? s.p : "", ':', s.n);
    if (colon && !memchr(colon + 1, ':', s.n - (size_t)(colon + 1 - s.p)))
        s.n = (size_t)(colon - s.p);
    return bh_ip_parse(s, out);
}

static struct bh_slice take_last(struct bh_slice *list) {
    const char *comma = memrchr(list->p, ',', list->n);
    const char *from = comma ? comma + 1 : list->p;
    struct bh_slice last = bh_slice(from, (size_t)(list->p + list->n - from));
    *list = comma ? bh_slice(list->p, (size_t)(comma - list->p)) : bh_slice(NULL, 0);
    return last;
}

struct walk {
    const struct bh_cidr *trusted;
    size_t trusted_count;
    struct bh_peer *out;
};

/* True when the walk is over. */
static bool walk_line(const struct walk *w, struct bh_slice list) {
    while (list.p) {
        struct bh_ip ip;
        struct bh_slice element = take_last(&list);
        if (bh_slice_trim(element).n == 0)
            continue;
        if (parse_element(element, &ip) != 0)
            return true;
        w->out->ip = ip;
        w->out->forwarded = true;
        if (!bh_cidr_any(w->trusted, w->trusted_count, &ip))
            return true;
    }
    return false;
}

void bh_peer_find(const struct bh_ip *from, const struct bh_http_request *request,
                  const struct bh_cidr *trusted, size_t trusted_count, struct bh_peer *out) {
    *out = (struct bh_peer){.ip = *from};
    if (!bh_cidr_any(trusted, trusted_count, from))
        return;
    struct walk w = {trusted, trusted_count, out};
    bool over = false;
    for (size_t i = request->header_count; i-- > 0 && !over;)
        if (bh_slice_caseeq(request->headers[i].name, BH_SLICE("X-Forwarded-For")))
            over = walk_line(&w, request->headers[i].value);
    struct bh_slice proto =
        bh_http_header(request->headers, request->header_count, BH_SLICE("X-Forwarded-Proto"));
    out->https = bh_slice_caseeq(bh_slice_trim(proto), BH_SLICE("https"));
}
