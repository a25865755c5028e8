/* gather.h - appending bytes that a peer sends, in memory that follows what has really arrived.
 * Thread: any. */
#ifndef BELLHOP_PROTO_GATHER_H
#define BELLHOP_PROTO_GATHER_H

#include "bellhop/base/buf.h"

/* Appends s. The memory doubles as it must, but never beyond `most`, which the caller has checked
 * against b->len + s.n. 0 or BH_ENOMEM. */
int bh_gather_add(struct bh_bytes *b, struct bh_slice s, size_t most);

#endif
