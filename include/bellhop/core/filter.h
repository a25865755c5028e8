/* filter.h - which receivers of its topic a message is for: those who have all of these tags.
 *
 * A filter is one to eight pairs of name and value, packed into bytes, so that it lies inside a
 * message's one allocation and travels over Redis as it is. Each pair, integers big-endian:
 *
 *     0  1  length of the name, 1..64
 *     1  2  length of the value, 0..256
 *     3     name, value; any bytes
 *
 * No name comes twice. No bytes at all are no filter: everybody gets the message. Pure; any thread.
 */
#ifndef BELLHOP_CORE_FILTER_H
#define BELLHOP_CORE_FILTER_H

#include "bellhop/base/buf.h"
#include "bellhop/core/subscriber.h"

#define BH_FILTER_TAGS_MAX  8
#define BH_FILTER_NAME_MAX  64
#define BH_FILTER_VALUE_MAX 256
#define BH_FILTER_MAX       (BH_FILTER_TAGS_MAX * (3 + BH_FILTER_NAME_MAX + BH_FILTER_VALUE_MAX))

/* Puts a longer filter into the place of *filter (NULL: none yet), whose reference it takes. 0, or
 * BH_EINVAL and a constant sentence; then *filter stays as it is. */
int bh_filter_add(struct bh_buf **filter, struct bh_slice name, struct bh_slice value,
                  const char **why);
/* Whether bytes that came from outside are a filter, or none: 0 or BH_EPROTO. */
int bh_filter_check(struct bh_slice bytes);
/* Cuts the first pair off *rest. False at the end. */
bool bh_filter_next(struct bh_slice *rest, struct bh_tag *pair);
/* Whether the identity has every tag with exactly this value. */
bool bh_filter_matches(struct bh_slice filter, const struct bh_identity *identity);

#endif
