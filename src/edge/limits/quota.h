/* quota.h - how many connections an address, a user, a tenant has, in the whole process.
 *
 * The kernel spreads the connections of one client over all workers, so a limit is the process's
 * and not a worker's. Counting happens when a connection comes and when it goes, behind one lock of
 * several, never on the way of a message. Thread: any. */
#ifndef BELLHOP_EDGE_QUOTA_H
#define BELLHOP_EDGE_QUOTA_H

#include "bellhop/base/slice.h"

enum bh_quota { BH_QUOTA_IP, BH_QUOTA_USER, BH_QUOTA_TENANT };

/* True when there were fewer than `limit` (then it counts now, to be given back by the same name).
 * A limit of 0 counts nothing, and neither does an empty name: true. */
bool bh_quota_acquire(enum bh_quota kind, struct bh_slice name, size_t limit);
void bh_quota_release(enum bh_quota kind, struct bh_slice name, size_t limit);

#endif
