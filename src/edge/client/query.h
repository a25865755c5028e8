/* query.h - what a client that resumes (/sse, /ws?format=json) says in its query: the topics that
 * it names, and where it was.
 *
 *     topic=news&topic=user%2Fposts&since=1.<hash>:<epoch>-<offset>
 *
 * Other arguments are the policy's. Thread: any. */
#ifndef BELLHOP_EDGE_CLIENT_QUERY_H
#define BELLHOP_EDGE_CLIENT_QUERY_H

#include "bellhop/core/resume.h"

#define BH_CLIENT_TOPICS_MAX 64 /* that a client may name; of them 8 may be streams */

struct bh_client_query {
    struct bh_slice topics[BH_CLIENT_TOPICS_MAX]; /* ids, checked, each once */
    unsigned topic_count;
    struct bh_resume since; /* without `since`: count 0 */
    char *bytes;            /* owned: what the slices point to */
    char why[160];
};

/* 0, or BH_EINVAL with *why, a sentence for the client (400), valid as long as out. Free it in both
 * cases. */
int bh_client_query_parse(struct bh_slice query, struct bh_client_query *out, const char **why);
void bh_client_query_free(struct bh_client_query *q);
/* Is there a format=json in it? Other formats are the policy's. */
bool bh_client_query_wants_json(struct bh_slice query);

#endif
