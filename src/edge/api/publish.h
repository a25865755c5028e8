/* publish.h - what a single publish and a batch have in common: options and results.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_API_PUBLISH_H
#define BELLHOP_EDGE_API_PUBLISH_H

#include "bellhop/base/buf.h"
#include "bellhop/core/publish.h"

#define BH_API_TTL_MAX 4294967 /* seconds; what 32 bits of milliseconds hold */

/* strategy, ttl, id, except, filter (one pair; they add up), history, collapse. 0, BH_ENOTFOUND for
 * another name, or an error; *why. */
int bh_api_parse_option(struct bh_publish *p, struct bh_slice name, struct bh_slice value,
                        const char **why);
/* {"id":...,"status":"published",...} */
void bh_api_published(const struct bh_publish_result *result, struct bh_bytes *out);
/* The error of a publish as status, code and message. */
void bh_api_publish_error(const struct bh_publish_result *result, int *status, const char **code,
                          struct bh_bytes *message);

#endif
