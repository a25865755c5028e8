/* http1_fields.c - look-ups in a request: headers, lists, query arguments, cookies.
 *
 * Requests are small and read once, so every look-up walks the headers; nothing is indexed or
 * copied. An absent value has p == NULL, an empty one has not. */
#include "bellhop/proto/http1.h"

static struct bh_slice none(void) {
    return bh_slice(NULL, 0);
}

struct bh_slice bh_http_header(const struct bh_header *headers, size_t count,
                               struct bh_slice name) {
    for (size_t i = 0; i < count; i++)
        if (bh_slice_caseeq(headers[i].name, name))
            return headers[i].value;
    return none();
}

/* The next part of a list, over all header lines of that name. */
static bool next_part(const struct bh_header *headers, size_t count, struct bh_slice name,
                      char separator, struct bh_http_list *at, struct bh_slice *part) {
    while (!bh_slice_split(&at->rest, separator, part)) {
        while (at->line < count && !bh_slice_caseeq(headers[at->line].name, name))
            at->line++;
        if (at->line == count)
            return false;
        at->rest = headers[at->line++].value;
    }
    *part = bh_slice_trim(*part);
    return true;
}

bool bh_http_next_element(const struct bh_header *headers, size_t count, struct bh_slice name,
                          struct bh_http_list *at, struct bh_slice *element) {
    while (next_part(headers, count, name, ',', at, element))
        if (element->n)
            return true;
    return false;
}

bool bh_http_has_token(const struct bh_header *headers, size_t count, struct bh_slice name,
                       struct bh_slice token) {
    struct bh_http_list at = {0};
    struct bh_slice element;
    while (bh_http_next_element(headers, count, name, &at, &element))
        if (bh_slice_caseeq(element, token))
            return true;
    return false;
}

/* "name=value", or "name" alone, whose value is empty. */
static void split_pair(struct bh_slice pair, struct bh_slice *name, struct bh_slice *value) {
    *value = pair;
    bh_slice_split(value, '=', name);
    if (!value->p)
        *value = bh_slice(pair.p + pair.n, 0);
}

bool bh_http_next_arg(struct bh_slice *rest, struct bh_slice *name, struct bh_slice *value) {
    struct bh_slice pair;
    while (bh_slice_split(rest, '&', &pair))
        if (pair.n) {
            split_pair(pair, name, value);
            return true;
        }
    return false;
}

struct bh_slice bh_http_arg(struct bh_slice query, struct bh_slice name) {
    struct bh_slice found, value;
    while (bh_http_next_arg(&query, &found, &value))
        if (bh_slice_eq(found, name))
            return value;
    return none();
}

struct bh_slice bh_http_cookie(const struct bh_header *headers, size_t count,
                               struct bh_slice name) {
    struct bh_http_list at = {0};
    struct bh_slice pair, found, value;
    while (next_part(headers, count, BH_SLICE("Cookie"), ';', &at, &pair)) {
        split_pair(pair, &found, &value);
        if (memchr(pair.p, '=', pair.n) && bh_slice_eq(bh_slice_trim(found), name))
            return bh_slice_trim(value);
    }
    return none();
}
