/* rights.c - see the header. Topics of an identity and of a query are few, so lists are searched.
 */
#include "client/rights.h"

#include "bellhop/base/error.h"

#define TOPICS_MAX 256 /* of an identity, which is checked when it is made */

static bool is_in(const struct bh_slice *topics, size_t count, struct bh_slice topic) {
    for (size_t i = 0; i < count; i++)
        if (bh_slice_eq(topics[i], topic))
            return true;
    return false;
}

/* Appends those of `from` that are in `other`, or that are not. */
static size_t pick(const struct bh_slice *from, size_t from_count, const struct bh_slice *other,
                   size_t other_count, bool in, struct bh_slice *out) {
    size_t n = 0;
    for (size_t i = 0; i < from_count; i++)
        if (is_in(other, other_count, from[i]) == in)
            out[n++] = from[i];
    return n;
}

/* Its own topics that are not named, its own that are, and those that are only named. */
int bh_client_name_topics(struct bh_identity **identity, const struct bh_client_query *q, bool all,
                          const char **why) {
    const struct bh_identity *old = *identity;
    struct bh_slice topics[TOPICS_MAX + BH_CLIENT_TOPICS_MAX];
    struct bh_identity parts = *old, *made;
    if (q->topic_count == 0)
        return 0;
    size_t n = pick(old->topics, old->topic_count, q->topics, q->topic_count, false, topics);
    size_t own = pick(old->topics, old->topic_count, q->topics, q->topic_count, true, topics + n);
    size_t more =
        pick(q->topics, q->topic_count, old->topics, old->topic_count, false, topics + n + own);
    parts.topics = topics;
    parts.topic_count = (uint32_t)(n + own + more);
    parts.named = (uint16_t)(own + more);
    parts.gained = all ? 0 : (uint16_t)more;
    int error = bh_identity_new(&parts, &made, why);
    if (error)
        return error;
    bh_identity_free(*identity);
    *identity = made;
    return 0;
}

static bool is_http_error(int status) {
    return status >= 400 && status <= 599;
}

/* A JSON object is an answer of the policy's own form. */
static bool is_object(struct bh_slice body) {
    body = bh_slice_trim(body);
    return body.n && body.p[0] == '{';
}

static struct bh_slice id_of(struct bh_slice topic) {
    struct bh_slice prefix = BH_SLICE("topic:");
    return bh_slice_starts(topic, prefix) ? bh_slice(topic.p + prefix.n, topic.n - prefix.n)
                                          : topic;
}

void bh_client_refusal_set(struct bh_client_refusal *r, struct bh_slice topic, int status,
                           struct bh_slice body) {
    r->status = is_http_error(status) ? status : 403;
    bh_bytes_clear(&r->body);
    if (is_object(body)) {
        bh_bytes_add(&r->body, body);
        return;
    }
    bh_bytes_adds(&r->body, "topic ");
    bh_bytes_add(&r->body, id_of(topic));
    bh_bytes_adds(&r->body, ": ");
    if (body.n)
        bh_bytes_add(&r->body, body);
    else
        bh_bytes_adds(&r->body, "it is not among the topics of this client, and the policy's "
                                "on_subscribe did not return true");
}

static void set(struct bh_client_refusal *r, int status, const char *why) {
    r->status = status;
    bh_bytes_adds(&r->body, why);
}

void bh_client_refusal_error(struct bh_client_refusal *r, int error) {
    if (r->status)
        return;
    switch (error) {
    case BH_ETOOBIG:
        set(r, 400,
            "a client can follow at most 8 topics with history; this one has more, those "
            "of its identity, its user, its tenant and broadcasts included");
        break;
    case BH_EDENIED:
        set(r, 403, "a topic was refused");
        break;
    default:
        set(r, 503, "the connection could not be registered");
        break;
    }
}

void bh_client_refusal_free(struct bh_client_refusal *r) {
    bh_bytes_free(&r->body);
    r->status = 0;
}
