/* query.c - see the header. The bytes are a stranger's. */
#include "client/query.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/http1.h"

#include <stdio.h>
#include <string.h>

struct reader {
    struct bh_client_query *q;
    size_t used; /* of q->bytes, which are as many as the query has */
    const char **why;
};

static int decode(struct reader *r, struct bh_slice value, struct bh_slice *out) {
    int n = bh_slice_urldecode(value, true, r->q->bytes + r->used);
    if (n < 0) {
        *r->why = "the query has an invalid escape; encode the values (encodeURIComponent)";
        return BH_EINVAL;
    }
    *out = bh_slice(r->q->bytes + r->used, (size_t)n);
    r->used += (size_t)n;
    return 0;
}

static bool is_named(const struct bh_client_query *q, struct bh_slice topic) {
    for (unsigned i = 0; i < q->topic_count; i++)
        if (bh_slice_eq(q->topics[i], topic))
            return true;
    return false;
}

static int add_topic(struct reader *r, struct bh_slice value) {
    struct bh_slice topic;
    const char *why;
    if (decode(r, value, &topic))
        return BH_EINVAL;
    if (bh_id_check(BH_ID_TOPIC, topic, &why)) {
        snprintf(r->q->why, sizeof r->q->why, "topic: %s", why);
        *r->why = r->q->why;
        return BH_EINVAL;
    }
    if (is_named(r->q, topic))
        return 0;
    if (r->q->topic_count == BH_CLIENT_TOPICS_MAX) {
        *r->why = "topic: at most 64 topics";
        return BH_ETOOBIG;
    }
    r->q->topics[r->q->topic_count++] = topic;
    return 0;
}

static int read_since(struct reader *r, struct bh_slice value) {
    struct bh_slice text;
    int error = decode(r, value, &text);
    return error ? error : bh_resume_parse(text, &r->q->since, r->why);
}

static int read_argument(struct reader *r, struct bh_slice name, struct bh_slice value) {
    if (bh_slice_eq(name, BH_SLICE("topic")))
        return add_topic(r, value);
    if (bh_slice_eq(name, BH_SLICE("since")))
        return read_since(r, value);
    return 0;
}

int bh_client_query_parse(struct bh_slice query, struct bh_client_query *out, const char **why) {
    struct reader r = {.q = out, .why = why};
    struct bh_slice name, value;
    out->topic_count = 0;
    out->since.count = 0;
    out->bytes = bh_malloc(query.n + 1);
    while (bh_http_next_arg(&query, &name, &value))
        if (read_argument(&r, name, value))
            return BH_EINVAL;
    return 0;
}

void bh_client_query_free(struct bh_client_query *q) {
    bh_free(q->bytes);
    q->bytes = NULL;
}

/* Most queries do not hold the text at all, which is found faster than their arguments. */
bool bh_client_query_wants_json(struct bh_slice query) {
    return query.n && memmem(query.p, query.n, "format=json", strlen("format=json")) != NULL &&
           bh_slice_eq(bh_http_arg(query, BH_SLICE("format")), BH_SLICE("json"));
}
