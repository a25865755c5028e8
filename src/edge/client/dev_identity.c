/* dev_identity.c - see the header. */
#include "client/dev_identity.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/http1.h"

#define TOPICS_MAX 64
#define TAGS_MAX   32

struct dev_identity {
    struct bh_identity parts;
    struct bh_slice topics[TOPICS_MAX];
    struct bh_tag tags[TAGS_MAX];
    char *bytes; /* decoded values; at most as long as the query */
    size_t used;
};

static int decode(struct dev_identity *d, struct bh_slice value, struct bh_slice *out) {
    int n = bh_slice_urldecode(value, true, d->bytes + d->used);
    if (n < 0)
        return n;
    *out = bh_slice(d->bytes + d->used, (size_t)n);
    d->used += (size_t)n;
    return 0;
}

/* The first colon ends the name, as in a filter of the API. */
static int add_tag(struct dev_identity *d, struct bh_slice text) {
    struct bh_slice name, value;
    if (d->parts.tag_count == TAGS_MAX)
        return BH_ETOOBIG;
    int error = decode(d, text, &value);
    if (error)
        return error;
    if (!bh_slice_split(&value, ':', &name) || !name.n || !value.p)
        return BH_EINVAL;
    d->tags[d->parts.tag_count++] = (struct bh_tag){name, value};
    return 0;
}

static int parse_argument(struct dev_identity *d, struct bh_slice name, struct bh_slice value) {
    if (bh_slice_eq(name, BH_SLICE("user")))
        return decode(d, value, &d->parts.user);
    if (bh_slice_eq(name, BH_SLICE("tenant")))
        return decode(d, value, &d->parts.tenant);
    if (bh_slice_eq(name, BH_SLICE("device")))
        return decode(d, value, &d->parts.device);
    if (bh_slice_eq(name, BH_SLICE("tag")))
        return add_tag(d, value);
    if (!bh_slice_eq(name, BH_SLICE("topic")))
        return 0;
    if (d->parts.topic_count == TOPICS_MAX)
        return BH_ETOOBIG;
    return decode(d, value, &d->topics[d->parts.topic_count++]);
}

int bh_dev_identity(struct bh_slice query, struct bh_identity **out, const char **why) {
    struct dev_identity d = {.bytes = bh_malloc(query.n + 1)};
    struct bh_slice name, value;
    int error = 0;
    d.parts.topics = d.topics;
    d.parts.tags = d.tags;
    *why = "the query has an invalid escape, an invalid tag, or too many topics or tags";
    while (!error && bh_http_next_arg(&query, &name, &value))
        error = parse_argument(&d, name, value);
    if (!error)
        error = bh_identity_new(&d.parts, out, why);
    bh_free(d.bytes);
    return error;
}
