/* dev_identity.h - with --dev and without a hook: the client says who it is, in its query.
 *
 *     user=42&tenant=7&device=phone&topic=news&topic=eu&tag=platform:ios
 *
 * Thread: any. */
#ifndef BELLHOP_EDGE_CLIENT_DEV_IDENTITY_H
#define BELLHOP_EDGE_CLIENT_DEV_IDENTITY_H

#include "bellhop/core/subscriber.h"

/* 0 and an identity of the caller's, or an error with *why, for a 400. */
int bh_dev_identity(struct bh_slice query, struct bh_identity **out, const char **why);

#endif
