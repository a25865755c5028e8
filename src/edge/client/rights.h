/* rights.h - topics that a client names: how they get into its identity, and how a refusal comes
 * back.
 *
 * The named topics become the last topics of the identity (core/subscriber.h: `named`, `gained`),
 * so bh_node_resume asks on_subscribe for them with the others. A named topic that is refused ends
 * the opening with BH_EDENIED; vt->refused says which one and why, just before. Thread: the
 * worker's. */
#ifndef BELLHOP_EDGE_CLIENT_RIGHTS_H
#define BELLHOP_EDGE_CLIENT_RIGHTS_H

#include "bellhop/core/subscriber.h"
#include "client/query.h"

/* Replaces *identity by one that has the named topics, too. all: they count as the identity's own
 * (--dev); otherwise on_subscribe must answer true for those that it has not. 0, or BH_EINVAL with
 * *why (400); then *identity is as it was. */
int bh_client_name_topics(struct bh_identity **identity, const struct bh_client_query *q, bool all,
                          const char **why);

/* An opening that has failed, for the answer: the status, and a body for bh_http_conn_refuse (the
 * policy's own, or a sentence that names the topic). Zero-initialise to start. */
struct bh_client_refusal {
    int status; /* 0: none. 400, 401, 403, 404 ... are about this client; 5xx and 429 pass */
    struct bh_bytes body;
};

/* For vt->refused. status and body are those of on_subscribe: the status is 403 if it is none of an
 * HTTP error. */
void bh_client_refusal_set(struct bh_client_refusal *r, struct bh_slice topic, int status,
                           struct bh_slice body);
/* For the error of bh_node_resume: fills r unless vt->refused has. */
void bh_client_refusal_error(struct bh_client_refusal *r, int error);
void bh_client_refusal_free(struct bh_client_refusal *r);

#endif
