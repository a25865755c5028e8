/* filter.h - restricts a message to the receivers of its topic that have all of these tags.
 *
 * A filter is one to eight pairs of name and value, packed into bytes, so that it fits into a
 * message's one allocation and is sent to Redis as it is. Each pair, integers big-endian:
 *
 *     0  1  length of the name, 1..64
 *     1  2  length of the value, 0..256
 *     3     name, value; any bytes
 *
 * Each name occurs once. No bytes are no filter: all receivers get the message. Pure; any thread.
 */
#ifndef BELLHOP_CORE_FILTER_H
#define BELLHOP_CORE_FILTER_H

#include "bellhop/base/buf.h"
#include "bellhop/core/subscriber.h"

#define BH_FILTER_TAGS_MAX  8
#define BH_FILTER_NAME_MAX  64
#define BH_FILTER_VALUE_MAX 256
#define BH_FILTER_MAX       (BH_FILTER_TAGS_MAX * (3 + BH_FILTER_NAME_MAX + BH_FILTER_VALUE_MAX))

/* Adds a tag to *filter (NULL: none yet): replaces it by a longer one and releases the old one. 0,
 * or BH_EINVAL and a constant text; then *filter is unchanged. */
int bh_filter_add(struct bh_buf **filter, struct bh_slice name, struct bh_slice value,
                  const char **why);
/* Checks bytes from outside: 0 for a valid filter, or none; BH_EPROTO. */
int bh_filter_check(struct bh_slice bytes);
/* Cuts the first pair off *rest. False at the end. */
bool bh_filter_next(struct bh_slice *rest, struct bh_tag *pair);
/* Whether the identity has every tag with exactly this value. */
bool bh_filter_matches(struct bh_slice filter, const struct bh_identity *identity);

#endif
