/* quota.h - how many connections an address, a user or a tenant has in this process.
 *
 * The kernel spreads the connections of one client over all workers, so a limit holds for the
 * process. Counting takes a lock, when a connection opens and when it closes, never for a message.
 * Thread: any. */
#ifndef BELLHOP_EDGE_QUOTA_H
#define BELLHOP_EDGE_QUOTA_H

#include "bellhop/base/slice.h"

enum bh_quota { BH_QUOTA_IP, BH_QUOTA_USER, BH_QUOTA_TENANT };

/* True when there were fewer than `limit`; then it counts until it is released under the same name.
 * With a limit of 0 or an empty name nothing is counted: true. */
bool bh_quota_acquire(enum bh_quota kind, struct bh_slice name, size_t limit);
void bh_quota_release(enum bh_quota kind, struct bh_slice name, size_t limit);

#endif
